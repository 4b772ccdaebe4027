"""Builds images from Dockerfiles, as Docker's classic builder does.

Stands above `containers` and `images`; must not know HTTP.
"""
