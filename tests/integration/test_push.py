"""Pushes: what a registry has afterwards, and what is sent to it and what is not."""

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import layertars, rootfs
from tests.support.binaries import require
from tests.support.certificates import authority
from tests.support.daemon import AiodDaemon
from tests.support.http import Api
from tests.support.images import load
from tests.support.registry import PASSWORD, USER, BasicAuth, Registry, TokenAuth
from tests.support.tokens import IDENTITY, TokenServer

ONE = rootfs.tar([rootfs.Entry("a", b"1")])
TWO = rootfs.tar([rootfs.Entry("b", b"22")])
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[Registry]:
    with Registry(scratch / "registry-push") as running:
        yield running


def push(api: Api, name: str, headers: dict[str, str] | None = None, **query: str) -> list[Any]:
    path = f"/images/{name}/push?{urlencode(query)}"
    reply = api.raw("POST", path, None, {"X-Registry-Auth": "e30=", **(headers or {})})
    assert reply.status == 200, reply.message
    return [json.loads(line) for line in reply.body.splitlines()]


def statuses(messages: list[Any]) -> dict[str, list[str]]:
    """By layer, the statuses in their order; figures and repetitions left out."""
    found: dict[str, list[str]] = {}
    for message in messages:
        said = found.setdefault(message.get("id", ""), [])
        status = message.get("status", message.get("error"))
        if status and said[-1:] != [status]:
            said.append(status)
    return found


