"""The shim: one process per container that outlives the daemon.

Imports nothing of aiod but `aiod.native`, so that it stays small.
"""
