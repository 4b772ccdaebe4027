"""Volumes: directories that outlive containers. Must not know containers, nor HTTP."""
