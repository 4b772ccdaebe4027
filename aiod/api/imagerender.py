"""`inspect` of images in Docker's words. Must not know where images come from. Pure functions."""

from typing import Any

import msgspec

from aiod.images.model import ImageInspect

Document = dict[str, Any]

# Left out by an OCI config, but never by Docker.
_ALWAYS: Document = {
    "Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "",
    "Volumes": None, "WorkingDir": "",
}  # fmt: skip
_OF_CONTAINERS = frozenset(
    {"AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image", "OpenStdin",
     "StdinOnce", "Tty"}
)  # fmt: skip
_LEFT_OUT = ("Created", "OsVersion", "Variant")


def inspect(found: ImageInspect) -> Document:
    """The answer of `GET /images/{name}/json`."""
    document: Document = msgspec.to_builtins(found)
    config = document["Config"]
    kept = {name: value for name, value in config.items() if name not in _OF_CONTAINERS}
    document["Config"] = {**_ALWAYS, **kept}
    for name in _LEFT_OUT:
        if not document[name]:
            del document[name]
    return document
