"""Containers changed and made something of: update, commit, prune; beside dockerd."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import Engine, eventually
from tests.support.http import Reply


@pytest.fixture
def pair(engine: Engine, dockerd: Engine) -> Iterator[list[tuple[Engine, str]]]:
    """A running container with limits in each engine."""
    host = {"NetworkMode": "none", "Memory": 64 << 20, "CpuShares": 512, "PidsLimit": 50}
    made = []
    for each in (engine, dockerd):
        with each.api() as api:
            made.append((each, api.run("sleep", "1000", HostConfig=host)))
    yield made
    for each, container in made:
        with each.api() as api:
            api.remove(container)


def update(engine: Engine, container: str, **changes: Any) -> Reply:
    with engine.api() as api:
        return api.send("POST", f"/containers/{container}/update", changes)


def host_config(engine: Engine, container: str) -> Any:
    with engine.api() as api:
        return api.call("GET", f"/containers/{container}/json")["HostConfig"]


def limits(engine: Engine, container: str) -> dict[str, str]:
    """What the kernel says."""
    with engine.api() as api:
        pid = api.call("GET", f"/containers/{container}/json")["State"]["Pid"]
    found: dict[str, str] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            place = Path("/sys/fs/cgroup") / (name or "unified") / path.strip("/")
            if not name and not place.exists():
                place = Path("/sys/fs/cgroup") / path.strip("/")
            for file in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max",
                         "cpu.shares", "cpu.weight", "cpu.cfs_quota_us", "cpu.max", "pids.max",
                         "cpuset.cpus"):  # fmt: skip
                if (place / file).exists():
                    found.setdefault(file, (place / file).read_text().strip())
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"Memory": 32 << 20}, {"Memory": 96 << 20, "MemorySwap": 300 << 20},
        {"Memory": 200 << 20, "MemorySwap": 400 << 20}, {"MemorySwap": 256 << 20},
        {"CpuShares": 1000}, {"CpuQuota": 50000, "CpuPeriod": 100000}, {"NanoCpus": 500000000},
        {"CpusetCpus": "0"}, {"PidsLimit": 70}, {"PidsLimit": -1}, {"PidsLimit": 0},
        {"MemoryReservation": 16 << 20}, {"RestartPolicy": {"Name": "always"}}, {},
    ],
)  # fmt: skip
def test_limits_change_while_it_runs(pair: list[tuple[Engine, str]], changes: Any) -> None:
    for each, container in pair:
        reply = update(each, container, **changes)
        assert reply.status == 200, reply.message
        held = host_config(each, container)
        for name, value in changes.items():
            if name == "RestartPolicy":
                assert held[name]["Name"] == value["Name"]
            elif name != "PidsLimit" or value > 0:
                assert held[name] == value
    ours, theirs = (limits(*each) for each in pair)
    assert ours == theirs


@pytest.mark.parametrize(
    "changes",
    [
        {"Memory": 1 << 20}, {"Memory": 200 << 20}, {"Memory": 64 << 20, "MemorySwap": 32 << 20},
        {"CpuShares": -1}, {"CpuQuota": 1}, {"NanoCpus": 10**15}, {"CpusetCpus": "900"},
        {"RestartPolicy": {"Name": "sometimes"}}, {"MemoryReservation": 100},
    ],
)  # fmt: skip
def test_what_cannot_be_changes_nothing(pair: list[tuple[Engine, str]], changes: Any) -> None:
    ours, theirs = (update(*each, **changes) for each in pair)
    assert min(ours.status, theirs.status) >= 400
    if "RestartPolicy" not in changes and "CpuShares" not in changes:
        assert ours.status == theirs.status
        told, peer = (
            reply.message.replace(container, "ID")
            for reply, (_, container) in zip((ours, theirs), pair, strict=True)
        )
        assert told == peer
    held = host_config(*pair[0])
    assert (held["Memory"], held["CpuShares"]) == (64 << 20, 512)


def test_what_only_a_create_can_set_is_refused_by_name(engine: Engine) -> None:
    with engine.api() as api:
        made = api.create(Image="base", Cmd=["true"])
        reply = update(engine, made, Ulimits=[{"Name": "nofile", "Soft": 1, "Hard": 1}])
        if engine.name == "aiod":
            assert reply.status == 501
            assert "Ulimits" in reply.message
        api.remove(made)


def test_processors_are_limited_in_one_way(pair: list[tuple[Engine, str]]) -> None:
    for each in pair:
        assert update(*each, NanoCpus=500000000).status == 200
    ours, theirs = (update(*each, CpuQuota=50000) for each in pair)
    assert ours.status == theirs.status == 409
    assert ours.message.split(": ", 1)[1] == theirs.message.split(": ", 1)[1]


def test_what_rests_is_updated_for_its_start(engine: Engine) -> None:
    with engine.api() as api:
        made = api.create(Image="base", Cmd=["sleep", "1000"], HostConfig={"Memory": 64 << 20})
        assert update(engine, made, Memory=32 << 20).status == 200
        api.start(made)
        found = limits(engine, made)
        assert str(32 << 20) in (found.get("memory.limit_in_bytes"), found.get("memory.max"))
        api.remove(made)


def commit(engine: Engine, container: str, body: Any = None, **query: str) -> Reply:
    with engine.api() as api:
        return api.send("POST", "/commit", body, container=container, **query)


@pytest.mark.parametrize("state", ["running", "exited", "created", "paused"])
def test_an_image_of_what_was_written(engine: Engine, dockerd: Engine, state: str) -> None:
    found = []
    for each in (engine, dockerd):
        with each.api() as api:
            script = "echo written >/file; rm /etc/passwd; touch /done; sleep 1000"
            options: dict[str, Any] = {"Env": ["A=b"], "Labels": {"l": "v"}, "WorkingDir": "/tmp"}
            made = api.create(Image="base", Cmd=["sh", "-c", script], **options)
            if state != "created":
                api.start(made)
                api.execute(made, *_DONE)
            if state == "exited":
                api.call("POST", f"/containers/{made}/kill")
                api.wait(made)
            elif state == "paused":
                api.call("POST", f"/containers/{made}/pause")
            query = {"repo": "made", "tag": "1", "author": "me", "comment": "why"}
            reply = commit(each, made, changes='ENV C="d e"', **query)
            assert reply.status == 201, reply.message
            image = api.call("GET", "/images/made:1/json")
            assert image["Id"] == reply.json()["Id"]
            (image["Config"]["Labels"] or {}).pop("tag", None)  # of the base that dockerd has
            found.append(image)
            shown = api.call("GET", f"/containers/{made}/json")
            assert shown["State"]["Status"] == state
            api.remove(made)
            if state != "created":
                run = api.run("sh", "-c", "cat /file; test -e /etc/passwd || echo gone; echo $C",
                              image="made:1")  # fmt: skip
                api.wait(run)
                log = api.raw("GET", f"/containers/{run}/logs?stdout=1").body
                assert all(text in log for text in (b"written\n", b"gone\n", b"d e\n"))
                api.remove(run)
            api.call("DELETE", "/images/made:1", None, force="1")
    ours, theirs = found
    for name in ("Author", "Comment", "Os", "Architecture"):
        assert ours[name] == theirs[name]
    for name in ("Cmd", "Env", "Labels", "WorkingDir", "Entrypoint", "User"):
        assert ours["Config"].get(name) == theirs["Config"].get(name), name
    assert len(ours["RootFS"]["Layers"]) == len(theirs["RootFS"]["Layers"])


_DONE = ("sh", "-c", "until test -e /done; do :; done")


def test_a_commit_with_a_configuration(engine: Engine, dockerd: Engine) -> None:
    found = []
    for each in (engine, dockerd):
        with each.api() as api:
            made = api.create(Image="base", Cmd=["true"], Env=["A=b"], User="5")
            body = {"Cmd": ["echo", "x"], "Env": ["E=f"], "Labels": {"k": "v"}}
            reply = commit(each, made, body)
            assert reply.status == 201, reply.message
            image = api.call("GET", f"/images/{reply.json()['Id']}/json")
            found.append({name: image["Config"].get(name) for name in ("Cmd", "Env", "User")})
            assert image["RepoTags"] == []
            api.remove(made)
            api.call("DELETE", f"/images/{image['Id']}", None, force="1")
    ours, theirs = found
    assert ours == theirs


def test_commits_that_cannot_be(engine: Engine, dockerd: Engine) -> None:
    found = []
    for each in (engine, dockerd):
        with each.api() as api:
            made = api.create(Image="base", Cmd=["true"])
            replies = [
                commit(each, "none"), commit(each, made, repo="Bad Name"),
                commit(each, made, changes="RUN true"), commit(each, made, changes="NONSENSE x"),
            ]  # fmt: skip
            found.append([reply.status for reply in replies])
            api.remove(made)
    ours, theirs = found
    assert ours == [404, 500 if engine.name == "dockerd" else 400, 400, 400]
    assert (theirs[0], *theirs[2:]) == (404, 400, 400)


def test_prune(engine: Engine, dockerd: Engine) -> None:
    for each in (engine, dockerd):
        with each.api() as api:
            kept = api.run("sleep", "1000")
            other = api.create(Image="base", Cmd=["true"], Labels={"keep": "1"})
            gone = [api.run("sh", "-c", "echo data >/file", Labels={"gone": "1"}) for _ in range(2)]
            for one in gone:
                api.wait(one)
            filters = json.dumps({"label": ["gone=1"]})
            report = api.call("POST", "/containers/prune", None, filters=filters)
            assert sorted(report["ContainersDeleted"]) == sorted(gone)
            assert report["SpaceReclaimed"] >= 10
            filters = json.dumps({"label": ["keep"], "until": ["10m"]})
            report = api.call("POST", "/containers/prune", None, filters=filters)
            assert report == {"ContainersDeleted": None, "SpaceReclaimed": 0}
            left = {row["Id"] for row in api.call("GET", "/containers/json", None, all="1")}
            assert {kept, other} <= left
            wrong = api.send("POST", "/containers/prune", None, filters='{"name": ["x"]}')
            assert wrong.status == 400
            for one in (kept, other):
                api.remove(one)


def test_they_are_told_of(engine: Engine) -> None:
    before = time.time()
    with engine.api() as api:
        made = api.run("sleep", "1000")
        assert update(engine, made, CpuShares=100).status == 200
        assert commit(engine, made, comment="c").status == 201
        api.remove(made)
        reply = api.raw("GET", f"/events?since={before:.9f}&until={time.time():.9f}")
        told = {
            event["Action"]: event["Actor"]["Attributes"]
            for event in map(json.loads, reply.body.splitlines())
            if event["Actor"]["ID"] == made
        }
        assert {"update", "commit", "pause", "unpause"} <= set(told)
        assert told["commit"]["comment"] == "c"
        image = told["commit"]["imageID"]
        api.call("DELETE", f"/images/{image}")


def test_the_command(engine: Engine, tmp_path: Path) -> None:
    made = engine.docker("run", "-d", "--network", "none", "base", "sleep", "1000").stdout.strip()
    try:
        engine.docker("update", "--cpu-shares", "100", made)
        assert engine.docker("commit", "-m", "m", made, "by:cli").stdout.startswith("sha256:")
        engine.docker("rmi", "by:cli")
        engine.docker("export", "-o", str(tmp_path / "x.tar"), made)
        assert os.path.getsize(tmp_path / "x.tar") > 10240
    finally:
        engine.docker("rm", "-f", made)


def test_a_busy_container_is_committed_as_it_goes_on(aiod: Engine) -> None:
    """Without a pause; what it takes away meanwhile is left out."""
    busy = "cd /tmp; echo up; while :; do mkdir d; touch d/a b; ln b c; mv d e; rm -r e b c; done"
    images = []
    with aiod.api() as api:
        made = api.run("sh", "-c", busy)
        try:
            eventually(lambda: api.logs(made), bool)
            for _ in range(8):
                reply = commit(aiod, made, pause="0")
                assert reply.status == 201, reply.message
                images.append(reply.json()["Id"])
        finally:
            api.remove(made)
            for image in set(images):
                api.call("DELETE", f"/images/{image}")
