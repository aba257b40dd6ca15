"""The rules of the server as pure functions. Every other package of the server may import them."""
