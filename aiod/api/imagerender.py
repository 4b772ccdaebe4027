"""Rows and `inspect` of images as each API version words them.

Owns what versions differ in; must not know where images come from. Pure functions.
"""

from typing import Any

import msgspec

from aiod.api.versions import Version
from aiod.images.model import ImageInspect, ImageSummary

Document = dict[str, Any]

# moby, api/docs/CHANGELOG.md: what a version dropped.
_NO_NONE_NAMES: Version = (1, 43)
_NO_VIRTUAL_SIZE: Version = (1, 44)
_NO_CONTAINER: Version = (1, 45)
_NO_CONTAINER_FIELDS: Version = (1, 50)

_ALWAYS: Document = {
    "Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "",
    "Volumes": None, "WorkingDir": "",
}  # fmt: skip
_CONTAINER_FIELDS: Document = {
    "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Domainname": "",
    "Hostname": "", "Image": "", "OpenStdin": False, "StdinOnce": False, "Tty": False,
}  # fmt: skip


def summary(row: ImageSummary, version: Version) -> Document:
    """A row of `GET /images/json`."""
    document: Document = msgspec.to_builtins(row)
    if version < _NO_NONE_NAMES and not row.repo_tags and not row.repo_digests:
        document["RepoTags"] = ["<none>:<none>"]
        document["RepoDigests"] = ["<none>@<none>"]
    if version < _NO_VIRTUAL_SIZE:
        document["VirtualSize"] = row.size
    return document


def inspect(found: ImageInspect, version: Version) -> Document:
    """The answer of `GET /images/{name}/json`."""
    document: Document = msgspec.to_builtins(found)
    document["Config"] = _config(document["Config"], version)
    for name in ("Variant", "OsVersion"):
        if not document[name]:
            del document[name]
    if version < _NO_VIRTUAL_SIZE:
        document["VirtualSize"] = found.size
    if version < _NO_CONTAINER:
        document["Container"] = ""
        document["ContainerConfig"] = {**_ALWAYS, **_CONTAINER_FIELDS}
    return document


def _config(config: Document, version: Version) -> Document:
    if version < _NO_CONTAINER_FIELDS:
        return {**_ALWAYS, **_CONTAINER_FIELDS, **config}
    kept = {key: value for key, value in config.items() if key not in _CONTAINER_FIELDS}
    return {**_ALWAYS, **kept}
