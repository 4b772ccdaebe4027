"""What a client asks of a build: the parameters of `POST /build`, checked.

Owns the shapes; must not know HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiod.images.registry.credentials import Credentials
from aiod.store.models import HostConfig


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """One build; `tags` are names in normal form, `host` the limits of its RUN containers.

    `credentials` are by registry; `remove` announces that the container of a step has gone.
    """

    dockerfile: str = ""
    tags: tuple[str, ...] = ()
    target: str = ""
    platform: str = ""
    no_cache: bool = False
    pull: bool = False
    remove: bool = True
    arguments: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    host: HostConfig = field(default_factory=HostConfig)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
