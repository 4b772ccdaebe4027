"""What commands read of the engine's answers: only the fields they show.

Field names are the Engine API's (v1.51). Must not know how they are shown.
"""

import msgspec

from aiod.store.models import PortBinding


class Port(msgspec.Struct, frozen=True):
    """A port of a container, and where the host has it, if it has."""

    PrivatePort: int
    PublicPort: int = 0
    IP: str = ""
    Type: str = "tcp"


class ContainerRow(msgspec.Struct, frozen=True):
    """A row of `GET /containers/json`; `Created` in seconds."""

    Id: str
    Names: tuple[str, ...] = ()
    Image: str = ""
    Command: str = ""
    Created: int = 0
    Status: str = ""
    Ports: tuple[Port, ...] = ()


class ImageRow(msgspec.Struct, frozen=True):
    """A row of `GET /images/json`; `Created` in seconds, `Size` in bytes."""

    Id: str
    RepoTags: tuple[str, ...] | None = None
    Created: int = 0
    Size: int = 0


class NetworkRow(msgspec.Struct, frozen=True):
    """A row of `GET /networks`."""

    Id: str
    Name: str
    Driver: str = ""
    Scope: str = ""


class NetworkCreated(msgspec.Struct, frozen=True):
    """The answer of a network's create."""

    Id: str
    Warning: str = ""


class Reclaiming(msgspec.Struct, frozen=True):
    """What a prune of all that takes space answers, beside the names: bytes."""

    SpaceReclaimed: int = 0


class NetworksPruned(msgspec.Struct, frozen=True):
    """What a prune of networks took away."""

    NetworksDeleted: tuple[str, ...] | None = None


PortMap = dict[str, list[PortBinding] | None]


class NetworkSettings(msgspec.Struct, frozen=True):
    """Where a container's ports are on the host."""

    Ports: PortMap | None = None


class WithPorts(msgspec.Struct, frozen=True):
    """`GET /containers/{id}/json`, for its ports."""

    NetworkSettings: NetworkSettings


class VolumeRow(msgspec.Struct, frozen=True):
    """A row of `GET /volumes`, and the answer of a volume's create."""

    Name: str
    Driver: str = ""


class Volumes(msgspec.Struct, frozen=True):
    """`GET /volumes`."""

    Volumes: tuple[VolumeRow, ...] | None = None


class VolumesPruned(Reclaiming, frozen=True):
    """What a prune of volumes took away."""

    VolumesDeleted: tuple[str, ...] | None = None


class Created(msgspec.Struct, frozen=True):
    """The answer of a container's create."""

    Id: str
    Warnings: tuple[str, ...] | None = None


class ExecCreated(msgspec.Struct, frozen=True):
    """The answer of an exec's create."""

    Id: str


class ExecState(msgspec.Struct, frozen=True):
    """How an exec ended; no code while it runs."""

    Running: bool = False
    ExitCode: int | None = None


class RunConfig(msgspec.Struct, frozen=True):
    """What matters for joining a container's streams."""

    Tty: bool = False
    OpenStdin: bool = False


class RunState(msgspec.Struct, frozen=True):
    """Whether a container runs."""

    Running: bool = False
    Paused: bool = False
    Restarting: bool = False


class Container(msgspec.Struct, frozen=True):
    """`GET /containers/{id}/json`."""

    Id: str
    Config: RunConfig
    State: RunState


class WaitError(msgspec.Struct, frozen=True):
    """Why a wait has no code."""

    Message: str = ""


class Waited(msgspec.Struct, frozen=True):
    """The answer of wait."""

    StatusCode: int
    Error: WaitError | None = None


class Top(msgspec.Struct, frozen=True):
    """The answer of top."""

    Titles: tuple[str, ...]
    Processes: tuple[tuple[str, ...], ...] | None = None


class Removal(msgspec.Struct, frozen=True):
    """One thing that an image's removal did."""

    Untagged: str = ""
    Deleted: str = ""

    @property
    def text(self) -> str:
        """In words."""
        return f"Untagged: {self.Untagged}" if self.Untagged else f"Deleted: {self.Deleted}"


class Amount(msgspec.Struct, frozen=True):
    """How far something is, in bytes; nothing known of the whole is 0."""

    current: int = 0
    total: int = 0


class Failure(msgspec.Struct, frozen=True):
    """Why a stream of progress ended before its time; `code` of a build's command."""

    code: int = 0
    message: str = ""


class Progress(msgspec.Struct, frozen=True, rename="camel"):
    """A line of what load, import, pull, push and build answer."""

    stream: str = ""
    status: str = ""
    id: str = ""
    error: str = ""
    progress_detail: Amount | None = None
    error_detail: Failure | None = None
    aux: msgspec.Raw = msgspec.Raw(b"null")


class Layer(msgspec.Struct, frozen=True):
    """A row of an image's history; `Created` in seconds."""

    Id: str
    Created: int = 0
    CreatedBy: str = ""
    Size: int = 0
    Comment: str = ""


class ImagesPruned(Reclaiming, frozen=True):
    """What a prune of images took away."""

    ImagesDeleted: tuple[Removal, ...] | None = None


class SearchResult(msgspec.Struct, frozen=True):
    """A row of a search."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False


class LoggedIn(msgspec.Struct, frozen=True):
    """The answer of auth."""

    Status: str = ""
    IdentityToken: str = ""


class VerifySummary(msgspec.Struct, frozen=True):
    """The last line of a verification: how many of each were looked at."""

    blobs: int = 0
    layers: int = 0
    images: int = 0
    containers: int = 0
    problems: int = 0
    repaired: int = 0


class Verified(msgspec.Struct, frozen=True):
    """A line of a verification; without a problem the subject is sound."""

    subject: str = ""
    id: str = ""
    size: int = 0
    problem: str = ""
    repaired: bool = False
    error: str = ""
    summary: VerifySummary | None = None


class Actor(msgspec.Struct, frozen=True):
    """Whom an event is about."""

    ID: str = ""
    Attributes: dict[str, str] = {}


class Event(msgspec.Struct, frozen=True):
    """A line of `GET /events`."""

    Type: str
    Action: str
    Actor: Actor
    time_ns: int = msgspec.field(name="timeNano", default=0)


class ContainersPruned(Reclaiming, frozen=True):
    """What a prune of containers took away."""

    ContainersDeleted: tuple[str, ...] | None = None
