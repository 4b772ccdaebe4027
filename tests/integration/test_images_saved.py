"""What `GET /images/get` writes: aiod, dockerd and skopeo read it, whole and unchanged."""

import hashlib
import io
import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import layertars, rootfs
from tests.support.binaries import require
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine
from tests.support.http import Api
from tests.support.images import load, refused, remove_all

TWO = [rootfs.tar([rootfs.Entry("a", b"1")]), rootfs.tar([rootfs.Entry("b", b"22")])]
THREE = [*TWO, rootfs.tar([rootfs.Entry("c", b"333")])]


def saved(api: Api, *names: str) -> bytes:
    reply = api.raw("GET", f"/images/get?{urlencode([('names', name) for name in names])}")
    assert reply.status == 200, reply.message
    assert reply.headers["Content-Type"] == "application/x-tar"
    return reply.body


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        assert len(tar.getnames()) == len(set(tar.getnames()))
        return {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def same(api: Api, name: str) -> Any:
    found = api.call("GET", f"/images/{name}/json")
    return [found[key] for key in ("Id", "RepoTags", "RootFS", "Config", "Created")]


@pytest.mark.parametrize("make", [rootfs.docker_archive, rootfs.oci_layout])
def test_dockerd_and_aiod_load_it(both: tuple[Api, Api], make: Any) -> None:
    ours, theirs = both
    load(ours, make("one:1", THREE))
    before = same(ours, "one:1")
    archive = saved(ours, "one:1")
    ours.call("DELETE", "/images/one:1")
    assert load(ours, archive) == load(theirs, archive) == [{"stream": "Loaded image: one:1\n"}]
    assert same(ours, "one:1") == before
    assert same(theirs, "one:1") == before
    assert saved(ours, "one:1") == archive


def test_every_blob_has_its_digest_and_both_indexes_name_them(both: tuple[Api, Api]) -> None:
    ours, _ = both
    load(ours, rootfs.oci_layout("one:1", THREE))
    ours.call("POST", "/images/one:1/tag", repo="localhost:5000/more/names", tag="x")
    found = members(saved(ours, "one:1", "localhost:5000/more/names:x"))
    blobs = {name: data for name, data in found.items() if name.startswith("blobs/sha256/")}
    assert all(name == f"blobs/sha256/{digest(data)}" for name, data in blobs.items())
    [item] = json.loads(found["manifest.json"])
    assert [found[name] for name in item["Layers"]] == THREE
    assert item["RepoTags"] == ["one:1", "localhost:5000/more/names:x"]
    index = json.loads(found["index.json"])
    names = [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]]
    assert names == ["docker.io/library/one:1", "localhost:5000/more/names:x"]
    manifest = json.loads(blobs[f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"])
    assert [one["size"] for one in manifest["layers"]] == [len(data) for data in THREE]
    assert json.loads(found["repositories"]) == {
        "one": {"1": digest(THREE[-1])}, "localhost:5000/more/names": {"x": digest(THREE[-1])}
    }  # fmt: skip
    assert len(blobs) == 2 + len(THREE)


def test_several_images_share_their_layers(both: tuple[Api, Api]) -> None:
    ours, theirs = both
    load(ours, rootfs.docker_archive("one:1", TWO))
    load(ours, rootfs.docker_archive("two:2", THREE))
    archive = saved(ours, "one:1", "two:2")
    blobs = [name for name in members(archive) if name.startswith("blobs/")]
    assert len(blobs) == 2 + 2 + len(THREE)
    told = load(theirs, archive)
    assert {line["stream"] for line in told} == {"Loaded image: one:1\n", "Loaded image: two:2\n"}
    for name in ("one:1", "two:2"):
        assert same(ours, name) == same(theirs, name)


def test_events(both: tuple[Api, Api]) -> None:
    answers = []
    for api in both:
        load(api, rootfs.docker_archive("one:1", TWO))
        load(api, rootfs.docker_archive("two:2", THREE))
        since = f"{time.time():.9f}"
        saved(api, "one:1", "two:2", "one:1")
        query = {"since": since, "until": f"{time.time():.9f}", "filters": '{"type":["image"]}'}
        body = api.raw("GET", f"/events?{urlencode(query)}").body
        found = [json.loads(line) for line in body.splitlines()]
        answers.append(sorted(json.dumps([e["Action"], e["Actor"]], sort_keys=True) for e in found))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 2


NAMES: list[list[str]] = [
    ["one:1"], ["one"], ["one", "two:2"], ["@one:1"], ["@one:1", "one:2"], ["one:1", "one:1"],
    ["nope"], ["nope:1"], ["one:1", "nope"], ["ONE"], ["a:b:c"],
    ["sha256:1234"], [f"one@sha256:{'1' * 64}"],
]  # fmt: skip


@pytest.mark.parametrize("names", NAMES, ids=str)
def test_what_names_mean(both: tuple[Api, Api], names: list[str]) -> None:
    answers: list[Any] = []
    for api in both:
        load(api, rootfs.docker_archive("one:1", TWO))
        load(api, rootfs.docker_archive("two:2", THREE))
        api.call("POST", "/images/one:1/tag", repo="one", tag="2")
        ids = {f"@{n}": api.call("GET", f"/images/{n}/json")["Id"] for n in ("one:1", "two:2")}
        query = urlencode([("names", ids.get(name, name)) for name in names])
        reply = api.raw("GET", f"/images/get?{query}")
        if reply.status == 200:
            items = json.loads(members(reply.body)["manifest.json"])
            answers.append(sorted(sorted(item["RepoTags"] or []) for item in items))
        else:
            answers.append(refused(reply))
        remove_all(api)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["1" * 64, f"sha256:{'1' * 64}"])
def test_an_id_that_is_not_there(aiod: Engine, name: str) -> None:
    with aiod.api() as api:
        reply = api.send("GET", f"/images/{name}/get")
        assert (reply.status, reply.message) == (404, f"No such image: sha256:{'1' * 64}")
        assert api.send("GET", "/images/get").status == 400


def test_skopeo_reads_it(both: tuple[Api, Api], tmp_path: Path) -> None:
    ours, _ = both
    load(ours, rootfs.docker_archive("one:1", THREE))
    (tmp_path / "saved.tar").write_bytes(saved(ours, "one:1"))
    for place in ("docker-archive:saved.tar:one:1", "oci-archive:saved.tar:1"):
        command = [require("skopeo"), "inspect", "--config", place]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=tmp_path)
        config = json.loads(done.stdout)
        assert config["rootfs"]["diff_ids"] == [f"sha256:{digest(data)}" for data in THREE]
        target = f"dir:{tmp_path / place.partition(':')[0]}"
        copy = [require("skopeo"), "copy", "-q", place, target]
        subprocess.run(copy, check=True, timeout=60, cwd=tmp_path)


