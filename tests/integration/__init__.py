"""Tests against the real kernel; most need root."""
