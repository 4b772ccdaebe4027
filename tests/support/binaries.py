"""Where the programs the suite drives are; how to get one that is missing.

In CI (environment `CI` set) an absent program fails the test, elsewhere it is skipped.
"""

import os
import shutil

import pytest

_PACKAGES = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "skopeo": "skopeo",
    "runc": "runc",
    "podman": "podman",
    "dig": "bind9-dnsutils",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
}
_DIRECTORIES = (
    f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin"
)


def find(name: str) -> str | None:
    """The program's path: `$DOCKER` and the like first, then PATH and the sbin directories."""
    return os.environ.get(name.upper()) or shutil.which(name, path=_DIRECTORIES)


def require(name: str) -> str:
    """The program's path, or the test ends here saying which Debian package ships it."""
    if (path := find(name)) is not None:
        return path
    package = _PACKAGES.get(name, name)
    message = (
        f"{name} was not found in ${name.upper()} or PATH: "
        f"Debian's {package} ships it (apt-get install {package})"
    )
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
