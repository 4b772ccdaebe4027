"""docker-py, the library most scripts use, against the daemon."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.engine import Engine


@pytest.fixture
def client(engine: Engine) -> Iterator[Any]:
    connection = docker.DockerClient(base_url=engine.host, version="auto", timeout=60)
    yield connection
    connection.close()


def test_life_of_a_container(client: Any) -> None:
    assert client.ping()
    script = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    container = client.containers.run("base", script, detach=True, network_mode="none")
    try:
        assert container.wait()["StatusCode"] == 3
        assert container.logs(stderr=False) == b"out\n"
        assert container.logs(stdout=False) == b"err\n"
        container.reload()
        assert container.status == "exited"
        assert container.id in [row.id for row in client.containers.list(all=True)]
    finally:
        container.remove(force=True)
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(container.id)


def test_exec(client: Any) -> None:
    container = client.containers.run("base", ["sleep", "1000"], detach=True, network_mode="none")
    try:
        code, (out, err) = container.exec_run(
            ["sh", "-c", "echo o; echo e >&2; exit 4"], demux=True
        )
        assert (code, out, err) == (4, b"o\n", b"e\n")
        container.pause()
        container.unpause()
        container.rename("renamed")
        assert client.containers.get("renamed").id == container.id
        assert "sleep 1000" in container.top()["Processes"][0]
    finally:
        container.remove(force=True)


def test_errors(client: Any) -> None:
    with pytest.raises(docker.errors.ImageNotFound):
        client.containers.create("no-such-image", network_mode="none")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("no-such-container")


def test_build(client: Any, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM base\nARG A\nCOPY f /f\nRUN cat /f && echo $A\n")
    (tmp_path / "f").write_text("copied\n")
    options = {"path": str(tmp_path), "tag": "py/built:1", "buildargs": {"A": "given"}, "rm": True}
    image, log = client.images.build(network_mode="none", labels={"of": "test"}, **options)
    try:
        assert "py/built:1" in image.tags
        assert image.labels["of"] == "test"
        told = [line.get("stream") for line in log]
        assert "copied\n" in "".join(filter(None, told))
        assert [step["CreatedBy"] for step in image.history()][1].startswith("|1 A=given /bin/sh")
    finally:
        client.images.remove("py/built:1")


def test_a_build_that_fails(client: Any) -> None:
    with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 7"):
        client.images.build(fileobj=io.BytesIO(b"FROM base\nRUN exit 7"), forcerm=True,
                            network_mode="none")  # fmt: skip


def test_files_limits_and_use(client: Any) -> None:
    script = ["sh", "-c", "echo data >/file; exec sleep 1000"]
    container = client.containers.run("base", script, detach=True, network_mode="none")
    try:
        assert container.exec_run(["sh", "-c", "until test -s /file; do :; done"]).exit_code == 0
        pieces, status = container.get_archive("/file")
        assert status["name"] == "file"
        archive = b"".join(pieces)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            file = tar.extractfile("file")
            assert file is not None
            assert file.read() == b"data\n"
        assert container.put_archive("/tmp", archive)
        assert container.exec_run(["cat", "/tmp/file"]).output == b"data\n"
        assert {"Path": "/file", "Kind": 1} in container.diff()
        assert b"ustar" in b"".join(container.export())[:1024]
        assert container.stats(stream=False)["memory_stats"]["usage"] > 0
        assert "Warnings" in container.update(mem_limit="64m", memswap_limit="128m")
        container.reload()
        assert container.attrs["HostConfig"]["Memory"] == 64 << 20
        image = container.commit(repository="py/committed", tag="1", conf={"User": "7"})
        assert image.attrs["Config"]["User"] == "7"
        client.images.remove("py/committed:1")
    finally:
        container.remove(force=True)
    ended = client.containers.create("base", ["true"], network_mode="none", labels=["pruned"])
    report = client.containers.prune(filters={"label": "pruned"})
    assert report["ContainersDeleted"] == [ended.id]
    assert client.df()["LayersSize"] > 0
