"""The rules of the server: values in, values out. Everything else of the server may import them."""
