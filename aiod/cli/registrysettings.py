"""The settings of registries, from flags and the configuration file. Pure.

The names are those of dockerd's flags, and in `[registries."host:port"]` our own.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from yarl import URL

from aiod.config import RegistryHost, RegistrySettings
from aiod.images.registry.hosts import check_entries

NAMES = {
    "insecure_registries": "insecure",
    "registry_mirrors": "mirrors",
    "registry_certificates": "certificates",
    "max_concurrent_downloads": "downloads",
    "max_concurrent_uploads": "uploads",
    "max_download_attempts": "attempts",
    "search_index": "search_index",
    "registries": "hosts",
}
_MOST = 100


def registry_settings(found: Mapping[str, Any]) -> RegistrySettings:
    """The settings in `found`, by their names there. Raises ValueError naming the wrong one."""
    settings: dict[str, Any] = {
        NAMES[name]: _READERS[name](name, value) for name, value in found.items()
    }
    return RegistrySettings(**settings)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{name}: expected a list of str")
    return tuple(value)


def _insecure(name: str, value: object) -> tuple[str, ...]:
    entries = _texts(name, value)
    try:
        check_entries(entries)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return entries


def _mirrors(name: str, value: object) -> tuple[str, ...]:
    mirrors = _texts(name, value)
    for mirror in mirrors:
        _check_url(name, mirror)
    return mirrors


def _check_url(name: str, mirror: str) -> None:
    try:
        url = URL(mirror)
    except ValueError:
        url = URL()
    whole = url.scheme in ("http", "https") and url.host
    if not whole or url.user or url.query_string or url.fragment:
        raise ValueError(f"{name}: {mirror!r} is not the URL of a registry, http(s)://host[:port]")


def _index(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected str")
    _check_url(name, value)
    return value


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError(f"{name}: expected str")
    return Path(value)


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ValueError(f"{name}: expected a number from 1 to {_MOST}")
    return value


def _hosts(name: str, value: object) -> dict[str, RegistryHost]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected a table for each host")
    return {host: _host(f'{name}."{host}"', table) for host, table in value.items()}


def _host(name: str, table: object) -> RegistryHost:
    known = {field.name for field in fields(RegistryHost)}
    if not isinstance(table, dict) or not table.keys() <= known:
        raise ValueError(f"{name}: expected a table of {', '.join(sorted(known))}")
    insecure = table.get("insecure", False)
    if not isinstance(insecure, bool):
        raise ValueError(f"{name}.insecure: expected bool")
    ca = table.get("ca")
    return RegistryHost(
        _mirrors(f"{name}.mirrors", table.get("mirrors", [])),
        insecure,
        None if ca is None else _path(f"{name}.ca", ca),
    )


_READERS = {
    "insecure_registries": _insecure,
    "registry_mirrors": _mirrors,
    "registry_certificates": _path,
    "max_concurrent_downloads": _count,
    "max_concurrent_uploads": _count,
    "max_download_attempts": _count,
    "search_index": _index,
    "registries": _hosts,
}
