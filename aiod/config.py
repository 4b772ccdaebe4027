"""Where aiod keeps things and how it was asked to run.

Owns the directory layout and the daemon's settings (flags over `/etc/aiod/daemon.toml`);
must not create, read or write anything below those directories.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ROOT = Path("/var/lib/aiod")
DEFAULT_STATE = Path("/run/aiod")
DEFAULT_HOST = "unix:///run/aiod/aiod.sock"
DEFAULT_CONFIG_FILE = Path("/etc/aiod/daemon.toml")
SNAPSHOTTERS = ("overlay", "native")
DEFAULT_CERTIFICATES = Path("/etc/aiod/certs.d")
_DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Paths:
    """The two trees of one daemon: `root` outlives a reboot, `state` does not."""

    root: Path = DEFAULT_ROOT
    state: Path = DEFAULT_STATE

    @property
    def database(self) -> Path:
        """The SQLite file of all records."""
        return self.root / "aiod.db"

    @property
    def lock(self) -> Path:
        """Held with flock by the one daemon that owns `root`."""
        return self.root / "aiod.lock"

    @property
    def blobs(self) -> Path:
        """Manifests, configs and layers, each named by its sha256 hex digest."""
        return self.root / "content" / "blobs" / "sha256"

    @property
    def ingest(self) -> Path:
        """Downloads and archives not yet complete; emptied at start."""
        return self.root / "content" / "ingest"

    @property
    def overlay(self) -> Path:
        """Unpacked layers: `<chain id hex>/diff`; `tmp-*` entries are unfinished."""
        return self.root / "overlay"

    @property
    def builds(self) -> Path:
        """One directory per build under way: its context and scratch space."""
        return self.root / "builds"

    @property
    def init_layer(self) -> Path:
        """What every container's root has over its image: mount points, `/.dockerenv`."""
        return self.root / "init"

    @property
    def containers(self) -> Path:
        """One directory per container record."""
        return self.root / "containers"

    def container(self, container_id: str) -> Path:
        """The directory of one container: upper, work, hosts, log."""
        return self.containers / container_id

    @property
    def volumes(self) -> Path:
        """One directory per volume; those with a dot in front are not whole or on their way out."""
        return self.root / "volumes"

    def volume(self, name: str) -> Path:
        """What a volume holds."""
        return self.volumes / name / "_data"

    @property
    def shims(self) -> Path:
        """One directory per shim."""
        return self.state / "shims"

    def shim(self, container_id: str) -> Path:
        """The run-time directory of one container's shim and bundle."""
        return self.shims / container_id

    @property
    def networks(self) -> Path:
        """One file of names per network, from which shims answer look-ups."""
        return self.state / "networks"

    def names(self, network_id: str) -> Path:
        """The table of names of one network."""
        return self.networks / network_id

    @property
    def exits_socket(self) -> Path:
        """Datagram socket of the daemon on which shims announce exits."""
        return self.state / "exits.sock"


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """The settings of one registry, by the `host[:port]` that references name it with.

    `mirrors` are base URLs; `ca` is a file of certificates in PEM.
    """

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """How registries are reached; times are seconds.

    `insecure` lists hosts and CIDR blocks, `mirrors` those of Docker Hub, `certificates`
    has a directory per host with `*.crt` (authorities), `*.cert` and `*.key` (ours).
    `search_index` is the base URL of what answers searches; empty for none.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    hosts: Mapping[str, RegistryHost] = field(default_factory=dict)
    certificates: Path = DEFAULT_CERTIFICATES
    downloads: int = 3
    uploads: int = 5
    attempts: int = 5
    connect_timeout: float = 15.0
    stall_timeout: float = 60.0
    first_delay: float = 0.2
    longest_delay: float = 30.0
    search_index: str = ""

    def host(self, authority: str) -> RegistryHost:
        """The settings of a host; the defaults for one that has none."""
        return self.hosts.get(authority, RegistryHost())

    def mirrors_of(self, domain: str) -> tuple[str, ...]:
        """Base URLs to ask before a domain's own registry."""
        return self.host(domain).mirrors + (self.mirrors if domain == _DOCKER_HUB else ())


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """Everything `aiod serve` was told."""

    paths: Paths = field(default_factory=Paths)
    hosts: tuple[str, ...] = (DEFAULT_HOST,)
    allow_insecure_tcp: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    log_level: str = "info"
    cgroup_parent_override: str | None = None
    snapshotter: str = ""
    registries: RegistrySettings = field(default_factory=RegistrySettings)

    @property
    def tag(self) -> str:
        """What tells this daemon's things in the kernel from others'; empty for the host's own.

        Two daemons with different state directories never share one.
        """
        if self.paths.state == DEFAULT_STATE:
            return ""
        return hashlib.sha256(str(self.paths.state).encode()).hexdigest()[:10]

    @property
    def cgroup_parent(self) -> str:
        """Cgroup, below every hierarchy's root, that holds this daemon's shims and containers."""
        return self.cgroup_parent_override or self._tagged("/aiod")

    @property
    def bridge(self) -> str:
        """The link of the default network; a link's name has at most 15 bytes."""
        return f"aiod-{self.tag}" if self.tag else "aiod0"

    @property
    def table(self) -> str:
        """The nftables table (family inet) of this daemon."""
        return self._tagged("aiod")

    def _tagged(self, name: str) -> str:
        return f"{name}-{self.tag}" if self.tag else name
