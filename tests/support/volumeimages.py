"""An image with content for volumes to begin with: files of all kinds, owners, modes and layers.

Must not know engines.
"""

import tarfile
from typing import Any

from tests.support import layertars, rootfs
from tests.support.layertars import Member, directory, member, soft

SEED = "/seed"  # owned by 1000:1000 with mode 0750
FILES = 13  # names below it
LISTING = (
    "{ cd /seed; find . | sort | while read f; do stat -c '%n %F %a %u:%g %h' \"$f\"; done; "
    "readlink soft; readlink up; cat a more hard sub/2 opaque/shown; } 2>/dev/null; true"
)


def _top() -> Member:
    return directory("seed", 0o750, uid=1000, gid=1000)


def _base_layer() -> list[Member]:
    owned: dict[str, Any] = {"uid": 1000, "gid": 1000}
    return [
        _top(),
        member("seed/a", b"first\n", mode=0o640, **owned),
        member("seed/set-id", b"#!/bin/sh\n", mode=0o4755),
        member("seed/hard", type=tarfile.LNKTYPE, linkname="seed/a", mode=0o640, **owned),
        soft("seed/soft", "/etc/passwd"),
        soft("seed/up", "../../../.."),
        member("seed/pipe", type=tarfile.FIFOTYPE, mode=0o622),
        directory("seed/sub", 0o2770, uid=5, gid=6),
        *(member(f"seed/sub/{number}", b"x" * number) for number in range(3)),
        member("seed/hidden", b"of the first layer alone"),
        directory("seed/opaque"),
        member("seed/opaque/hidden", b"so is this"),
        soft("var", "usr"),
        soft("linked", "/usr/../seed"),
    ]


def _upper_layer() -> list[Member]:
    return [
        _top(),
        member("seed/more", b"second\n", mode=0o600),
        member("seed/.wh.hidden"),
        directory("seed/opaque", 0o700),
        member("seed/opaque/.wh..wh..opq"),
        member("seed/opaque/shown", b"of the second layer\n"),
        member("file", b"no directory"),
    ]


def archive(tag: str) -> bytes:
    """What `docker save` writes for it; two layers over busybox."""
    layers = [
        rootfs.busybox_tar(),
        layertars.layer(_base_layer()),
        layertars.layer(_upper_layer()),
    ]
    return rootfs.docker_archive(tag, layers)
