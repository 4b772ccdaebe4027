"""What both ends of the API must agree on: the framing of streams, detach keys, times in words,
what of a build's context is left out, and TLS.

Opens no connection and no file; must not know servers, clients or records.
"""
