"""What both ends of the API must agree on: the framing of streams, detach keys, times in words.

Pure and sans-I/O; must not know servers, clients or records.
"""
