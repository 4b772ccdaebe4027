"""The generated stubs of `shim.proto`, and the registry they share."""
