"""Settings of the calling thread's network namespace, below `/proc/sys/net`.

Owns the writing; must not know which settings are wanted. Source: proc_sys_net(5), kernel
`Documentation/networking/ip-sysctl.rst`.
"""

import os

from aiod.native.errors import NativeError


def path_of(key: str) -> str:
    """`net.ipv4.ip_forward` as a path; a name with slashes may have dots in its parts.

    Raises NativeError for one that is no network's.
    """
    path = key if "/" in key else key.replace(".", "/")
    parts = path.split("/")
    if parts[0] != "net" or ".." in parts or "" in parts:
        raise NativeError(f'set sysctl "{key}"', 22, "it is not one of a network namespace")
    return f"/proc/sys/{path}"


def interface_path(family: str, interface: str, name: str) -> str:
    """The path of a setting of one interface, whose name may have dots; `family` is `ipv4`..."""
    return f"/proc/sys/net/{family}/conf/{interface}/{name}"


def write(path: str, value: str) -> None:
    """Set it. Raises NativeError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        shown = path.removeprefix("/proc/sys/").replace("/", ".")
        raise NativeError(f'set sysctl "{shown}" to {value}', error.errno or 0) from error


def read(path: str) -> str:
    """Its value; empty if the kernel does not have it."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def write_if_other(path: str, value: str) -> None:
    """Set it unless it is so, or the kernel does not have it. Raises NativeError."""
    if read(path) not in ("", value):
        write(path, value)
