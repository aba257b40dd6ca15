"""Connections of clients: how many, how long, and which bytes of theirs are a request."""
