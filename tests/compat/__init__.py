"""The unmodified docker command and docker-py against the daemon."""
