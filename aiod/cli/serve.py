"""`aiod serve`: flags and the configuration file become a daemon.

Owns the reading of both (flags win); must not know what the daemon is made of.
"""

import gc
import tomllib
from pathlib import Path
from typing import Any

import click

from aiod.cli import registrysettings
from aiod.config import (
    DEFAULT_CERTIFICATES,
    DEFAULT_CONFIG_FILE,
    DEFAULT_ROOT,
    DEFAULT_STATE,
    SNAPSHOTTERS,
    DaemonConfig,
    Paths,
)

_LEVELS = ("debug", "info", "warning", "error")
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--root", type=_PATH, help=f"What outlives a reboot.  [{DEFAULT_ROOT}]")
@click.option("--state", type=_PATH, help=f"What does not.  [{DEFAULT_STATE}]")
@click.option("--host", "hosts", multiple=True, help="unix://, fd:// or tcp://; repeatable.")
@click.option("--config", "file", type=_PATH, help=f"TOML file.  [{DEFAULT_CONFIG_FILE}]")
@click.option("--log-level", type=click.Choice(_LEVELS), help="What is logged to stderr.  [info]")
@click.option("--cgroup-parent", help="Cgroup for shims and containers.  [/aiod]")
@click.option("--snapshotter", type=click.Choice(SNAPSHOTTERS),
              help="How containers get their roots.  [what works here]")  # fmt: skip
@click.option("--tls-cert", type=_PATH, help="The server's certificate, for tcp://.")
@click.option("--tls-key", type=_PATH, help="Its key.")
@click.option("--tls-ca", type=_PATH, help="Who signs the clients' certificates.")
@click.option("--allow-insecure-tcp", is_flag=True, default=None,
              help="tcp:// without TLS, on a loopback address.")  # fmt: skip
@click.option("--insecure-registry", "insecure_registries", multiple=True,
              help="Host or CIDR block to reach unverified or in clear; repeatable.")  # fmt: skip
@click.option("--registry-mirror", "registry_mirrors", multiple=True,
              help="URL of a mirror of Docker Hub; repeatable.")  # fmt: skip
@click.option(
    "--registry-certificates",
    type=_PATH,
    help=f"Directory with certificates for each registry.  [{DEFAULT_CERTIFICATES}]",
)
@click.option("--max-concurrent-downloads", type=int, help="Layers at a time.  [3]")
@click.option("--max-concurrent-uploads", type=int, help="Layers at a time.  [5]")
@click.option("--max-download-attempts", type=int, help="For each request.  [5]")
@click.option("--search-index", help="URL of what answers `docker search`.  [none]")
def serve(file: Path | None, **flags: Any) -> None:
    """Run the daemon in the foreground."""
    # What is imported stays: the collector is not to go through it, now or ever.
    gc.disable()
    from aiod.daemon import main

    gc.freeze()
    gc.enable()
    main(configuration(file, flags))


def configuration(file: Path | None, flags: dict[str, Any]) -> DaemonConfig:
    """The daemon's settings; click.UsageError names what is wrong with them."""
    settings = _from_file(file)
    settings |= {name: value for name, value in flags.items() if value not in (None, ())}
    root = Path(settings.pop("root", DEFAULT_ROOT)).absolute()
    state = Path(settings.pop("state", DEFAULT_STATE)).absolute()
    if "cgroup_parent" in settings:
        settings["cgroup_parent_override"] = settings.pop("cgroup_parent")
    if "hosts" in settings:
        settings["hosts"] = tuple(settings["hosts"])
    elif state != DEFAULT_STATE:
        settings["hosts"] = (f"unix://{state}/aiod.sock",)
    registries = {name: settings.pop(name) for name in registrysettings.NAMES if name in settings}
    try:
        settings["registries"] = registrysettings.registry_settings(registries)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return DaemonConfig(paths=Paths(root, state), **settings)


_TEXTS = {
    "root",
    "state",
    "log_level",
    "cgroup_parent",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "snapshotter",
}
_KINDS: dict[str, type] = dict.fromkeys(_TEXTS, str) | {"hosts": list, "allow_insecure_tcp": bool}
_FILES = {"tls_cert", "tls_key", "tls_ca"}


def _from_file(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_CONFIG_FILE
    try:
        with path.open("rb") as stream:
            found = tomllib.load(stream)
    except FileNotFoundError:
        if file is None:
            return {}
        raise click.UsageError(f"{path}: no such file") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    settings = {name.replace("-", "_"): value for name, value in found.items()}
    for name, value in settings.items():
        if name not in registrysettings.NAMES:
            _check(path, name, value)
    return {k: Path(v) if k in _FILES else v for k, v in settings.items()}


def _check(path: Path, name: str, value: object) -> None:
    kind = _KINDS.get(name)
    if kind is None:
        raise click.UsageError(f"{path}: unknown setting {name}")
    if not isinstance(value, kind):
        raise click.UsageError(f"{path}: {name}: expected {kind.__name__}")
    if name == "hosts" and not all(isinstance(host, str) for host in value):  # type: ignore[attr-defined]
        raise click.UsageError(f"{path}: hosts: expected a list of str")
    for limited, choices in (("log_level", _LEVELS), ("snapshotter", SNAPSHOTTERS)):
        if name == limited and value not in choices:
            raise click.UsageError(f"{path}: {name}: one of {', '.join(choices)}")
