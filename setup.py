"""Builds the native extensions; everything else about the package is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["aiod/native/_build.py:ffi", "aiod/native/_build_nft.py:ffi"])
