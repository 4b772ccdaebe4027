"""The operations of the OCI runtime, one after another as different commands do them."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aiod.native import plan, spec
from aiod.native.errors import NativeError
from aiod.native.lifecycle import Runtime
from aiod.native.records import Directory, Record
from tests.support.containers import Box, extract
from tests.support.processes import children

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

replace = msgspec.structs.replace


class NoCgroup:
    """Stands for a cgroup; `aiod.native.cgroups` has its own tests."""

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        assert pid > 0

    def create(self) -> None: ...

    def into_fd(self) -> None:
        return None

    def mounts(self) -> tuple[plan.CgroupMount, ...]:
        return ()

    def processes(self) -> list[int]:
        return []

    def frozen(self) -> bool:
        return False

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def update(self, resources: spec.Resources) -> None: ...

    def remove(self) -> None: ...


class World:
    """A runtime with one bundle."""

    def __init__(self, base: Path, lower: Path) -> None:
        self.box = Box(base, (lower,))
        self.base = base
        self.runtime = Runtime(base / "root", NoCgroup)

    def bundle(self, container: spec.Spec) -> None:
        (self.base / "config.json").write_bytes(spec.encode(container))

    def create(self, container: spec.Spec, name: str = "one") -> Record:
        self.bundle(container)
        null = os.open("/dev/null", os.O_RDWR)
        try:
            record, task = self.runtime.create(name, self.base, (null, null, null))
        finally:
            os.close(null)
        task.close()
        return record


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def world(tmp_path: Path, lower: Path) -> Iterator[World]:
    before, others = len(os.listdir("/proc/self/fd")), children()
    world = World(tmp_path, lower)
    yield world
    for directory in (tmp_path / "root").glob("*"):
        world.runtime.delete(directory.name, force=True)
    for child in children() - others:
        os.waitpid(child, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_from_create_to_delete(world: World) -> None:
    record = world.create(world.box.describe("sleep", "1000"))
    assert world.runtime.state("one").status == "created"
    with pytest.raises(NativeError, match="exists already"):
        world.create(world.box.describe("true"))
    world.runtime.start("one")
    assert world.runtime.state("one").status == "running"
    assert os.readlink(f"/proc/{record.pid}/root") == "/"
    with pytest.raises(NativeError, match="the container is running, not created"):
        world.runtime.start("one")
    with pytest.raises(NativeError, match="the container is running, not stopped"):
        world.runtime.delete("one")
    world.runtime.kill("one", 9)
    os.waitpid(record.pid, 0)
    state = world.runtime.state("one")
    assert (state.status, state.pid) == ("stopped", 0)
    with pytest.raises(NativeError, match="container not running"):
        world.runtime.kill("one", 9)
    world.runtime.delete("one")
    with pytest.raises(NativeError, match='container "one" does not exist'):
        world.runtime.state("one")


def test_created_and_deleted_without_a_start(world: World) -> None:
    world.create(world.box.describe("sleep", "1000"))
    world.runtime.delete("one")
    assert not (world.base / "root" / "one").exists()


def test_failed_create_leaves_nothing(world: World) -> None:
    with pytest.raises(NativeError, match="executable file not found"):
        world.create(world.box.describe("absent"))
    assert os.listdir(world.base / "root") == []


def test_failed_execve_is_told_by_start(world: World) -> None:
    script = world.base / "script"
    script.write_text("no format\n")
    script.chmod(0o755)
    mount = spec.Mount("/script", "bind", str(script), ("bind",))
    world.create(world.box.describe("/script", mounts=(mount,)))
    with pytest.raises(NativeError) as caught:
        world.runtime.start("one")
    assert caught.value.kind == "not-executable"


def test_a_visitor_that_says_nothing_starts_nothing(world: World) -> None:
    world.create(world.box.describe("sleep", "1000"))
    path = f"/proc/self/fd/{os.open(world.base / 'root' / 'one', os.O_PATH)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor:
        visitor.connect(f"{path}/start.sock")
    os.close(int(Path(path).name))
    assert world.runtime.state("one").status == "created"
    world.runtime.start("one")
    assert world.runtime.state("one").status == "running"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "é"])
def test_invalid_ids(world: World, name: str) -> None:
    with pytest.raises(NativeError, match="container id: invalid"):
        Directory(world.base, name)


def test_damaged_record_is_named_and_can_be_deleted(world: World) -> None:
    record = world.create(world.box.describe("sleep", "1000"))
    path = world.base / "root" / "one" / "state.json"
    path.write_text('{"id": ')
    with pytest.raises(NativeError, match=r"state\.json"):
        world.runtime.state("one")
    world.runtime.delete("one", force=True)
    os.kill(record.pid, 9)


def _hook(path: Path, *words: str) -> spec.Hook:
    return spec.Hook("/bin/sh", ("sh", "-c", f"{{ {' '.join(words)}; }} >>{path}"), ("A=b",))


def test_hooks_run_at_their_points(world: World) -> None:
    out = world.base / "out"
    inside = "echo container $(cat /proc/1/comm) $A >/from-hook"
    hooks = spec.Hooks(
        prestart=(_hook(out, "echo prestart; cat"),),
        create_runtime=(_hook(out, "echo; echo createRuntime"),),
        create_container=(_hook(out, "echo createContainer; cat"),),
        start_container=(spec.Hook("/bin/sh", ("sh", "-c", inside), ("A=b", "PATH=/bin")),),
        poststart=(_hook(out, "echo; echo poststart"),),
        poststop=(_hook(out, "echo poststop; cat"),),
    )
    record = world.create(replace(world.box.describe("sleep", "1000"), hooks=hooks))
    lines = out.read_text().split("\n")
    assert [lines[0], lines[2], lines[3]] == ["prestart", "createRuntime", "createContainer"]
    state = json.loads(lines[1])
    assert (state["id"], state["status"], state["pid"]) == ("one", "creating", record.pid)
    assert state == json.loads(lines[4])
    world.runtime.start("one")
    assert (world.base / "upper/from-hook").read_text().split()[::2] == ["container", "b"]
    world.runtime.delete("one", force=True)
    lines = out.read_text().split("\n")
    assert lines[5:7] == ["poststart", "poststop"]
    assert json.loads(lines[7])["status"] == "stopped"


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (spec.Hook("/absent"), 'hook "/absent": '),
        (spec.Hook("/bin/sh", ("sh", "-c", "echo why >&2; exit 3")), "ended with 3"),
        (spec.Hook("/bin/sleep", ("sleep", "100"), timeout=1), "did not end within 1 s"),
    ],
)
@pytest.mark.parametrize("point", ["create_runtime", "create_container"])
def test_failing_hook_undoes_the_create(
    world: World, hook: spec.Hook, message: str, point: str
) -> None:
    hooks = spec.Hooks(**{point: (hook,)})
    with pytest.raises(NativeError, match=message):
        world.create(replace(world.box.describe("true"), hooks=hooks))
    assert os.listdir(world.base / "root") == []
