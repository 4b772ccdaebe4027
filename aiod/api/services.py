"""What the routes are given to call.

Owns nothing; a plain record of the daemon's parts.
"""

from dataclasses import dataclass

from aiod.api.server import Counters
from aiod.build.service import BuildService
from aiod.config import DaemonConfig
from aiod.containers.service import ContainerService
from aiod.images.lookups import Lookups
from aiod.images.pushing import Pushes
from aiod.images.service import ImageService
from aiod.networks.service import NetworkService
from aiod.store.events import EventLog
from aiod.volumes.service import VolumeService


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one daemon."""

    config: DaemonConfig
    containers: ContainerService
    images: ImageService
    pushes: Pushes
    lookups: Lookups
    events: EventLog
    counters: Counters
    engine_id: str
    builds: BuildService
    volumes: VolumeService
    networks: NetworkService
