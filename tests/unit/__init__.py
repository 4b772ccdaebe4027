"""Tests that need no privileges."""
