"""The names and numbers of capabilities(7), and which of them a container gets.

Pure, but for the kernel's highest number; must not know how they are set.
"""

from collections.abc import Iterable
from pathlib import Path

# In the order of <linux/capability.h>.
_NAMES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)

NUMBERS = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What Docker gives a container that asks for nothing (docker-run(1), "--cap-add")."""


def mask(names: Iterable[str]) -> int:
    """The set as bits; raises KeyError for an unknown name."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def known() -> tuple[str, ...]:
    """Those that the running kernel has."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return tuple(name for name, number in NUMBERS.items() if number <= last)


def held() -> tuple[str, ...]:
    """Those that this process may give: its permitted ones (proc_pid_status(5), `CapPrm`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            bits = int(line.partition(":")[2], 16)
            return tuple(name for name in known() if bits >> NUMBERS[name] & 1)
    return known()


def resolve(
    add: Iterable[str] | None, drop: Iterable[str] | None, *, privileged: bool = False
) -> tuple[str, ...]:
    """The capabilities of a container by Docker's options, with or without `CAP_`, or `ALL`.

    `ALL` and `privileged` are all that this process may give. Raises ValueError naming the
    option and the unknown capability.
    """
    added, dropped = _checked("CapAdd", add), _checked("CapDrop", drop)
    everything = known()
    if privileged:
        return held()
    chosen = set(held()) | added - {"ALL"} if "ALL" in added else (set(DEFAULT) | added)
    # `ALL` dropped leaves what was added by name.
    chosen = added - {"ALL"} if "ALL" in dropped else chosen - dropped
    return tuple(name for name in everything if name in chosen)


def _checked(option: str, names: Iterable[str] | None) -> set[str]:
    found = set()
    for name in names or ():
        full = name.upper()
        if full != "ALL" and not full.startswith("CAP_"):
            full = f"CAP_{full}"
        if full != "ALL" and full not in NUMBERS:
            raise ValueError(f'invalid {option}: unknown capability: "{full}"')
        found.add(full)
    return found
