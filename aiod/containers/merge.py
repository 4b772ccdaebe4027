"""A container's `Config` over its image's, and the command that comes of both: dockerd's rules.

Pure; must not know where either is kept.
"""

import msgspec

from aiod.containers import healthrules
from aiod.errors import InvalidParameterError
from aiod.images.config import RunConfig
from aiod.store.models import ContainerConfig


def merged(asked: ContainerConfig, image: RunConfig) -> ContainerConfig:
    """What the container has: the image fills in what was not asked for."""
    entrypoint, command = asked.entrypoint, asked.command
    if not entrypoint:
        command = command or image.cmd
        entrypoint = image.entrypoint if entrypoint is None else None
    if entrypoint == [""]:
        entrypoint = None
    named = {line.partition("=")[0] for line in asked.Env or ()}
    inherited = [line for line in image.env or () if line.partition("=")[0] not in named]
    stop = asked.StopSignal if asked.StopSignal is not msgspec.UNSET else ""
    return msgspec.structs.replace(
        asked,
        Entrypoint=entrypoint,
        Cmd=command,
        Env=[*(asked.Env or ()), *inherited],
        User=asked.User or image.user,
        WorkingDir=asked.WorkingDir or image.working_dir,
        ExposedPorts={**(image.exposed_ports or {}), **(asked.ExposedPorts or {})} or msgspec.UNSET,
        Volumes={**(image.volumes or {}), **(asked.Volumes or {})} or None,
        Labels={**(image.labels or {}), **(asked.Labels or {})},
        Healthcheck=healthrules.merged(asked.Healthcheck, image.healthcheck),
        StopSignal=stop or image.stop_signal or msgspec.UNSET,
    )


def command_of(config: ContainerConfig) -> tuple[str, tuple[str, ...]]:
    """`Path` and `Args`. Raises InvalidParameterError if there is none."""
    words = [*(config.entrypoint or ()), *(config.command or ())]
    if not words:
        raise InvalidParameterError("no command specified")
    return words[0], tuple(words[1:])
