"""What both ends of the API must agree on: the framing of streams, detach keys, times in words,
what of a build's context is left out.

Pure and sans-I/O; must not know servers, clients or records.
"""
