"""Containers' file systems seen from outside: copied from and to, exported, compared.

Must not know HTTP, nor how a container is run.
"""
