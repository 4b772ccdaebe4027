"""SIGKILL of the daemon at any instant of what is done to images: nothing rots, nothing leaks."""

import contextlib
import http.client
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.imagetour import ImageTour, sound
from tests.drills.test_daemon_killed import IMAGE_POINTS
from tests.drills.tour import Walk
from tests.support import leaks
from tests.support.daemon import AiodDaemon, armed
from tests.support.registry import Registry

INSTANTS = 10
KILLED = ("load", "pull", "build", "delete", "collect")


@pytest.fixture
def tour(daemon: AiodDaemon, tmp_path: Path) -> Iterator[ImageTour]:
    with Registry(tmp_path / "registry") as registry:
        yield ImageTour(daemon, registry, tmp_path)


def attempt(daemon: AiodDaemon, tour: ImageTour, name: str) -> bool:
    """Do it; false when the daemon died meanwhile. Any other failure is the test's."""
    try:
        with daemon.api() as api:
            tour.operations[name](api)
    except (http.client.HTTPException, OSError):
        return False
    return True


def assert_whole(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        sound(api)
    leaks.assert_none(daemon)


def finish(daemon: AiodDaemon, tour: ImageTour) -> None:
    with daemon.api() as api:
        tour.undo(api)
        summary = sound(api)
    assert (summary["blobs"], summary["layers"]) == (0, 0)
    assert tour.left() == set()
    assert daemon.stop() == 0


def _prepare(daemon: AiodDaemon, tour: ImageTour, name: str) -> None:
    """Have it so that there is something to do."""
    if name in ("load", "delete"):
        assert attempt(daemon, tour, "load" if name == "delete" else "delete")


@pytest.mark.parametrize("name", KILLED)
def test_random_instants(daemon: AiodDaemon, tour: ImageTour, name: str) -> None:
    """Ten of each of the five, spread over the time that it takes undisturbed.

    Whether one strikes before the end is chance; those that come too late let the next come sooner.
    """
    rng = random.Random(name)
    for _ in range(2):  # the first warms up
        _prepare(daemon, tour, name)
        begun = time.monotonic()
        assert attempt(daemon, tour, name)
        duration = time.monotonic() - begun
    for _ in range(INSTANTS):
        _prepare(daemon, tour, name)
        outcome: list[bool] = []

        def begin(outcome: list[bool] = outcome) -> None:
            with contextlib.suppress(AssertionError):  # an answer cut short is none
                outcome.append(attempt(daemon, tour, name))

        worker = threading.Thread(target=begin)
        worker.start()
        instant = rng.random() * duration
        worker.join(instant)
        daemon.sigkill()
        worker.join(60)
        assert not worker.is_alive()
        if outcome == [True]:
            duration = instant
        daemon.restart()
        assert_whole(daemon)
        assert attempt(daemon, tour, name), daemon.log_tail()
        assert_whole(daemon)
    finish(daemon, tour)


@pytest.fixture(scope="class")
def walk(class_daemon: AiodDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """All operations, in turn."""
    daemon, scratch = class_daemon, tmp_path_factory.mktemp("walk")
    daemon.start()
    with Registry(scratch / "registry") as registry:
        tour = ImageTour(daemon, registry, scratch)
        walk = Walk(daemon, tour.stages(), lambda: assert_whole(daemon))
        yield walk
        walk.complete()
        assert_whole(daemon)
        finish(daemon, tour)


class TestKilledAtEveryPoint:
    """Of what is done to images."""

    @pytest.mark.parametrize("point", IMAGE_POINTS)
    def test_killed_at(self, walk: Walk, point: str) -> None:
        """It dies at `point` of some operation, which then succeeds with its successor."""
        walk.die_at(point)


def test_a_collection_is_killed_again_and_again(daemon: AiodDaemon, tour: ImageTour) -> None:
    """Each daemon dies at its first removal; what is there goes on being whole."""
    with daemon.api() as api:
        tour.load(api)
        tour.pull(api)
        needed = set(tour.left())
    daemon.sigkill()
    for _ in range(3):
        for number in range(3):
            litter = daemon.paths.overlay / f"{number}" / "diff"
            litter.mkdir(parents=True, exist_ok=True)
        ready = daemon.launch(armed("collect.layer-condemned"))
        if ready:
            with daemon.api() as api, contextlib.suppress(http.client.HTTPException, OSError):
                api.send("POST", "/aiod/images/verify")
        assert daemon.wait_death() == -signal.SIGKILL
        assert needed <= tour.left()
    daemon.restart()
    assert_whole(daemon)
    assert tour.left() == needed
    finish(daemon, tour)