def test_a_long_name_and_a_large_layer(both: tuple[Api, Api]) -> None:
    ours, theirs = both
    layer = layertars.layer([layertars.member("big", bytes(range(256)) * 20_000)])
    name = f"localhost:5000/{'a' * 200}:{'t' * 100}"
    load(ours, rootfs.oci_layout(name, [layer]))
    load(theirs, saved(ours, name))
    assert same(theirs, name) == same(ours, name)


def test_a_rotten_layer_is_never_taken_for_a_whole_one(daemon: AiodDaemon) -> None:
    big = layertars.layer([layertars.member("big", bytes(3_000_000))])
    daemon.load(rootfs.docker_archive("one:1", [big]))
    blob = daemon.paths.blobs / digest(big)
    data = bytearray(blob.read_bytes())
    data[1_000_000] ^= 1
    blob.write_bytes(data)
    done = daemon.docker("save", "one:1", "-o", str(daemon.base / "out.tar"), check=False)
    assert done.returncode != 0
    assert "unexpected EOF" in done.stderr
    assert "is damaged" in daemon.log.read_text()


def test_manifests(aiod: Engine) -> None:
    with aiod.api("1.51") as api:
        load(api, rootfs.oci_layout("with:1", TWO))
        load(api, rootfs.docker_archive("without:1", TWO))
        holding = api.create(Image="with:1", Cmd=["x"])
        shown = api.call("GET", "/images/with:1/json", manifests="1")
        [one] = shown["Manifests"]
        assert one["ID"] == one["Descriptor"]["digest"]
        assert one["Descriptor"]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        assert (one["Available"], one["Kind"]) == (True, "image")
        assert one["ImageData"] == {
            "Platform": {"architecture": "amd64", "os": "linux"},
            "Containers": [holding], "Size": {"Unpacked": 3},
        }  # fmt: skip
        assert one["Size"]["Total"] == one["Size"]["Content"] + 3
        assert one["Size"]["Content"] > one["Descriptor"]["size"]
        assert "Manifests" not in api.call("GET", "/images/with:1/json")
        rows = api.call("GET", "/images/json", manifests="1")
        found = {row["RepoTags"][0]: row["Manifests"] for row in rows if row["RepoTags"]}
        assert found["with:1"] == [one]
        assert found["without:1"] == []
        assert api.call("GET", "/images/without:1/json", manifests="1")["Manifests"] == []
        both = api.send("GET", "/images/with:1/json", manifests="1", platform='{"os":"linux"}')
        assert both.status == 400
        api.remove(holding)
        remove_all(api)


PLATFORMS = {
    '{"os":"linux","architecture":"amd64"}': 200,
    '{"os":"linux","architecture":"arm64","variant":"v8"}': 404,
    '{"os":"windows","architecture":"amd64"}': 404,
    "linux/amd64": 400,
    '{"os":"linux"}': 400,
}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("route", ["json", "history", "get"])
def test_an_image_is_for_its_platform_only(aiod: Engine, route: str, platform: str) -> None:
    with aiod.api("1.51") as api:
        load(api, rootfs.docker_archive("one:1", TWO))
        reply = api.send("GET", f"/images/one:1/{route}", platform=platform)
        assert reply.status == PLATFORMS[platform], reply.message
        remove_all(api)
