"""Images by the command line: named, looked at, saved, pruned."""

import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rootfs
from tests.support.command import AIOD, Aiod
from tests.support.engine import Engine

NAME = "cli/kept:1"


@pytest.fixture
def cli(aiod: Engine) -> Iterator[Aiod]:
    command = Aiod(aiod)
    command.ok("load", stdin=rootfs.docker_archive(NAME, [rootfs.busybox_tar()]))
    yield command
    command.remove_all()
    for name in command.ok("images", "-q", "-f", "reference=cli/*").split():
        command.ok("rmi", "-f", name)


def _tags(cli: Aiod) -> set[str]:
    rows = json.loads(cli.ok("images", "--json", "-f", "reference=cli/*"))
    return {tag for row in rows for tag in row["RepoTags"]}


def test_tag(cli: Aiod) -> None:
    assert cli.ok("tag", NAME, "cli/other") == ""
    assert _tags(cli) == {NAME, "cli/other:latest"}
    assert "no such image" in cli.fails("tag", "cli/absent", "cli/x").lower()
    assert "must be lowercase" in cli.fails("tag", NAME, "cli/X")
    assert "digest" in cli.fails("tag", NAME, f"cli/x@sha256:{'0' * 64}", status=125)


def test_history(cli: Aiod) -> None:
    title, row = cli.ok("history", NAME).splitlines()
    assert title.split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    (found,) = json.loads(cli.ok("history", "--json", NAME))
    assert row.split()[0] == found["Id"][7:19]
    assert cli.ok("history", "-q", "--no-trunc", NAME) == found["Id"] + "\n"
    plain = cli.ok("history", "--human=false", NAME).splitlines()[1]
    assert f" {found['Size']}" in plain
    assert "T" in plain.split()[1]
    assert "no such image" in cli.fails("history", "cli/absent").lower()


def test_save_and_load_again(cli: Aiod, tmp_path: Path) -> None:
    cli.ok("tag", NAME, "cli/other:2")
    file = tmp_path / "saved.tar"
    assert cli.ok("save", "-o", str(file), NAME, "cli/other:2") == ""
    assert list(tmp_path.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) & 0o400
    cli.ok("rmi", NAME, "cli/other:2")
    loaded = cli.ok("load", "-i", str(file)).splitlines()
    assert sorted(loaded) == ["Loaded image: cli/kept:1", "Loaded image: cli/other:2"]


def test_save_to_a_pipe(cli: Aiod) -> None:
    with (
        cli.spawned("save", NAME) as child,
        tarfile.open(fileobj=child.stdout, mode="r|") as tar,
    ):
        assert "manifest.json" in tar.getnames()
    with cli.terminal("save", NAME) as terminal:
        terminal.expect(b"aiod: save: the archive goes to a file (-o) or a pipe")
        assert terminal.finish() == 1


def test_save_shows_a_bar_on_a_terminal_only(cli: Aiod, tmp_path: Path) -> None:
    with cli.terminal("save", "-o", str(tmp_path / "a"), NAME) as terminal:
        terminal.expect(b"save")
        assert terminal.finish() == 0
    with cli.terminal("save", "-q", "-o", str(tmp_path / "b"), NAME) as terminal:
        assert terminal.finish() == 0
        assert terminal.output == b""


def test_save_that_fails_leaves_what_was_there(cli: Aiod, tmp_path: Path) -> None:
    file = tmp_path / "saved.tar"
    file.write_text("before")
    assert "no such image" in cli.fails("save", "-o", str(file), "cli/absent").lower()
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
    assert "No such file" in cli.fails("save", "-o", str(tmp_path / "no" / "x"), NAME)


def test_save_into_a_fifo(cli: Aiod, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with cli.spawned("save", "-o", str(fifo), NAME) as child:
        with fifo.open("rb") as reader, tarfile.open(fileobj=reader, mode="r|") as tar:
            assert "manifest.json" in tar.getnames()
            assert reader.read().strip(b"\0") == b""
        assert child.wait(30) == 0
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("words", [("image", "prune"), ("images", "prune")])
def test_prune_takes_what_has_no_name(cli: Aiod, words: tuple[str, str]) -> None:
    archive = rootfs.docker_archive(NAME, [rootfs.busybox_tar()], ["another"])
    (before,) = cli.ok("images", "-q", "--no-trunc", NAME).split()
    cli.ok("load", stdin=archive)
    told = cli.ok(*words, "-f")
    assert f"Deleted: {before}\n" in told
    assert told.splitlines()[-1].startswith("Total reclaimed space: ")
    assert NAME in _tags(cli)
    assert json.loads(cli.ok(*words, "-f", "--json"))["SpaceReclaimed"] == 0


def test_prune_of_all_asks_first(cli: Aiod) -> None:
    assert "use --force" in cli.fails("image", "prune", "-a")
    for answer, left in ((b"n\n", {NAME}), (b"y\n", set())):
        label = ("--filter", "label!=kept")
        with cli.terminal("image", "prune", "-a", *label) as terminal:
            terminal.expect(b"Go on?")
            terminal.write(answer)
            assert terminal.finish() == 0
        assert _tags(cli) == left
    assert "colour" in cli.fails("image", "prune", "-f", "--filter", "colour=red")


def test_image_has_dockers_names_too(cli: Aiod) -> None:
    assert NAME.partition(":")[0] in cli.ok("image", "ls")
    cli.ok("image", "tag", NAME, "cli/other:3")
    assert "Untagged: cli/other:3" in cli.ok("image", "rm", "cli/other:3")
    assert "No such command" in cli.fails("image", "nonsense", status=125)


def test_word_after_images_is_a_name(cli: Aiod) -> None:
    assert cli.ok("images", "-q", "nonsense") == ""


def test_search_says_what_is_missing(cli: Aiod) -> None:
    assert "search" in cli.fails("search", "busybox")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(cli: Aiod, shell: str) -> None:
    assert "_AIOD_COMPLETE" in cli.ok("completion", shell)
    words = {"COMP_WORDS": "aiod image pru", "COMP_CWORD": "pru" if shell == "fish" else "2"}
    done = subprocess.run([AIOD], env={**cli.environment, "_AIOD_COMPLETE": f"{shell}_complete",
                                       **words}, capture_output=True, check=False)  # fmt: skip
    assert b"prune" in done.stdout
