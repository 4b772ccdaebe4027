"""What a daemon has in the host's network: its links, told by their alias, and its table.

Knows how a daemon marks its own (`DaemonConfig.tag`, `table`); must not know who runs.
"""

from aiod.config import DaemonConfig
from aiod.native.network import host, messages, nftables
from aiod.native.network.netlink import Socket


def _bridges(config: DaemonConfig) -> list[messages.Link]:
    return [link for link in host.links() if link.alias.startswith(f"aiod:{config.tag}:")]


def ports_of(config: DaemonConfig) -> set[str]:
    """The names of the links on the daemon's bridges: the host's ends of containers'."""
    bridges = {link.index for link in _bridges(config)}
    return {link.name for link in host.links() if link.master in bridges}


def left_by(config: DaemonConfig) -> list[str]:
    """All that there is of the daemon's, in words."""
    found = [f"link {link.name}" for link in _bridges(config)]
    return found + ([f"nftables table {config.table}"] if nftables.exists(config.table) else [])


def remove(config: DaemonConfig) -> None:
    """Take it all away."""
    names = [*ports_of(config), *(link.name for link in _bridges(config))]
    with Socket() as kernel:
        kernel.commit([messages.delete_link(name) for name in names])
    nftables.drop_table(config.table)
