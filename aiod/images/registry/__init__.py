"""The client side of image registries: the OCI distribution spec and Docker's API v2.

Owns how a registry is reached, asked and authenticated with. Must not know where what it
answers is kept, nor which images there are here.
"""
