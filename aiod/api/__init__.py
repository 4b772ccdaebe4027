"""The Docker Engine API: routes parse a request, call one service and render its answer.

Must not know how a service does its work; nothing outside imports this package but the daemon.
"""
