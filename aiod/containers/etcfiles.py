"""The files below `/etc` that are the engine's, in a container's own directory.

Owns when they are written and what of others' changes stays: a start writes all of them anew, as
dockerd does; while the container runs, `hosts` changes line by line, and `resolv.conf` only
if it is still as the engine wrote it. They are mounted, so the file itself is written over. What
they say is `hostfiles`'s. Blocking.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from aiod.networks import hostfiles
from aiod.networks.hostfiles import Ends, HostLine
from aiod.store.records import ContainerRecord

NAMES = ("hosts", "hostname", "resolv.conf")
HOST_ETC = Path("/etc")
_HOSTS, _HOSTNAME, _RESOLV_CONF = NAMES
_WRITTEN = "resolv.conf.hash"


def write(own: Path, record: ContainerRecord, ends: Ends) -> None:
    """Write them for a start. Raises OSError, or InvalidParameterError for `host-gateway`."""
    names = hostfiles.own_names(record.hostname, record.config.Domainname)
    hosts = hostfiles.hosts(record.host, names, ends, read(HOST_ETC / _HOSTS))
    _rewrite(own / _HOSTS, hosts)
    _rewrite(own / _HOSTNAME, f"{record.hostname}\n")
    _write_resolv_conf(own, hostfiles.resolv_conf(record.host, ends, of_host()))


def change(own: Path, record: ContainerRecord, before: Ends, after: Ends) -> None:
    """Have them say what has changed while it runs. Raises OSError.

    Once a container has a resolver of its own, it keeps it.
    """
    gone = [address for address in before.addresses if address not in after.addresses]
    come = [address for address in after.addresses if address not in before.addresses]
    names = hostfiles.own_names(record.hostname, record.config.Domainname)
    change_hosts(own, gone, hostfiles.own_lines(names, come))
    if after.resolver and not before.resolver and _is_untouched(own):
        _write_resolv_conf(own, hostfiles.resolv_conf(record.host, after, of_host()))


def change_hosts(own: Path, gone: Iterable[str], come: Iterable[HostLine]) -> None:
    """Take lines of some addresses out of `hosts`, and put others in. Raises OSError."""
    text = read(own / _HOSTS)
    changed = hostfiles.changed_hosts(text, gone, come)
    if changed != text:
        _rewrite(own / _HOSTS, changed)


def change_link(own: Path, line: HostLine) -> None:
    """Have the names of a link be those of another address. Raises OSError."""
    text = read(own / _HOSTS)
    changed = hostfiles.moved_hosts(text, line)
    if changed != text:
        _rewrite(own / _HOSTS, changed)


def of_host() -> str:
    """The host's `/etc/resolv.conf`; empty if there is none."""
    return read(HOST_ETC / _RESOLV_CONF)


def read(file: Path) -> str:
    """What a file says; nothing if it is not there."""
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _write_resolv_conf(own: Path, text: str) -> None:
    _rewrite(own / _RESOLV_CONF, text)
    _rewrite(own / _WRITTEN, _digest(text))


def _is_untouched(own: Path) -> bool:
    return _digest(read(own / _RESOLV_CONF)) == read(own / _WRITTEN)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _rewrite(place: Path, text: str) -> None:
    """The new text over the old one, and then what is left of that away: it is never empty."""
    data = text.encode(errors="replace")
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(descriptor, data[done:], done)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)
