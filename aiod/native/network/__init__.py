"""Networks as the kernel has them: links, addresses, routes and our nftables table.

Owns how they are made and taken away, in the host's network namespace and in a container's;
must not know records, names or which address is free. Used by the shim's maker, which gives a
new container its network, and by the daemon's `networks`, which changes those of running ones.
"""
