"""`POST /build`: hostile contexts, the cache, cancellation, crashes, and what is left of them."""

import base64
import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import leaks, rootfs
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.http import Reply
from tests.support.layertars import directory, layer, link, member, soft
from tests.support.pulling import skopeo_push
from tests.support.registry import PASSWORD, USER, BasicAuth, Registry
from tests.support.webserver import Page, serving

TAG = "built:1"
Member = tuple[tarfile.TarInfo, bytes]


def context(dockerfile: str, *members: Member) -> bytes:
    """A context's tar."""
    return layer([member("Dockerfile", dockerfile.encode()), *members])


def post(engine: Engine, body: bytes, **query: str) -> Reply:
    """`POST /build`; `built:1` is the tag unless told otherwise."""
    with engine.api() as api:
        path = f"/build?{urlencode({'t': TAG, **query})}"
        return api.raw("POST", path, body, {"Content-Type": "application/x-tar"})


def lines(reply: Reply) -> list[dict[str, Any]]:
    return [json.loads(line) for line in reply.body.splitlines() if line.strip()]


def shown(reply: Reply) -> str:
    return "".join(line.get("stream", "") for line in lines(reply))


def error(reply: Reply) -> str:
    """How a build that had begun failed."""
    assert reply.status == 200, reply.message
    last = lines(reply)[-1]
    assert last["error"] == last["errorDetail"]["message"]
    return str(last["error"])


def built(engine: Engine, text: str, *members: Member, **query: str) -> str:
    """Build, which must go well; what it showed."""
    reply = post(engine, context(text, *members), **query)
    assert reply.status == 200, reply.message
    assert "error" not in lines(reply)[-1], lines(reply)[-1]
    return shown(reply)


def output(engine: Engine, *command: str) -> str:
    """What a command prints in a container of the image."""
    return engine.docker("run", "--rm", "--network=none", TAG, *command).stdout


@pytest.fixture
def left(aiod: Engine) -> Iterator[None]:
    yield
    assert isinstance(aiod, AiodDaemon)
    assert list(aiod.paths.builds.iterdir()) == []
    with aiod.api() as api:
        assert api.containers() == []


pytestmark = pytest.mark.usefixtures("left")


