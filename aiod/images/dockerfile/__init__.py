"""The Dockerfile language: its lines, words and instructions, and what they do to a config.

Sans-I/O; must not know of archives, stores or builds.
"""
