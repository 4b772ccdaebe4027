"""Crash drills: the daemon, shims and containers die at chosen instants."""
