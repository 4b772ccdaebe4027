"""The unmodified `docker` command on images and registries, from login to prune."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import rootfs
from tests.support.binaries import require
from tests.support.engine import Engine
from tests.support.registry import PASSWORD, USER, BasicAuth, Registry

ONE = rootfs.tar([rootfs.Entry("a", b"1")])


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[Registry]:
    with Registry(scratch / "registry-compat") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(scratch: Path) -> Iterator[Registry]:
    with Registry(scratch / "registry-guarded", auth=BasicAuth()) as running:
        yield running


def image_ids(engine: Engine) -> set[str]:
    return set(engine.docker("images", "-qa", "--no-trunc").stdout.split())


@pytest.fixture
def image(engine: Engine) -> Iterator[str]:
    """A loaded image of two layers; whatever the test made goes afterwards, and nothing else."""
    before = image_ids(engine)
    engine.load(rootfs.docker_archive("made:1", [rootfs.busybox_tar(), ONE]))
    yield "made:1"
    while made := image_ids(engine) - before:
        engine.docker("rmi", "-f", made.pop())


def inspect(engine: Engine, name: str) -> Any:
    return json.loads(engine.docker("image", "inspect", name).stdout)[0]


def skopeo(*arguments: str) -> str:
    command = [require("skopeo"), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout


def test_tag_and_rmi(engine: Engine, image: str) -> None:
    engine.docker("tag", image, "other/name:2")
    assert inspect(engine, image)["RepoTags"] == ["made:1", "other/name:2"]
    assert engine.docker("rmi", "other/name:2").stdout == "Untagged: other/name:2\n"
    assert inspect(engine, image)["RepoTags"] == ["made:1"]
    failed = engine.docker("tag", "nope", "x", check=False)
    assert failed.returncode == 1
    assert "No such image: nope:latest" in failed.stderr
    gone = engine.docker("rmi", image).stdout.splitlines()
    assert gone[0] == "Untagged: made:1"
    assert {line.partition(":")[0] for line in gone[1:]} == {"Deleted"}


def test_history(engine: Engine, image: str) -> None:
    out = engine.docker("history", "--format", "{{.ID}}|{{.CreatedBy}}|{{.Size}}", image).stdout
    lines = [line.split("|") for line in out.splitlines()]
    assert [line[1] for line in lines] == ["test", "test"]
    assert lines[0][0] == inspect(engine, image)["Id"][7:19]
    assert lines[1][0] == "<missing>"
    assert lines[0][2] == "1B"
    assert "IMAGE" in engine.docker("history", image).stdout


def test_save_and_load(engine: Engine, image: str, tmp_path: Path) -> None:
    before = inspect(engine, image)
    engine.docker("tag", image, "made:2")
    engine.docker("save", "-o", str(tmp_path / "saved.tar"), "made:1", "made:2")
    engine.docker("rmi", "made:1", "made:2")
    out = engine.docker("load", "-i", str(tmp_path / "saved.tar")).stdout
    assert sorted(out.splitlines()) == ["Loaded image: made:1", "Loaded image: made:2"]
    after = inspect(engine, image)
    assert [after[k] for k in ("Id", "RootFS", "Config")] == [
        before[k] for k in ("Id", "RootFS", "Config")
    ]
    failed = engine.docker("save", "nope:1", "-o", str(tmp_path / "x.tar"), check=False)
    assert failed.returncode == 1
    assert "reference does not exist" in failed.stderr


def test_prune(engine: Engine, image: str) -> None:
    engine.load(rootfs.docker_archive("made:1", [ONE]))  # the one before has no name now
    out = engine.docker("image", "prune", "-f").stdout
    assert out.count("deleted: sha256:") >= 1
    assert "Total reclaimed space: " in out
    assert "reclaimed space: 0B" not in out
    assert engine.docker("image", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    using = engine.docker("create", "--network", "none", "base", "sh").stdout.strip()
    out = engine.docker("image", "prune", "-a", "-f", "--filter", "label=tag=made:1").stdout
    engine.docker("rm", using)
    assert "untagged: made:1" in out
    assert "base" in engine.docker("images").stdout


def test_push_rmi_pull(engine: Engine, image: str, registry: Registry) -> None:
    name = f"{registry.address}/made:1"
    engine.docker("tag", image, name)
    before = inspect(engine, image)
    out = engine.docker("push", name).stdout
    assert f"The push refers to repository [{registry.address}/made]" in out
    assert out.count("Pushed") == 2
    digest = out.rpartition("digest: ")[2].partition(" ")[0]
    assert digest.startswith("sha256:")
    assert skopeo(
        "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"
    ) == (f"{digest}\n")
    assert engine.docker("push", name).stdout.count("Layer already exists") == 2
    assert engine.docker("push", "-q", name).stdout == f"{name}\n"
    engine.docker("rmi", name, image)
    out = engine.docker("pull", name).stdout
    assert f"Digest: {digest}" in out
    assert f"Status: Downloaded newer image for {name}" in out
    after = inspect(engine, name)
    assert after["Id"] == before["Id"]
    assert after["RepoDigests"] == [f"{registry.address}/made@{digest}"]


def test_push_of_all_tags(engine: Engine, image: str, registry: Registry) -> None:
    for tag in ("1", "2"):
        engine.docker("tag", image, f"{registry.address}/all:{tag}")
    engine.docker("push", "--all-tags", f"{registry.address}/all")
    listed = skopeo("list-tags", "--tls-verify=false", f"docker://{registry.address}/all")
    assert sorted(json.loads(listed)["Tags"]) == ["1", "2"]


def test_push_of_what_is_not_there(engine: Engine, registry: Registry) -> None:
    failed = engine.docker("push", f"{registry.address}/nope:1", check=False)
    assert failed.returncode == 1
    assert "An image does not exist locally with the tag" in failed.stderr


def test_login_push_logout(engine: Engine, image: str, guarded: Registry) -> None:
    name = f"{guarded.address}/made:1"
    engine.docker("tag", image, name)
    failed = engine.docker("push", name, check=False)
    assert failed.returncode == 1
    assert "no basic auth credentials" in failed.stderr
    login = ("login", "-u", USER, "--password-stdin", guarded.address)
    failed = engine.docker(*login, stdin=b"wrong", check=False)
    assert failed.returncode == 1
    assert "nauthorized" in failed.stderr
    assert "Login Succeeded" in engine.docker(*login, stdin=PASSWORD.encode()).stdout
    try:
        assert engine.docker("push", name).stdout.count("Pushed") == 2
        engine.docker("rmi", name)
        assert "Downloaded newer image" in engine.docker("pull", name).stdout
    finally:
        engine.docker("logout", guarded.address)
    assert engine.docker("pull", name, check=False).returncode == 1


def test_pulled_and_pushed_elsewhere_keeps_its_digest(
    engine: Engine, dockerd: Engine, registry: Registry
) -> None:
    """dockerd pushes, the engine pulls and pushes: the same manifest at both ends."""
    layers = [rootfs.tar([rootfs.Entry(name, b"not seen before")]) for name in ("x", "y")]
    dockerd.load(rootfs.docker_archive(f"{registry.address}/from:1", layers))
    out = dockerd.docker("push", f"{registry.address}/from:1").stdout
    digest = out.rpartition("digest: ")[2].partition(" ")[0]
    dockerd.docker("rmi", f"{registry.address}/from:1")
    assert digest in engine.docker("pull", f"{registry.address}/from:1").stdout
    engine.docker("tag", f"{registry.address}/from:1", f"{registry.address}/to:1")
    out = engine.docker("push", f"{registry.address}/to:1").stdout
    assert "Mounted from from" in out
    assert f"digest: {digest}" in out
    assert digest in dockerd.docker("pull", f"{registry.address}/to:1").stdout
    for one in (engine, dockerd):
        one.docker(
            "rmi", "-f", f"{registry.address}/to:1", f"{registry.address}/from:1", check=False
        )
