"""Rules for HTTP requests that the servers and the integrations share. Pure.

Request ids, bearer tokens, JSON bodies, queries, and the body of an error. The caller words its
errors; which requests are rejected is decided here.
"""
