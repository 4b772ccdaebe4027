"""What a volume may be called and which options its driver takes: dockerd's rules and words.

Pure; must not know how a volume is made.
"""

import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiod.errors import InvalidParameterError, NotFoundError

DRIVER = "local"
ANONYMOUS = "com.docker.volume.anonymous"  # the label by which a prune knows them

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_LONGEST = 255 - len(".new-")  # bytes of a directory's name
_OPTIONS = ("device", "o", "size", "type")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?([kmgtpKMGTP]?[iI]?[bB]?)\Z")


def new_name() -> str:
    """Of an anonymous volume."""
    return secrets.token_hex(32)


def check_driver(name: str, driver: str) -> None:
    """Raise NotFoundError for any but the one there is; empty means that one."""
    if driver not in ("", DRIVER):
        raise NotFoundError(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found'
        )


def check_name(name: str) -> None:
    """Raise InvalidParameterError for what cannot be a volume's name."""
    if len(name) == 1:
        raise InvalidParameterError(
            f"create {name}: volume name is too short, "
            "names should be at least two alphanumeric characters"
        )
    if not _NAME.match(name):
        raise InvalidParameterError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > _LONGEST:
        raise InvalidParameterError(f"create {name}: volume name is too long")


def check_options(name: str, options: Mapping[str, str] | None) -> None:
    """Raise InvalidParameterError for options that the local driver does not have, or lacks."""
    given = options or {}
    for option in given:
        if option not in _OPTIONS:
            raise InvalidParameterError(f'create {name}: invalid option: "{option}"')
    if "\0" in "".join(given.values()):
        raise InvalidParameterError(f"create {name}: an option has a null byte")
    _check_size(name, given)
    for option, needed in _NEEDS.items():
        for other in needed if option in given else ():
            if other not in given:
                raise InvalidParameterError(f'create {name}: missing required option: "{other}"')
    if given.get("type") == "cifs" and _has_port(given["device"]):
        raise InvalidParameterError(
            f"create {name}: port not allowed in CIFS device URL, include 'port' in 'o='"
        )


def _check_size(name: str, options: Mapping[str, str]) -> None:
    """A quota, which takes a file system with project quotas; none is set up by aiod."""
    if "size" not in options:
        return
    size = options["size"]
    if not _SIZE.match(size):
        raise InvalidParameterError(f"create {name}: invalid size: '{size}'")
    if float(re.split("[^0-9.]", size, maxsplit=1)[0]) > 0:
        raise InvalidParameterError(f"create {name}: quota size requested but no quota support")


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return True
