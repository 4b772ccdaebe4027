"""aiod beside dockerd, Podman and bare runc: one command, `python -m benchmarks.run`."""
