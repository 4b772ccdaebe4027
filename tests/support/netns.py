"""Hosts made of network namespaces, wired to one switch with veth pairs.

Owns namespaces, their links and what runs or listens in them; must not know about engines.
A namespace here has no name: it lives by a descriptor of this process, and is gone with it.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tests.support.binaries import require

_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _own() -> int:
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)


class Namespace:
    """One network namespace; `close` lets go of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def made(cls) -> Self:
        """A new one, with its loopback up."""
        before = _own()
        try:
            _checked(_libc.unshare(_NEWNET), "unshare")
            made = cls(_own())
        finally:
            _checked(_libc.setns(before, _NEWNET), "setns")
            os.close(before)
        made.ip("link set lo up")
        return made

    @classmethod
    def of(cls, pid: int) -> Self:
        """The one a process is in."""
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))

    @property
    def path(self) -> str:
        """A path by which any process of this machine can enter it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        """Let go; what is still in it keeps it. Again is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in it meanwhile; a socket made here stays in it."""
        before = _own()
        try:
            _checked(_libc.setns(self._descriptor, _NEWNET), "setns")
            yield
        finally:
            _checked(_libc.setns(before, _NEWNET), "setns")
            os.close(before)

    def inside(self, *command: str) -> list[str]:
        """The command, to be run in it; mounts stay the caller's."""
        return [require("nsenter"), f"--net={self.path}", *command]

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command in it to its end and return what it printed; it must succeed."""
        done = subprocess.run(
            self.inside(*command), input=stdin, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.returncode} {done.stderr}{done.stdout}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Carry out lines of `ip -batch`."""
        self.run(require("ip"), "-batch", "-", stdin="\n".join(lines))

    def shown(self, *what: str) -> Any:
        """What `ip -json` shows."""
        return json.loads(self.run(require("ip"), "-details", "-json", *what) or "[]")

    def links(self) -> set[str]:
        """The names of its links."""
        return {link["ifname"] for link in self.shown("link")}

    def rules(self) -> tuple[str, ...]:
        """All of nftables, of whoever's making: without counts and handles, sets in order."""
        text = self.run(require("nft"), "--json", "--stateless", "list", "ruleset")
        entries = json.loads(text)["nftables"] if text else []
        return tuple(
            json.dumps(_plain(entry), sort_keys=True)
            for entry in entries
            if "metainfo" not in entry
        )

    def routes(self) -> tuple[str, ...]:
        """The routes to other networks; those to the links themselves come and go with them."""
        texts = [self.run(require("ip"), six, "route") for six in ("-4", "-6")]
        lines = [line.replace(" linkdown", "").strip() for line in "".join(texts).splitlines()]
        return tuple(sorted(line for line in lines if not line.startswith("fe80::")))

    def trace(self) -> "Trace":
        """What there is now, to be compared with what there is later."""
        return Trace(tuple(sorted(self.links())), self.rules(), self.routes())


@dataclass(frozen=True, slots=True)
class Trace:
    """What an engine leaves in a namespace: links, nftables' rules, routes."""

    links: tuple[str, ...]
    rules: tuple[str, ...]
    routes: tuple[str, ...]

    def since(self, before: "Trace") -> list[str]:
        """Every difference, in words."""
        return [
            *_changes("link", before.links, self.links),
            *_changes("rule", before.rules, self.rules),
            *_changes("route", before.routes, self.routes),
        ]


def _changes(kind: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[str]:
    for word, these, those in (("new", after, before), ("lost", before, after)):
        for one, count in (Counter(these) - Counter(those)).items():
            yield f"{word} {kind}: {one}" + (f" ({count} times)" if count > 1 else "")


def _plain(entry: Any) -> Any:
    """Without the numbers that the kernel gives; elements of sets, which have no order, sorted."""
    if isinstance(entry, dict):
        kept = {key: _plain(value) for key, value in entry.items() if key != "handle"}
        if isinstance(kept.get("elem"), list):
            kept["elem"] = sorted(kept["elem"], key=json.dumps)
        return kept
    return [_plain(value) for value in entry] if isinstance(entry, list) else entry


class Host(Namespace):
    """A namespace with a link `eth0` to a switch."""

    ip4 = ""
    ip6 = ""


class Lan:
    """Hosts on one switch, with addresses of both families that are for documentation only."""

    def __init__(self) -> None:
        self._switch = Namespace.made()
        self._hosts: list[Host] = []
        self._switch.ip("link add lan type bridge forward_delay 0", "link set lan up")

    def host(self) -> Host:
        """One more."""
        host = Host.made()
        self._hosts.append(host)
        number = len(self._hosts)
        host.ip4, host.ip6 = f"192.0.2.{number}", f"2001:db8::{number}"
        port = f"port{number}"
        self._switch.ip(
            f"link add {port} type veth peer name eth0 netns {host.path}",
            f"link set {port} master lan up",
        )
        # As a machine starts, whatever the one below has set meanwhile.
        host.run("tee", "/proc/sys/net/ipv4/ip_forward", stdin="0")
        host.run("tee", "/proc/sys/net/ipv6/conf/all/forwarding", stdin="0")
        host.ip(
            "link set eth0 up",
            f"address add {host.ip4}/24 dev eth0",
            f"address add {host.ip6}/64 dev eth0 nodad",
        )
        return host

    def close(self) -> None:
        """Let go of all of it."""
        for each in (*self._hosts, self._switch):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
