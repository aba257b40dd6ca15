"""What every HTTP edge of Nomos does alike: the servers and the integrations. Pure.

Ids of requests, bearer tokens, JSON bodies, queries, and the body of an error. An edge chooses the
words of its refusals; what is refused is decided here.
"""
