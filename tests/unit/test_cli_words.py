"""How the command line words times, sizes and events, and reads times."""

import click
import pytest

from aiod.cli import events, moments, output, views
from aiod.cli.run import start_status

_NOW = 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second ago"),
        (1, "1 second ago"),
        (3, "3 seconds ago"),
        (60, "About a minute ago"),
        (150, "2 minutes ago"),
        (3600, "About an hour ago"),
        (3 * 86400, "3 days ago"),
        (-5, "Less than a second ago"),
    ],
)
def test_ages(seconds: int, words: str) -> None:
    assert moments.ago(_NOW // 10**9 - seconds, _NOW) == words


def test_no_time_has_no_age() -> None:
    assert moments.ago(0, _NOW) == "N/A"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1_230_000, "1.23MB"),
        (999_900, "1MB"),
        (77_800_000, "77.8MB"),
        (5 * 10**18, "5000PB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert output.size(count) == words


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("1700000000", "1700000000"),
        ("1700000000.25", "1700000000.25"),
        ("10m", "1699999400.000000000"),
        ("1h30m", "1699994600.000000000"),
        ("500ms", "1699999999.500000000"),
        ("2023-11-14T22:13:20Z", "1700000000.000000000"),
        ("2023-11-14T22:13:20.123456789Z", "1700000000.123456789"),
        ("2023-11-14T23:13:20+01:00", "1700000000.000000000"),
    ],
)
def test_times_given(text: str, sent: str) -> None:
    assert moments.when(text, _NOW) == sent


def test_times_without_a_zone_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert moments.when("2023-11-15T00:13:20", _NOW) == "1700000000.000000000"
        assert moments.when("2023-11-15", _NOW) == "1699999200.000000000"
        assert moments.local(_NOW + 5) == "2023-11-15T00:13:20.000000005+02:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "soon", "10x", "2023-13-01", "-5m", "m"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        moments.when(text, _NOW)


def test_tables_align_and_disarm_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("A", "LONG"), [("\x1b[31mred", ""), ("b", "c")])
    assert capsys.readouterr().out == "A             LONG\n\\x1b[31mred\nb             c\n"


def test_event_on_one_line() -> None:
    actor = views.Actor("abc", {"name": "box", "image": "base"})
    told = events.told(views.Event("container", "die", actor, _NOW))
    assert told.endswith(" container die abc (image=base, name=box)")


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("stat /x: no such file or directory", 127),
        ('exec: "/etc": permission denied', 126),
        ("exec format error", 126),
        ("mount: invalid argument", 125),
    ],
)
def test_status_of_a_start_that_failed(message: str, status: int) -> None:
    assert start_status(message) == status