def test_a_context_reaches_nothing_outside_its_directory(aiod: Engine, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    built(
        aiod,
        "FROM base\nCOPY . /c",
        soft("up", str(victim)),
        member("up/evil", b"evil"),
        soft("dots", "../../../../../../../.."),
        member(f"dots{victim}/evil", b"evil"),
    )
    assert list(victim.iterdir()) == []


def test_names_that_point_upwards_are_refused(aiod: Engine) -> None:
    reply = post(aiod, context("FROM base", member("../evil", b"evil")))
    assert reply.status == 400
    assert '".."' in reply.message


def test_hard_links_out_of_the_context_are_refused(aiod: Engine) -> None:
    reply = post(aiod, context("FROM base", link("mine", "../../../../etc/passwd")))
    assert reply.status == 400


def test_links_of_an_image_lead_nowhere_outside_it(aiod: Engine, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    built(
        aiod,
        f"FROM base\nRUN ln -s {victim} /out && ln -s /../../../..{victim} /dots\n"
        f"COPY file /out/copied\nCOPY file /dots/\nADD in.tar /out/\nWORKDIR /out/deeper",
        member("file", b"data"),
        member("in.tar", layer([member("unpacked", b"data")])),
    )
    assert list(victim.iterdir()) == []
    assert sorted(output(aiod, "ls", str(victim)).split()) == [
        "copied", "deeper", "file", "unpacked",
    ]  # fmt: skip


def test_copy_from_an_image_follows_its_links_inside_it(aiod: Engine) -> None:
    built(
        aiod,
        "FROM base AS one\nRUN ln -s /../../etc /e\nFROM base\n"
        "COPY --from=one /e/passwd /stolen\nRUN cmp /stolen /etc/passwd",
    )


def test_the_device_that_hides_files_is_refused(aiod: Engine) -> None:
    whiteout = member("c", type=tarfile.CHRTYPE, devmajor=0, devminor=0)
    reply = post(aiod, context("FROM base", whiteout))
    assert reply.status == 400


def test_files_called_as_whiteouts_are_ordinary_ones(aiod: Engine) -> None:
    built(aiod, "FROM base\nCOPY . /c\nRUN ls -a /c > /names", member("sub/.whx", b""))
    assert output(aiod, "ls", "-a", "/c/sub").split() == [".", "..", ".whx"]


def test_a_damaged_context(aiod: Engine) -> None:
    body = context("FROM base", member("file", os.urandom(4000)))
    for broken in (body[:2000], b"\x1f\x8b" + body[2:], b"no tar at all" * 100):
        reply = post(aiod, broken)
        assert reply.status == 400, reply.body


def test_ignored_files_are_not_copied(aiod: Engine) -> None:
    built(
        aiod,
        "FROM base\nCOPY . /c",
        member(".dockerignore", b"# comment\n**/*.log\nsecret\n!secret/kept\nDockerfile\n"),
        member("a/b/x.log", b""), member("a/b/x.txt", b""),
        directory("secret"), member("secret/lost", b""), member("secret/kept", b""),
    )  # fmt: skip
    found = output(aiod, "find", "/c", "-type", "f").split()
    assert sorted(found) == ["/c/.dockerignore", "/c/a/b/x.txt", "/c/secret/kept"]


def test_a_dockerfile_with_an_ignore_file_of_its_own(aiod: Engine) -> None:
    built(
        aiod, "FROM no-such-image",
        member("other.Dockerfile", b"FROM base\nCOPY . /c"),
        member("other.Dockerfile.dockerignore", b"lost"),
        member(".dockerignore", b"kept"), member("kept", b""), member("lost", b""),
        dockerfile="other.Dockerfile",
    )  # fmt: skip
    assert "lost" not in output(aiod, "ls", "/c")
    assert "kept" in output(aiod, "ls", "/c")


def test_the_mode_that_copies_get(aiod: Engine) -> None:
    built(aiod, "FROM base\nCOPY --chmod=4711 --chown=nobody:root file /f", member("file", b""))
    assert output(aiod, "stat", "-c", "%a %U", "/f") == "4711 nobody\n"


def test_an_empty_entrypoint_resets_the_one_before(aiod: Engine) -> None:
    built(aiod, 'FROM base\nENTRYPOINT ["false"]\nENTRYPOINT []\nCMD ["echo", "ran"]')
    assert output(aiod) == "ran\n"


def test_a_command_that_fails_tells_its_code(aiod: Engine) -> None:
    reply = post(aiod, context("FROM base\nRUN exit 42"))
    assert error(reply) == "The command '/bin/sh -c exit 42' returned a non-zero code: 42"
    assert lines(reply)[-1]["errorDetail"]["code"] == 42


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"version": "2"}, 501, "BuildKit"),
        ({"squash": "1"}, 400, "squash"),
        ({"remote": "https://example.org/x.git"}, 501, "remote"),
        ({"cachefrom": '["x"]'}, 501, "cachefrom"),
        ({"buildargs": "{"}, 400, "buildargs"),
        ({"t": "Not:valid:x"}, 400, "invalid reference format"),
        ({"target": "nothing"}, 400, "failed to reach build target nothing in Dockerfile"),
        ({"dockerfile": "missing"}, 400, "Cannot locate specified Dockerfile: missing"),
    ],
)
def test_what_is_refused_before_anything_is_done(
    aiod: Engine, query: dict[str, str], status: int, words: str
) -> None:
    reply = post(aiod, context("FROM base"), **query)
    assert (reply.status, words in reply.message) == (status, True), reply.message


def test_quiet_builds_tell_the_id_alone(aiod: Engine) -> None:
    text = built(aiod, "FROM base\nRUN echo loud", q="1")
    with aiod.api() as api:
        assert text == f"{api.call('GET', f'/images/{TAG}/json')['Id']}\n"


def test_a_changed_program_of_a_here_document_is_run_again(aiod: Engine) -> None:
    for word in ("first", "second"):
        text = built(aiod, f"FROM base\nRUN <<EOF\n#!/bin/cat\n{word}\nEOF")
        assert word in text.split("Running in")[-1]


