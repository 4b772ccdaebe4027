"""Typed harness of the suite: engines under test, leak checks, test images, processes."""
