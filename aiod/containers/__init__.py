"""The verbs on containers: create, start, stop, remove and the rest, over tasks and images.

Must not know HTTP, SQL or system calls.
"""
