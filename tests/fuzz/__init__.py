"""Requests made up from the Engine API's own description, against a daemon of their own."""