def skopeo(*arguments: str) -> str:
    command = [require("skopeo"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def raw_manifest(registry: Registry, name: str) -> bytes:
    return skopeo(
        "inspect", "--raw", "--tls-verify=false", f"docker://{registry.address}/{name}"
    ).encode()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_same_words_as_dockerd(both: tuple[Api, Api], registry: Registry) -> None:
    answers = []
    for number, api in enumerate(both):
        name = f"{registry.address}/words{number}"
        load(api, rootfs.docker_archive(f"{name}:1", [ONE, TWO], ["x"]))
        since = f"{time.time():.9f}"
        first, second = (push(api, name, tag="1") for _ in range(2))
        query = {"since": since, "until": f"{time.time():.9f}", "filters": '{"type":["image"]}'}
        body = api.raw("GET", f"/events?{urlencode(query)}").body
        events = [(e["Action"], e["Actor"]) for e in map(json.loads, body.splitlines())]
        shown = api.call("GET", f"/images/{name}:1/json")["RepoDigests"]
        assert [*first[-1]] == [*second[-1]] == ["progressDetail", "aux"]
        aux = first[-1]["aux"]
        assert digest(raw_manifest(registry, f"words{number}:1")) == aux["Digest"]
        told = [_quick(statuses(first)), statuses(second), events, shown, sorted(aux)]
        text = json.dumps(told, sort_keys=True).replace(f"words{number}", "words")
        answers.append(text.replace(aux["Digest"], "<digest>").replace(f"size: {aux['Size']}", ""))
    assert answers[0] == answers[1]


def _quick(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Whether figures are seen is a matter of time."""
    return {k: [s for s in said if s not in ("Pushing", "Waiting")] for k, said in found.items()}


@pytest.mark.parametrize(
    "query", [{"tag": "nope"}, {}, {"tag": "!"}], ids=["tag", "all tags", "bad"]
)
@pytest.mark.parametrize("name", ["unknown", "known"])
def test_what_is_not_there(
    both: tuple[Api, Api], registry: Registry, name: str, query: dict[str, str]
) -> None:
    answers = []
    for api in both:
        load(api, rootfs.docker_archive(f"{registry.address}/known:1", [ONE]))
        path = f"/images/{registry.address}/{name}/push?{urlencode(query)}"
        reply = api.raw("POST", path, None, {"X-Registry-Auth": "e30="})
        lines = [json.loads(line) for line in reply.body.splitlines()]
        found = [(line.get("status"), line.get("error")) for line in lines]
        answers.append(lines if reply.status != 200 else [found[0], found[-1][1]])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("form", ["docker-archive", "oci"])
def test_what_was_pushed_is_what_dockerd_and_skopeo_pull(
    both: tuple[Api, Api], registry: Registry, form: str, tmp_path: Path
) -> None:
    ours, theirs = both
    name = f"{registry.address}/{form}:1"
    make = rootfs.oci_layout if form == "oci" else rootfs.docker_archive
    load(ours, make(name, [ONE, TWO]))
    told = push(ours, name.rpartition(":")[0], tag="1")[-1]["aux"]["Digest"]
    image = ours.call("GET", f"/images/{name}/json")
    assert image["RepoDigests"] == [f"{registry.address}/{form}@{told}"]
    manifest = raw_manifest(registry, f"{form}:1")
    assert digest(manifest) == told
    assert json.loads(manifest)["mediaType"] == (OCI if form == "oci" else SCHEMA2)
    reply = theirs.raw("POST", f"/images/create?fromImage={name}", None)
    assert told in reply.body.decode(), reply.body
    pulled = theirs.call("GET", f"/images/{name}/json")
    assert [pulled[k] for k in ("Id", "RootFS")] == [image[k] for k in ("Id", "RootFS")]
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/out")


def test_an_oci_image_is_pushed_as_it_came(both: tuple[Api, Api], registry: Registry) -> None:
    ours, _ = both
    archive = rootfs.oci_layout(f"{registry.address}/as-it-came:1", [ONE, TWO])
    load(ours, archive)
    push(ours, f"{registry.address}/as-it-came", tag="1")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == digest(raw_manifest(registry, "as-it-came:1"))


def test_layers_are_compressed_once(both: tuple[Api, Api], registry: Registry, aiod: Any) -> None:
    ours, _ = both
    layer = layertars.layer([layertars.member("zeros", bytes(5_000_000))])
    load(ours, rootfs.docker_archive(f"{registry.address}/once:1", [layer]))
    load(ours, rootfs.docker_archive(f"{registry.address}/once:2", [layer], ["other"]))
    blobs = aiod.paths.blobs
    assert (blobs / digest(layer)[7:]).exists()
    push(ours, f"{registry.address}/once")
    assert not (blobs / digest(layer)[7:]).exists()
    [packed] = {
        one["digest"] for tag in "12"
        for one in json.loads(raw_manifest(registry, f"once:{tag}"))["layers"]
    }  # fmt: skip
    assert gzip.decompress((blobs / packed[7:]).read_bytes()) == layer
    saved = ours.raw("GET", f"/images/{registry.address}/once:1/get").body
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        assert f"blobs/sha256/{digest(layer)[7:]}" in tar.getnames()


def test_nothing_is_sent_twice(both: tuple[Api, Api], registry: Registry) -> None:
    ours, _ = both
    load(ours, rootfs.docker_archive(f"{registry.address}/first:1", [ONE, TWO]))
    push(ours, f"{registry.address}/first", tag="1")
    ours.call("POST", f"/images/{registry.address}/first:1/tag", repo=f"{registry.address}/second")
    before = len(registry.requests())
    told = statuses(push(ours, f"{registry.address}/second"))
    assert [said[-1] for name, said in told.items() if name] == ["Mounted from first"] * 2
    asked = [request for request in registry.requests()[before:] if "/blobs/" in request]
    assert sum("mount=" in request for request in asked) == 2
    assert sum(request.startswith("PUT") for request in asked) == 1  # the config
    assert not any(request.startswith("PATCH") for request in asked)


def test_all_tags(both: tuple[Api, Api], registry: Registry) -> None:
    ours, _ = both
    name = f"{registry.address}/several"
    load(ours, rootfs.docker_archive(f"{name}:1", [ONE]))
    load(ours, rootfs.docker_archive(f"{name}:2", [ONE, TWO]))
    told = [m["aux"]["Tag"] for m in push(ours, name) if "aux" in m]
    assert told == ["1", "2"]
    assert raw_manifest(registry, "several:1") != raw_manifest(registry, "several:2")


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_credentials_are_checked_and_kept_nowhere(
    both: tuple[Api, Api], scratch: Path, aiod: Any, kind: str
) -> None:
    ours, theirs = both
    with TokenServer(authority(scratch / f"authority-{kind}")) as server:
        auth = BasicAuth() if kind == "basic" else TokenAuth(server)
        with Registry(scratch / f"registry-{kind}", auth=auth) as registry:
            _check_credentials(ours, theirs, registry)
    for path in (aiod.paths.root, aiod.paths.state, aiod.log):
        secrets = [_SECRET, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), IDENTITY]
        patterns = [word for secret in secrets for word in ("-e", secret)]
        command = ["grep", "-rlaF", *patterns, str(path)]
        found = subprocess.run(command, capture_output=True, check=False)
        assert (found.returncode, found.stdout) == (1, b"")


_SECRET = "a-wrong-password"


def _header(auth: dict[str, str]) -> dict[str, str]:
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()}


def _check_credentials(ours: Api, theirs: Api, registry: Registry) -> None:
    good = {"username": USER, "password": PASSWORD, "serveraddress": registry.address}
    bad = {**good, "password": _SECRET}
    replies = [api.send("POST", "/auth", good) for api in (ours, theirs)]
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].json() == replies[1].json()
    refusal = ours.send("POST", "/auth", bad)
    assert refusal.status == 401
    assert "unauthorized" in refusal.message
    token = replies[0].json()["IdentityToken"]
    login = {"identitytoken": token} if token else good
    name = f"{registry.address}/private"
    load(ours, rootfs.docker_archive(f"{name}:1", [ONE]))
    for header in ({}, _header(bad)):
        assert "error" in push(ours, name, header, tag="1")[-1]
        reply = ours.raw("GET", f"/distribution/{name}:1/json", None, header)
        assert reply.status in (401, 403), reply.message
    assert "aux" in push(ours, name, _header(login), tag="1")[-1]
    found = [
        api.raw("GET", f"/distribution/{name}:1/json", None, _header(login)).json()
        for api in (ours, theirs)
    ]
    assert found[0] == found[1]


def test_to_a_registry_with_an_own_authority(new_daemon: AiodDaemon, tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    with Registry(tmp_path / "tls", tls=ca.issue("registry")) as registry:
        trusted = tmp_path / "certs.d" / registry.address
        trusted.mkdir(parents=True)
        stranger = authority(tmp_path / "stranger")
        (trusted / "ca.crt").write_bytes(stranger.certificate.read_bytes())
        new_daemon.flags += ["--registry-certificates", str(tmp_path / "certs.d")]
        new_daemon.start()
        with new_daemon.api() as api:
            load(api, rootfs.docker_archive(f"{registry.address}/tls:1", [ONE]))
            refused = push(api, f"{registry.address}/tls", tag="1")
            assert "certificate verification failed" in refused[-1]["error"]
        new_daemon.stop()
        (trusted / "ca.crt").write_bytes(ca.certificate.read_bytes())
        new_daemon.restart()
        with new_daemon.api() as api:
            assert "aux" in push(api, f"{registry.address}/tls", tag="1")[-1]
        assert json.loads(raw_manifest(registry, "tls:1"))["schemaVersion"] == 2


def test_images_of_no_layer_and_of_many(both: tuple[Api, Api], registry: Registry) -> None:
    ours, theirs = both
    many = [rootfs.tar([rootfs.Entry(f"f{n}", b"%d" % n)]) for n in range(120)]
    for name, layers in (("none", []), ("many", many)):
        reference = f"{registry.address}/{name}"
        load(ours, rootfs.docker_archive(f"{reference}:1", layers))
        assert "aux" in push(ours, reference, tag="1")[-1]
        assert len(json.loads(raw_manifest(registry, f"{name}:1"))["layers"]) == len(layers)
        saved = ours.raw("GET", f"/images/{reference}:1/get").body
        if layers:
            assert load(theirs, saved) == [{"stream": f"Loaded image: {reference}:1\n"}]
