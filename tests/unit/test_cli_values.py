"""What the command line's options mean."""

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from aiod.cli import address, createoptions, values
from aiod.cli.errors import CliError
from aiod.store.models import HealthConfig, RestartSettings, Ulimit

_CONTEXT = click.Context(click.Command("x"))
_OPTION = click.Option(["--x"])


def _size(text: str | None) -> int:
    return values.size(_CONTEXT, _OPTION, text)


def _cpus(text: str | None) -> int:
    return values.cpus(_CONTEXT, _OPTION, text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 << 20),
        ("1.5G", 3 << 29),
        ("4096", 4096),
        ("10kB", 10 << 10),
        ("2 MiB", 2 << 20),
        ("-1", -1),
        (None, 0),
    ],
)
def test_sizes_are_powers_of_1024(text: str | None, size: int) -> None:
    assert _size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1x", "-5", "1..5g", "0x10", "1e3", "٣m"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="invalid size"):
        _size(text)


def test_processors_are_billionths() -> None:
    assert _cpus("1.5") == 1_500_000_000
    assert _cpus("0.000000001") == 1
    assert _cpus(None) == 0


@pytest.mark.parametrize("text", ["", "two", "-1", "nan", "inf", "0.0000000001"])
def test_processors_that_are_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="invalid number of processors"):
        _cpus(text)


def test_environment_of_files_settings_and_the_client(tmp_path: Path) -> None:
    file = tmp_path / "vars"
    file.write_text("\ufeff# comment\n\n  A=1 2 \nMINE\nABSENT\n")
    found = values.environment([file], ["B=", "MINE", "GONE"], {"MINE": "own"})
    assert found == ["A=1 2 ", "MINE=own", "B=", "MINE=own"]


def test_environment_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="invalid environment variable: '=x'"):
        values.environment([], ["=x"], {})
    with pytest.raises(click.BadParameter, match="absent: No such file"):
        values.environment([tmp_path / "absent"], [], {})
    file = tmp_path / "vars"
    file.write_text("A=1\nB C=2\n")
    with pytest.raises(click.BadParameter, match="vars:2: a variable's name holds white space"):
        values.environment([file], [], {})
    file.write_bytes(b"A=\xff\n")
    with pytest.raises(click.BadParameter, match="not valid UTF-8"):
        values.environment([file], [], {})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a:/b:ro", "/a:/b:ro"),
        ("./a:/b", "/work/a:/b"),
        (".:/b", "/work:/b"),
        ("../a:/b:ro", "/a:/b:ro"),
        ("name:/b", "name:/b"),
    ],
)
def test_binds_relative_to_where_the_client_is(given: str, sent: str) -> None:
    assert values.bind(given, Path("/work")) == sent


def test_restart_policies() -> None:
    assert values.restart_policy("always") == RestartSettings("always")
    assert values.restart_policy("on-failure:3") == RestartSettings("on-failure", 3)
    with pytest.raises(click.BadParameter, match="no number of attempts"):
        values.restart_policy("on-failure:many")


def test_health_checks() -> None:
    asked = _wanted(
        "--health-cmd", "probe it", "--health-interval", "1m30s", "--health-retries", "2"
    )
    check = HealthConfig(["CMD-SHELL", "probe it"], Interval=90 * 10**9, Retries=2)
    assert asked.body.Healthcheck == check
    assert _wanted("--no-healthcheck").body.Healthcheck == HealthConfig(["NONE"])
    assert _wanted().body.Healthcheck is msgspec.UNSET
    with pytest.raises(click.BadParameter, match="conflicts with"):
        _wanted("--no-healthcheck", "--health-cmd", "x")
    with pytest.raises(click.BadParameter, match="invalid duration"):
        _wanted("--health-timeout", "soon")


def test_ulimits_tmpfs_labels_filters() -> None:
    assert values.ulimit("nofile=10:20") == Ulimit("nofile", Hard=20, Soft=10)
    assert values.ulimit("core=-1") == Ulimit("core", Hard=-1, Soft=-1)
    assert values.tmpfs(["/run", "/t:size=1m,ro"]) == {"/run": "", "/t": "size=1m,ro"}
    assert values.labels(["a=b=c", "d"]) == {"a": "b=c", "d": ""}
    assert values.filters(["status=exited", "status=dead", "Name=x"]) == {
        "status": ["exited", "dead"],
        "name": ["x"],
    }
    for wrong in (
        lambda: values.ulimit("nofile"),
        lambda: values.labels(["=x"]),
        lambda: values.filters(["x"]),
        lambda: values.pairs(["a"], "--sysctl"),
    ):
        with pytest.raises(click.BadParameter):
            wrong()


def test_addresses() -> None:
    assert address.parse("unix:///run/x.sock").path == "/run/x.sock"
    tcp = address.parse("tcp://[::1]:2375")
    assert (tcp.host, tcp.port) == ("::1", 2375)
    for wrong in ("", "unix://x", "/run/x.sock", "tcp://host", "tcp://h:0", "ssh://h:22"):
        with pytest.raises(CliError, match="invalid engine address"):
            address.parse(wrong)


def _wanted(*arguments: str, attached: bool = True) -> createoptions.Wanted:
    """What these arguments of `run` ask for; the test has no terminal."""
    seen: list[createoptions.Wanted] = []

    @click.command(context_settings={"allow_interspersed_args": False})
    @createoptions.create_options
    def command(**options: Any) -> None:
        seen.append(createoptions.wanted(options, attached=attached))

    command.main(arguments, standalone_mode=False)
    return seen[0]


def test_nothing_named_is_a_shell_in_the_built_in_image() -> None:
    body = _wanted().body
    assert (body.Image, body.Cmd, body.OpenStdin, body.Tty) == ("base", None, True, False)
    named = _wanted("other").body
    assert (named.Image, named.OpenStdin) == ("other", False)
    detached = _wanted(attached=False).body
    assert (detached.Image, detached.OpenStdin, detached.AttachStdout) == ("base", False, False)


def test_options_become_the_body_of_a_create() -> None:
    wanted = _wanted(
        "--name", "box", "-it", "-e", "A=b", "-w", "/tmp", "-u", "1:2", "--entrypoint", "",
        "--memory", "64m", "--cpus", ".5", "--network", "none", "--read-only", "--restart",
        "on-failure:2", "-v", "/a:/b:ro", "-v", "/c", "--tmpfs", "/run", "-l", "x=y",
        "--hostname", "h", "--annotation", "n=v", "--init", "image", "sh", "-c", "--rm",
    )  # fmt: skip
    body, host = wanted.body, wanted.body.HostConfig
    assert wanted.query == {"name": "box"}
    assert (body.Image, body.Cmd, body.Entrypoint) == ("image", ["sh", "-c", "--rm"], [""])
    assert (body.Tty, body.OpenStdin, body.StdinOnce, body.AttachStdin) == (True, True, True, True)
    assert (body.Env, body.WorkingDir, body.User, body.Hostname) == (["A=b"], "/tmp", "1:2", "h")
    assert (body.Labels, body.Volumes) == ({"x": "y"}, {"/c": {}})
    assert (host.Memory, host.NanoCpus, host.NetworkMode) == (64 << 20, 500_000_000, "none")
    assert (host.Binds, host.Tmpfs, host.Init) == (["/a:/b:ro"], {"/run": ""}, True)
    assert (host.Annotations, host.StorageOpt) == ({"n": "v"}, msgspec.UNSET)
    assert (host.ReadonlyRootfs, host.AutoRemove) == (True, False)
    assert host.RestartPolicy == RestartSettings("on-failure", 2)
