"""Volumes by the command line: made, used in every way, and removed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Aiod
from tests.support.engine import Engine

RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def cli(aiod: Engine) -> Iterator[Aiod]:
    command = Aiod(aiod)
    yield command
    command.remove_all()
    for name in command.ok("volume", "ls", "-q").split():
        command.ok("volume", "rm", name)


def test_a_volumes_life(cli: Aiod) -> None:
    assert cli.ok("volume", "create", "--label", "a=b", "data") == "data\n"
    (shown,) = json.loads(cli.ok("volume", "inspect", "data"))
    assert (shown["Labels"], shown["Driver"]) == ({"a": "b"}, "local")
    cli.ok(*RUN, "-v", "data:/v", "base", "sh", "-c", "echo kept > /v/file")
    assert cli.ok(*RUN, "-v", "data:/v:ro", "base", "cat", "/v/file") == "kept\n"
    assert cli.ok("volume", "ls", "-q", "-f", "label=a=b") == "data\n"
    assert cli.ok("volume", "rm", "data") == "data\n"
    assert "no such volume" in cli.fails("volume", "inspect", "data").lower()


def test_mounts_of_every_kind(cli: Aiod, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host's\n")
    script = "cat /b/file; grep -c ' /t .*size=1024k' /proc/mounts; grep -c ' /m ' /proc/mounts"
    options = (
        *("-v", f"{tmp_path}:/b:ro"),
        *("--mount", "type=volume,source=long,target=/m"),
        *("--tmpfs", "/t:size=1m"),
    )
    assert cli.ok(*RUN, *options, "base", "sh", "-c", script) == "host's\n1\n1\n"
    assert cli.ok("volume", "ls", "-q") == "long\n"


def test_the_volumes_of_another_container(cli: Aiod) -> None:
    cli.ok("create", "--network", "none", "--name", "giver", "-v", "/own", "base", "true")
    script = "touch /own/x 2>/dev/null || echo fixed"
    assert cli.ok(*RUN, "--volumes-from", "giver:ro", "base", "sh", "-c", script) == "fixed\n"
    (unnamed,) = cli.ok("volume", "ls", "-q").split()
    assert "volume is in use" in cli.fails("volume", "rm", unnamed)
    cli.ok("rm", "-v", "giver")
    assert cli.ok("volume", "ls", "-q") == ""


def test_a_prune_spares_names_unless_it_is_told_not_to(cli: Aiod) -> None:
    cli.ok("volume", "create", "named")
    unnamed = cli.ok("volume", "create").strip()
    assert unnamed in cli.ok("volume", "prune", "-f")
    assert cli.ok("volume", "ls", "-q") == "named\n"
    assert "named" in cli.ok("volume", "prune", "-f", "--all")
    assert cli.ok("volume", "ls", "-q") == ""


def test_what_cannot_be(cli: Aiod) -> None:
    assert "volume name is too short" in cli.fails("volume", "create", "x")
    assert 'plugin "no" not found' in cli.fails("volume", "create", "-d", "no", "name")
    assert "no such volume" in cli.fails("volume", "rm", "absent")
    bind = "type=bind,source=/no/such,target=/x"
    told = cli.fails(*RUN, "--mount", bind, "base", "true", status=125)
    assert "bind source path does not exist: /no/such" in told
