"""aiod: a Docker-compatible container engine for Linux on asyncio."""

__version__ = "0.1.0"
