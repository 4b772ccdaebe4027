"""Probes of networks: what the kernel has for them, and whose rules else packets pass.

Each tries the thing in a network namespace of its own; rules of others are read, never changed.
What works on the kernel is imported by who uses it: a daemon imports this, and tries none of it.
"""

import ipaddress
import os
import re
import shutil
import subprocess
from pathlib import Path

from aiod.doctor import trial
from aiod.doctor.findings import AbsentError, LessError, Probe, Subject
from aiod.native.errors import NativeError
from aiod.native.network.description import Interface, Port, Sandbox
from aiod.native.network.ruleset import NetworkRules

_TOPIC = "networks"
_NEWNET = 0x40000000
_SECONDS = 10
_NAME = "aiod-doctor"
_ADDRESS = ipaddress.ip_interface("198.18.0.1/24")  # RFC 2544: nobody's
_TABLE = re.compile(r"^table (\S+ \S+) \{", re.MULTILINE)
_DROPPING = re.compile(r"chain (\S+) \{\s*type filter hook forward [^;]*; policy drop;")
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def _apart() -> None:
    trial.unshare(_NEWNET, "new network namespace")


def _links(subject: Subject) -> str:
    from aiod.native.network import host
    from aiod.native.network.sandbox import attach, configure

    def attempt() -> str:
        _apart()
        host.ensure_bridge(host.Bridge(_NAME, "", addresses=(str(_ADDRESS),)))
        end = Interface("", "eth0", parent=_NAME, host_name="veth0", addresses=("198.18.0.2/24",))
        with open("/proc/self/ns/net") as here:
            attach((end,), here.fileno())
            configure(Sandbox((end,)))
        return "bridge, veth"

    return trial.in_child(_told(attempt))


def _rules(subject: Subject) -> str:
    from aiod.native.network import nftables

    def attempt() -> str:
        _apart()
        ports = [Port("tcp", "0.0.0.0", 80, "198.18.0.2", 80), Port("udp", "::", 53, "fd00::2", 53)]
        networks = [NetworkRules(_NAME, (str(_ADDRESS.network), "fd00::/64"), internal=True)]
        nftables.replace_all(_NAME, networks, ports)
        return "nftables in family inet: NAT, maps, sets, fib"

    return trial.in_child(_told(attempt))


def _told(attempt: trial.Attempt) -> trial.Attempt:
    """The same, its failures as the child can tell them."""

    def told() -> str:
        try:
            return attempt()
        except NativeError as error:
            raise OSError(error.errno, str(error)) from error

    return told


def _forwarding(subject: Subject) -> str:
    if _FORWARD.read_text().strip() == "1":
        return "on"
    try:
        with open(_FORWARD, "r+"):
            return "off; aiod turns it on with its first network"
    except OSError as error:
        raise AbsentError("off, and cannot be turned on") from error


def _firewalls(subject: Subject) -> str:
    try:
        dropping = dropping_chains(trial.in_child(_told(_listed))) + _legacy()
    except AbsentError as error:
        raise LessError(f"unknown: {error}") from error
    if not dropping:
        return "nobody drops what is forwarded"
    also = ", between containers of one network too" if _is_bridged_filtered() else ""
    raise LessError(f"what is forwarded is dropped{also} by {', '.join(dropping)}")


def _listed() -> str:
    """The library writes about lacking permissions to standard error, beside its answer."""
    from aiod.native.network import nftables

    with open("/dev/null", "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    return nftables.chains()


def dropping_chains(listing: str) -> list[str]:
    """The chains of `nft list chains` that drop what is forwarded unless they know it."""
    parts = _TABLE.split(listing)[1:]
    return [
        f"{table} {name}"
        for table, chains in zip(parts[::2], parts[1::2], strict=True)
        for name in _DROPPING.findall(chains)
    ]


def _legacy() -> list[str]:
    """Of iptables' own rules, beside nftables': only its own command shows them."""
    command = shutil.which("iptables-legacy")
    if command is None or not _has_legacy_filter():
        return []
    done = subprocess.run(
        [command, "-S", "FORWARD"], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    return ["iptables-legacy FORWARD"] if "-P FORWARD DROP" in done.stdout else []


def _has_legacy_filter() -> bool:
    names = Path("/proc/net/ip_tables_names")
    return names.exists() and "filter" in names.read_text().split()


def _is_bridged_filtered() -> bool:
    return _BRIDGED.exists() and _BRIDGED.read_text().strip() == "1"


def _ipv6(subject: Subject) -> str:
    if not Path("/proc/sys/net/ipv6/bindv6only").exists():
        raise LessError("the kernel does not speak it: networks and ports are IPv4's")
    return "the kernel speaks it"


PROBES = (
    Probe(_TOPIC, "links", _links, "modprobe bridge veth", needed=False),
    Probe(_TOPIC, "rules", _rules,
          "modprobe nf_tables nft_chain_nat nft_fib_inet nft_masq nft_ct; iptables alone will not"
          " do: boot a kernel with CONFIG_NF_TABLES_INET", needed=False),
    Probe(_TOPIC, "forwarding", _forwarding, "sysctl -w net.ipv4.ip_forward=1", needed=False),
    Probe(_TOPIC, "firewalls", _firewalls,
          "let aiod's bridges pass: iptables -I FORWARD -i aiod0 -j ACCEPT; iptables -I FORWARD"
          " -o aiod0 -j ACCEPT (in DOCKER-USER beside dockerd; firewall-cmd --permanent"
          " --zone=trusted --add-interface=aiod0 with firewalld), and the same for each br-*",
          needed=False),
    Probe(_TOPIC, "IPv6", _ipv6, "boot without ipv6.disable=1", needed=False),
)  # fmt: skip
