"""The commands on containers' files and limits, against a real daemon."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Aiod
from tests.support.engine import Engine, eventually


@pytest.fixture
def cli(aiod: Engine) -> Iterator[Aiod]:
    command = Aiod(aiod)
    yield command
    command.remove_all()


@pytest.fixture
def box(cli: Aiod) -> str:
    """A running container with a tree of its own."""
    script = (
        "mkdir -p /d/sub; echo one >/d/one; echo two >/d/sub/two; ln -s /d/one /soft; "
        "echo made; exec sleep 1000000"
    )
    name = cli.name()
    with cli.engine.api() as api:
        api.run("sh", "-c", script, name=name)
        eventually(lambda: api.logs(name), bool)
    return name


def test_files_come_out(cli: Aiod, box: str, tmp_path: Path) -> None:
    cli.ok("cp", f"{box}:/d/one", str(tmp_path / "named"))
    assert (tmp_path / "named").read_text() == "one\n"
    cli.ok("cp", f"{box}:/d/one", str(tmp_path))
    assert (tmp_path / "one").read_text() == "one\n"
    cli.ok("cp", f"{box}:/soft", str(tmp_path))
    assert os.readlink(tmp_path / "soft") == "/d/one"
    cli.ok("cp", "-L", f"{box}:/soft", str(tmp_path / "followed"))
    assert (tmp_path / "followed").read_text() == "one\n"
    cli.ok("cp", f"{box}:/d", str(tmp_path / "new"))
    assert (tmp_path / "new" / "sub" / "two").read_text() == "two\n"
    cli.ok("cp", f"{box}:/d", str(tmp_path / "new"))
    assert (tmp_path / "new" / "d" / "one").read_text() == "one\n"
    cli.ok("cp", f"{box}:/d/.", str(tmp_path / "contents"))
    assert sorted(os.listdir(tmp_path / "contents")) == ["one", "sub"]


def test_files_go_in(cli: Aiod, box: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_text("through")
    os.link(tree / "deep" / "file", tree / "hard")
    cli.ok("cp", str(tree), f"{box}:/d")
    cli.ok("cp", str(tree), f"{box}:/renamed")
    cli.ok("cp", f"{tree}/.", f"{box}:/d/sub")
    cli.ok("cp", str(tree / "hard"), f"{box}:/d/one")
    for place in ("/d/tree/deep/file", "/renamed/hard", "/d/sub/deep/file", "/d/one"):
        assert cli.ok("exec", box, "cat", place) == "through", place
    owners = cli.ok("exec", box, "stat", "-c", "%u:%g", "/d/tree/deep/file")
    assert owners.strip() == "0:0"


def test_a_tar_on_a_pipe(cli: Aiod, box: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("piped")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    assert cli("cp", "-", f"{box}:/d", stdin=out.getvalue()).returncode == 0
    assert cli.ok("exec", box, "cat", "/d/piped") == "abc"
    assert "d/piped" in cli.ok("cp", f"{box}:/d", "-")


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("BOX:/none", "HERE/x", "Could not find the file /none in container"),
        ("BOX:/d", "HERE/file", "it is no directory"),
        ("BOX:/d/one", "HERE/none/", "no such directory"),
        ("HERE/none", "BOX:/d", "No such file"),
        ("HERE/file", "BOX:/none/", "no such directory"),
        ("HERE/file", "nobody:/d", "No such container: nobody"),
        ("HERE/file", "HERE/other", "at least one container"),
        ("BOX:/d", "BOX:/e", "between containers"),
    ],
)
def test_what_cannot_be_copied(
    cli: Aiod, box: str, tmp_path: Path, source: str, target: str, told: str
) -> None:
    (tmp_path / "file").write_text("kept")
    words = [text.replace("BOX", box).replace("HERE", str(tmp_path)) for text in (source, target)]
    done = cli("cp", *words)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "kept"


def test_what_has_changed(cli: Aiod, box: str) -> None:
    lines = cli.ok("diff", box).splitlines()
    assert "A /d/sub/two" in lines
    assert {"Path": "/d", "Kind": 1} in json.loads(cli.ok("diff", "--json", box))


def test_an_image_and_an_export(cli: Aiod, box: str, tmp_path: Path) -> None:
    image = cli.ok("commit", "-m", "why", "-c", "ENV A=b", box, "cli/committed:1").strip()
    try:
        assert cli.ok("run", "--rm", "--network", "none", "cli/committed:1", "cat", "/d/one") == (
            "one\n"
        )
        assert image.startswith("sha256:")
    finally:
        cli.ok("rmi", "cli/committed:1")
    cli.ok("export", "-o", str(tmp_path / "x.tar"), box)
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert "d/sub/two" in tar.getnames()


def test_limits_and_use(cli: Aiod, box: str) -> None:
    cli.ok("update", "-m", "64m", "--memory-swap", "64m", "--pids-limit", "77", box)
    shown = cli.ok("stats", "--no-stream", box).splitlines()
    assert shown[0].split()[:2] == ["CONTAINER", "ID"]
    assert "/ 67.1MB" in shown[1]
    found = json.loads(cli.ok("stats", "--no-stream", "--json", box))
    assert found["pids_stats"]["limit"] == 77
    assert cli("update", "-m", "1m", box).returncode == 1
    assert cli("stats", "--no-stream", "nobody").returncode == 1


def test_prune_and_usage(cli: Aiod, box: str) -> None:
    ended = cli.name()
    cli.ok("run", "--network", "none", "--name", ended, "--label", "prunable", "base", "true")
    assert cli("container", "prune").returncode == 1  # nobody to ask
    told = cli.ok("container", "prune", "-f", "--filter", "label=prunable")
    assert "Total reclaimed space: " in told
    assert ended not in cli.ok("ps", "-a")
    assert box in cli.ok("ps")
    titles, *rows = cli.ok("system", "df").splitlines()
    assert titles.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [row.split()[0] for row in rows] == ["Images", "Containers", "Local"]
