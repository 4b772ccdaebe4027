"""The test-suite of aiod."""
