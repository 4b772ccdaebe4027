"""Pulls over a network and from a server that misbehave: complete and verified, or refused."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.config import RegistrySettings
from aiod.errors import AiodError
from aiod.images.service import ImageService
from tests.support import rootfs
from tests.support.chaos import Chaos
from tests.support.pulling import Uploader, digest_of, image_service, left_behind, pull
from tests.support.registry import Registry

PULLS = 200
CLIENTS = 4
FILES = [random.Random(n).randbytes(150_000 + n) for n in range(4)]
LAYERS = [rootfs.tar([rootfs.Entry(f"file{n}", data)]) for n, data in enumerate(FILES)]
HASTY = RegistrySettings(
    attempts=3, first_delay=0.001, longest_delay=0.01, connect_timeout=5, stall_timeout=0.3
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        Uploader(running, "x").image("1", LAYERS)
        yield running


def check_complete(images: ImageService, root: Path, name: str) -> None:
    """Every blob is what its name says, and every layer what it should be."""
    for blob in (root / "content" / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    image = images.find(name)
    assert [one.diff_id for one in image.layers] == [digest_of(data) for data in LAYERS]
    for number, layer in enumerate(image.layers):
        tree = images.layer_directory(layer.chain_id)
        assert [path.name for path in tree.iterdir()] == [f"file{number}"]
        assert (tree / f"file{number}").read_bytes() == FILES[number]


async def one_pull(images: ImageService, root: Path, name: str) -> str:
    """Pull and remove again: how it ended."""
    try:
        await pull(images, name)
    except AiodError as error:
        print(error.message)
        assert await images.list({}) == []
        return "refused"
    check_complete(images, root, name)
    await images.delete(name)
    return "complete"


async def some_pulls(registry: Registry, root: Path, seeds: range) -> tuple[list[str], set[str]]:
    """The outcomes of pulls one after another, and the mischiefs that they met."""
    outcomes = []
    with Chaos(registry.port, 0) as chaos:
        async with image_service(root, HASTY) as images:
            for seed in seeds:
                chaos.reseed(seed)
                outcomes.append(await one_pull(images, root, f"{chaos.address}/x:1"))
                print("seed", seed, outcomes[-1])
                assert left_behind(root) == set()
    return outcomes, set(chaos.told)


async def test_complete_and_verified_or_refused(registry: Registry, tmp_path: Path) -> None:
    """Several clients at once, each with a storage of its own: most of the time is waiting."""
    base = random.SystemRandom().randrange(1 << 32)
    share = PULLS // CLIENTS
    found = await asyncio.gather(*(
        some_pulls(registry, tmp_path / str(n), range(base + n * share, base + (n + 1) * share))
        for n in range(CLIENTS)
    ))  # fmt: skip
    outcomes = Counter(outcome for told, _ in found for outcome in told)
    print(outcomes)
    assert outcomes["complete"] > PULLS // 4
    assert outcomes["refused"] > 0
    assert len(set.union(*(met for _, met in found))) > 10


SINGLE = ("cut", "reset", "stall", "429", "500", "503", "refuse", "truncate", "rangeless")


@pytest.mark.parametrize("kind", SINGLE)
async def test_what_passes_is_got_over(registry: Registry, tmp_path: Path, kind: str) -> None:
    """Every third answer meets it; a pull of enough attempts is complete in the end."""
    settings = RegistrySettings(
        attempts=12, first_delay=0.001, longest_delay=0.01, stall_timeout=0.3
    )
    with Chaos(registry.port, 1, {"none": 2, kind: 1}) as chaos:
        async with image_service(tmp_path / "i", settings) as images:
            await pull(images, f"{chaos.address}/x:1")
            check_complete(images, tmp_path / "i", f"{chaos.address}/x:1")
    assert chaos.told[kind]


async def test_wrong_bytes_of_a_layer_are_refused(registry: Registry, tmp_path: Path) -> None:
    with Chaos(registry.port, 1, {"wrong": 1}) as chaos:
        async with image_service(tmp_path / "i", HASTY) as images:
            for seed in range(20):
                chaos.reseed(seed)
                with pytest.raises(AiodError):
                    await pull(images, f"{chaos.address}/x:1")
                assert left_behind(tmp_path / "i") == set()


async def test_a_server_that_only_stalls_is_given_up(registry: Registry, tmp_path: Path) -> None:
    with Chaos(registry.port, 1, {"stall": 1}) as chaos:
        async with image_service(tmp_path / "i", HASTY) as images:
            with pytest.raises(AiodError, match="no answer in time"):
                await pull(images, f"{chaos.address}/x:1")
    assert left_behind(tmp_path / "i") == set()
