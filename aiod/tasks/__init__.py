"""The running side of containers: shims, exits, restart policy and recovery.

Must not know HTTP or images.
"""
