"""`docker pull` through the daemon, beside dockerd, and what must not be left of it."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import leaks, rootfs
from tests.support.certificates import Authority, authority
from tests.support.chaos import Chaos
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.forwarder import Forwarder
from tests.support.http import Json
from tests.support.pulling import skopeo_push
from tests.support.registry import PASSWORD, USER, BasicAuth, Registry, TokenAuth
from tests.support.tokens import TokenServer


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "a.tar"
    second = rootfs.tar([rootfs.Entry("made", b"by the suite\n")])
    path.write_bytes(rootfs.docker_archive("a:1", [rootfs.busybox_tar(), second]))
    return path


def log_in(engine: Engine, registry: Registry) -> None:
    """As `docker login` leaves it for the command."""
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    file = engine.base / ".docker" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))


def test_what_dockerd_pushes_aiod_pulls_and_runs(
    aiod: Engine, dockerd: Engine, registry: Registry
) -> None:
    name = f"{registry.address}/from/dockerd:1"
    dockerd.docker("tag", "base", name)
    pushed = dockerd.docker("push", name).stdout
    digest = next(word for word in pushed.split() if word.startswith("sha256:"))
    said = aiod.docker("pull", name).stdout
    assert f"Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n" in said
    shown = aiod.docker("image", "inspect", "-f", "{{json .RepoDigests}}", name).stdout
    assert json.loads(shown) == [f"{registry.address}/from/dockerd@{digest}"]
    ids = [
        engine.docker("image", "inspect", "-f", "{{.Id}}", name).stdout
        for engine in (aiod, dockerd)
    ]
    assert ids[0] == ids[1]
    done = aiod.docker("run", "--rm", "--network=none", name, "echo", "it runs")
    assert done.stdout == "it runs\n"
    assert "Image is up to date for" in aiod.docker("pull", name).stdout
    aiod.docker("rmi", name)
    again = aiod.docker("run", "--rm", "--network=none", name, "echo", "pulled at need")
    assert again.stdout == "pulled at need\n"
    assert f"Unable to find image '{name}' locally" in again.stderr


def test_bars_on_a_terminal(aiod: Engine, registry: Registry, archive: Path) -> None:
    skopeo_push(registry, "bars:1", archive)
    with aiod.terminal("pull", f"{registry.address}/bars:1") as terminal:
        said = terminal.expect(b"Status: Downloaded newer image")
    assert b"Pull complete" in said
    assert b"bars" in said


ASKED = {
    "no tag": "fromImage={r}/words&tag=none",
    "no repository": "fromImage={r}/nothing&tag=1",
    "no repository at all": "fromImage={r}/nothing",
    "bad tag": "fromImage={r}/words&tag=%40%40",
    "nobody there": "fromImage=127.0.0.1:1/x&tag=1",
    "new": "fromImage={r}/words&tag=1",
    "again": "fromImage={r}/words&tag=1",
    "by digest": "fromImage={r}/words&tag={d}",
    "by tag and digest": "fromImage={r}/words:1%40{d}",
    "all": "fromImage={r}/words",
    "bad platform": "fromImage={r}/words&tag=1&platform=a/b/c/d",
}


def test_the_words_are_dockerd_s(
    aiod: Engine, dockerd: Engine, registry: Registry, tmp_path: Path
) -> None:
    archive = tmp_path / "words.tar"  # with layers that neither engine has
    layers = [rootfs.tar([rootfs.Entry(f"words{n}", b"x" * 5000)]) for n in range(2)]
    archive.write_bytes(rootfs.docker_archive("words:1", layers))
    digest = skopeo_push(registry, "words:1", archive)
    for case, query in ASKED.items():
        path = "/images/create?" + query.format(r=registry.address, d=digest)
        ours, theirs = answer(aiod, path), answer(dockerd, path)
        assert ours[0] == theirs[0], case
        assert [one for one in theirs[1] if one not in ours[1]] == [], case
        missed = [one for one in ours[1] if one not in theirs[1]]
        assert all(one.endswith("Download complete") for one in missed), case
    assert pull_events(aiod, "words") == pull_events(dockerd, "words")


def answer(engine: Engine, path: str) -> tuple[int, list[str]]:
    """Status and what is told, without figures; whose wording of errno it is, is left out.

    So is what passes quickly: dockerd drops progress that comes faster than it is read, which may
    meet the end of a download too.
    """
    with engine.api() as api:
        reply = api.raw("POST", path)
    if reply.status != 200:
        return reply.status, [
            reply.message.replace("dial tcp 127.0.0.1:1: connect: c", "cannot connect: C")
        ]
    lines = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    told = [f"{one.get('id', '')} {one['status']}" for one in lines]
    return 200, sorted(
        {one for one in told if not one.endswith(("Extracting", "Downloading", "Checksum"))}
    )


def pull_events(engine: Engine, name: str) -> set[str]:
    """Actors and attributes of the pulls; dockerd tells some of them twice."""
    with engine.api() as api:
        body = api.raw("GET", f"/events?since=1&until={int(time.time()) + 1}").body
    events: list[Json] = [json.loads(line) for line in body.splitlines() if line.strip()]
    return {
        json.dumps(one["Actor"], sort_keys=True)
        for one in events
        if one["Action"] == "pull" and f"/{name}" in one["Actor"]["ID"]
    }


def test_passwords_and_tokens(
    daemon: AiodDaemon, ca: Authority, tmp_path: Path, archive: Path
) -> None:
    with (
        TokenServer(ca.issue("tokens")) as tokens,
        Registry(tmp_path / "t", auth=TokenAuth(tokens)) as by_token,
        Registry(tmp_path / "b", auth=BasicAuth()) as by_password,
    ):
        for registry in (by_token, by_password):
            name = f"{registry.address}/closed/x:1"
            skopeo_push(registry, "closed/x:1", archive, "--dest-creds", f"{USER}:{PASSWORD}")
            refused = daemon.docker("pull", name, check=False)
            assert refused.returncode == 1
            assert "pull access denied" in refused.stderr or "no basic auth" in refused.stderr
            log_in(daemon, registry)
            assert "Downloaded newer image" in daemon.docker("pull", name).stdout
    secrets = (PASSWORD.encode(), base64.b64encode(f"{USER}:{PASSWORD}".encode()))
    kept = [daemon.log, *(path for path in daemon.paths.root.rglob("*") if path.is_file())]
    database = {path for path in kept if path.name.startswith("aiod.db")}
    assert database
    for path in (daemon.log, *database):
        assert not any(secret in path.read_bytes() for secret in secrets), path


def test_a_client_that_goes_away_leaves_nothing(
    daemon: AiodDaemon, registry: Registry, archive: Path
) -> None:
    skopeo_push(registry, "stalled:1", archive)
    with Chaos(registry.port, 3, {"stall": 1}) as chaos:
        client = daemon.spawn("pull", f"{chaos.address}/stalled:1")
        assert chaos.stalled.wait(30)
        client.kill()
        client.communicate()
        eventually(lambda: list(daemon.paths.ingest.iterdir()), lambda found: not found)
        assert daemon.docker("pull", f"{registry.address}/stalled:1").returncode == 0
    leaks.assert_none(daemon)


def test_a_proxy_of_the_environment(
    new_daemon: AiodDaemon, ca: Authority, tmp_path: Path, archive: Path
) -> None:
    """registry.test is a name that only the proxy can resolve."""
    with Forwarder() as proxy, Registry(tmp_path / "r", tls=ca.issue("proxied")) as registry:
        skopeo_push(registry, "x:1", archive)
        host = f"registry.test:{registry.port}"
        certificates = tmp_path / "certs.d" / host
        certificates.mkdir(parents=True)
        (certificates / "ca.crt").write_bytes(ca.certificate.read_bytes())
        new_daemon.flags = ["--registry-certificates", str(tmp_path / "certs.d")]
        new_daemon.start({"HTTPS_PROXY": proxy.url})
        new_daemon.docker("pull", f"{host}/x:1")
        assert set(proxy.asked) == {host}
        proxy.asked.clear()
        new_daemon.stop()
        new_daemon.start({"HTTPS_PROXY": proxy.url, "NO_PROXY": ".test"})
        refused = new_daemon.docker("pull", f"{host}/x:1", check=False)
        assert refused.returncode == 1
        assert proxy.asked == []
