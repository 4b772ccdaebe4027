"""What is done to images, so that it can be interrupted anywhere and done again.

Every operation leaves the same whether it is done once or twice; none knows of the others'
outcome, but `delete` needs what `load` brings. Must not know when daemons die.
"""

import io
import json
import random
import secrets
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import rootfs
from tests.support.daemon import AiodDaemon
from tests.support.http import Api, Reply
from tests.support.layertars import directory, layer, link, member
from tests.support.pulling import skopeo_push
from tests.support.registry import Registry

TAR = {"Content-Type": "application/x-tar"}
LOADED, BUILT, PUSHED = "drill:loaded", "drill:built", "drill:pushed"


def tree(seed: int, files: int = 150, size: int = 40_000) -> bytes:
    """A layer of that many files of up to that size, and a few that are more than a file."""
    rng = random.Random(seed)
    return layer(
        [
            directory("data"),
            directory(f"data/{seed}"),
            *(
                member(f"data/{seed}/{number}", rng.randbytes(rng.randrange(size)))
                for number in range(files)
            ),
            link(f"data/{seed}/link", f"data/{seed}/0"),
            member("data/.wh.gone"),
        ]
    )


def context() -> bytes:
    """A build's context."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        text = b"FROM base\nCOPY data /data\nRUN echo made > /made\nLABEL a=b\n"
        for name, data in {"Dockerfile": text, "data/f": secrets.token_bytes(2_000_000)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Operation:
    """One of them, as a stage of a tour."""

    title: str
    do: Callable[[Api], None]

    def run(self, api: Api, repeated: bool) -> None:
        """Do it, whether it was begun before or not."""
        self.do(api)


class ImageTour:
    """The operations on one daemon and one registry."""

    def __init__(self, daemon: AiodDaemon, registry: Registry, scratch: Path) -> None:
        self._paths = daemon.paths
        self._registry = registry
        self._archive = rootfs.docker_archive(LOADED, [rootfs.busybox_tar(), tree(1), tree(2)])
        self._context = context()
        self.remote = f"{registry.address}/drill:1"
        pushed = scratch / "pushed.tar"
        pushed.write_bytes(rootfs.docker_archive("drill:1", [rootfs.busybox_tar(), tree(3)]))
        skopeo_push(registry, "drill:1", pushed)
        self.operations: dict[str, Callable[[Api], None]] = {
            "import": self.import_,
            "build": self.build,
            "load": self.load,
            "pull": self.pull,
            "push": self.push,
            "collect": self.collect,
            "delete": self.delete,
        }

    def stages(self, *names: str) -> list[Operation]:
        """The operations of these names, or all."""
        return [Operation(name, self.operations[name]) for name in names or self.operations]

    def load(self, api: Api) -> None:
        """An archive of three layers."""
        _right(api.raw("POST", "/images/load", self._archive, TAR))

    def import_(self, api: Api) -> None:
        """A root filesystem."""
        path = "/images/create?fromSrc=-&repo=drill&tag=imported"
        _right(api.raw("POST", path, rootfs.busybox_tar(), TAR))

    def pull(self, api: Api) -> None:
        """An image that is not here, from the registry."""
        self._remove(api, self.remote)
        _right(api.send("POST", "/images/create", fromImage=self.remote))

    def push(self, api: Api) -> None:
        """An image with layers that the registry may have."""
        name = f"{self._registry.address}/pushed"
        self.load(api)
        _right(api.send("POST", f"/images/{LOADED}/tag", repo=name, tag="1"), 201)
        _right(api.raw("POST", f"/images/{name}/push?tag=1", b"", {"X-Registry-Auth": "e30="}))
        self._remove(api, f"{name}:1")

    def build(self, api: Api) -> None:
        """A Dockerfile with a file copied and a command run."""
        path = f"/build?t={BUILT}&nocache=1&rm=1&networkmode=none"
        _right(api.raw("POST", path, self._context, TAR))

    def collect(self, api: Api) -> None:
        """What nothing needs: a layer and blobs, such as crashes leave."""
        for _ in range(3):
            name = secrets.token_hex(32)
            (self._paths.overlay / name / "diff/d").mkdir(parents=True)
            for number in range(200):
                (self._paths.overlay / name / f"diff/d/{number}").write_bytes(b"x")
            (self._paths.blobs / secrets.token_hex(32)).write_bytes(bytes(1_000_000))
        sound(api)

    def delete(self, api: Api) -> None:
        """An image with its layers and blobs, if it is here."""
        self._remove(api, LOADED)

    def undo(self, api: Api) -> None:
        """Everything away that any operation made, the base too."""
        for image in api.call("GET", "/images/json", all=1):
            _right(api.send("DELETE", f"/images/{image['Id']}", force=1), 404)

    def _remove(self, api: Api, name: str) -> None:
        _right(api.send("DELETE", f"/images/{name}", force=1), 404)

    def left(self) -> set[str]:
        """Every blob, layer and unfinished file on disk."""
        places = (self._paths.blobs, self._paths.ingest, self._paths.overlay)
        return {path.name for place in places for path in place.iterdir()}


def _right(reply: Reply, *others: int) -> None:
    assert reply.status in (200, *others), (reply.status, reply.body)
    assert b'"error"' not in reply.body, reply.body


def sound(api: Api) -> dict[str, Any]:
    """Nothing is damaged, missing or left over; the counts."""
    reply = api.send("POST", "/aiod/images/verify")
    messages = [json.loads(line) for line in reply.body.splitlines()]
    assert [one for one in messages if one.get("problem")] == []
    summary: dict[str, Any] = messages[-1]["summary"]
    return summary