def test_the_cache_outlives_the_daemon(daemon: AiodDaemon) -> None:
    dockerfile = "FROM base\nENV A=1\nCOPY file /f\nRUN cat /f"
    first = built(daemon, dockerfile, member("file", b"same"))
    assert "Using cache" not in first
    daemon.sigkill()
    daemon.restart()
    assert built(daemon, dockerfile, member("file", b"same")).count("Using cache") == 3
    assert built(daemon, dockerfile, member("file", b"other")).count("Using cache") == 1
    assert built(daemon, dockerfile, member("file", b"same"), nocache="1").count("cache") == 0


def begin(engine: Engine, body: bytes) -> socket.socket:
    """A build whose client can go away."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(engine.socket))
    head = f"POST /build?t={TAG} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def await_text(client: socket.socket, text: bytes) -> None:
    seen = b""
    while text not in seen:
        data = client.recv(4096)
        assert data, seen
        seen += data


def test_a_client_that_leaves_ends_its_build(daemon: AiodDaemon) -> None:
    client = begin(daemon, context("FROM base\nRUN echo $((40+2)) && sleep 1000"))
    await_text(client, b"42\\n")
    client.close()
    with daemon.api() as api:
        eventually(api.containers, lambda rows: rows == [])
    eventually(lambda: list(daemon.paths.builds.iterdir()), lambda found: found == [])
    leaks.assert_none(daemon)


def test_nothing_is_left_of_a_build_whose_daemon_was_killed(daemon: AiodDaemon) -> None:
    client = begin(daemon, context("FROM base\nRUN echo $((40+2)) && sleep 1000"))
    await_text(client, b"42\\n")
    daemon.sigkill()
    client.close()
    daemon.restart()
    with daemon.api() as api:
        assert api.containers() == []
    assert list(daemon.paths.builds.iterdir()) == []
    leaks.assert_none(daemon)
    assert "Successfully built" in built(daemon, "FROM base\nRUN true")


def test_builds_at_once(aiod: Engine) -> None:
    def one(number: int) -> str:
        return built(aiod, f"FROM base\nRUN echo {number} > /n && cat /n", t=f"at-once:{number}")

    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(one, range(4)))
    for number, text in enumerate(texts):
        assert f"\n{number}\n" in text
        assert f"Successfully tagged at-once:{number}" in text


def test_a_checksum_that_is_wrong_leaves_nothing(aiod: Engine) -> None:
    data = b"fetched"
    right = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with serving({"/f": Page(data)}) as address:
        dockerfile = f"FROM base\nADD --checksum=%s http://{address}/f /f\nRUN cat /f"
        assert "fetched" in built(aiod, dockerfile % right)
        reply = post(aiod, context(dockerfile % f"sha256:{'0' * 64}"))
    assert f"digest mismatch {right}" in error(reply)


def test_a_base_image_comes_from_its_registry(daemon: AiodDaemon, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(rootfs.docker_archive("a:1", [rootfs.busybox_tar()]))
    with Registry(tmp_path / "registry", auth=BasicAuth()) as registry:
        name = f"{registry.address}/private/base:1"
        skopeo_push(registry, "private/base:1", archive, f"--dest-creds={USER}:{PASSWORD}")
        auth = {registry.address: {"username": USER, "password": PASSWORD}}
        config = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
        body = context(f"FROM {name}\nCOPY --from={name} /etc/passwd /p\nRUN cat /p")
        assert "error" in lines(post(daemon, body))[-1]
        with daemon.api() as api:
            reply = api.raw("POST", f"/build?t={TAG}", body, {"X-Registry-Config": config})
    assert "root:x:0:0" in shown(reply), reply.body
    assert f"Status: Downloaded newer image for {name}" in reply.body.decode()


def test_many_layers(daemon: AiodDaemon) -> None:
    steps = "".join(f"WORKDIR /d{number}\n" for number in range(130))
    built(daemon, f"FROM base\n{steps}RUN ls -d /d0 /d129")


def test_a_compressed_context(aiod: Engine) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info, data = member("Dockerfile", b"FROM base\nRUN true")
        tar.addfile(info, io.BytesIO(data))
    assert "Successfully tagged built:1" in shown(post(aiod, out.getvalue()))
