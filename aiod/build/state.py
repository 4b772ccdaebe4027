"""A stage on its way: the image so far, the configuration so far, and what the cache said.

Owns what one instruction leaves to the next; must not know how instructions are executed.
"""

from dataclasses import dataclass, field

import msgspec

from aiod.images.config import ImageConfig, RunConfig
from aiod.images.dockerfile.runconfig import environment
from aiod.images.model import ImageRecord

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class StageState:
    """`image` is None while nothing but `FROM scratch` was done.

    `missed`: the cache did not have a step, so it has none of those that follow.
    """

    image: ImageRecord | None = None
    run: RunConfig = field(default_factory=RunConfig)
    author: str = ""
    command_set: bool = False
    missed: bool = False

    @property
    def image_id(self) -> str:
        """The id so far, "" for nothing."""
        return self.image.id if self.image else ""

    @property
    def short_id(self) -> str:
        """The id as it is shown."""
        return self.image_id.removeprefix("sha256:")[:12]

    def advance(self, image: ImageRecord) -> None:
        """A step made this image, or the cache had it."""
        self.image = image
        self.run = msgspec.structs.replace(self.run, image=image.id)


def begun(image: ImageRecord | None, config: ImageConfig) -> StageState:
    """A stage after its FROM."""
    run = msgspec.structs.replace(config.run, open_stdin=False, stdin_once=False)
    if "PATH" not in environment(run):
        run = msgspec.structs.replace(run, env=[*(run.env or ()), _PATH])
    if image is not None:
        run = msgspec.structs.replace(run, image=image.id)
    return StageState(image, run)
