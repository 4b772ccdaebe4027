"""Snapshots: a container's own writable view of its layers.

One interface (`model.Snapshotter`), an implementation a file. Must not know records, how
containers run, or what made the layers.
"""
