"""Builds the native extension; everything else about the package is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["aiod/native/_build.py:ffi"])
