"""What a client asks of a build: the parameters of `POST /build`, checked.

Owns the shapes; must not know HTTP.
"""

from dataclasses import dataclass, field

from aiod.store.models import HostConfig


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """One build; `tags` are names in normal form, `host` the limits of its RUN containers.

    `remove` takes the container of a step that went well away, `quiet` is for the client.
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
