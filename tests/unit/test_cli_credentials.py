"""The user's logins: docker's file and its credential helpers, read and changed."""

import base64
import json
import stat
from pathlib import Path

import pytest

from aiod.cli.credentials import DOCKER_HUB, Credentials, Login, server_of
from aiod.cli.errors import CliError
from aiod.images.registry import credentials as engine_side

HELPER = """#!/bin/sh
store="$(dirname "$0")/store"
read -r told
case $1 in
store) echo "$told" >"$store" ;;
get)
    [ -e "$store" ] || { echo credentials not found in native keychain; exit 1; }
    cat "$store" ;;
erase) rm "$store" ;;
esac
"""


def _file(directory: Path, document: object) -> Path:
    file = directory / "config.json"
    file.write_text(json.dumps(document))
    return file


def _entry(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def _told(headers: dict[str, str]) -> engine_side.Credentials:
    return engine_side.from_header(headers["X-Registry-Auth"])


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("", DOCKER_HUB),
        ("docker.io", DOCKER_HUB),
        ("https://index.docker.io/v1/", DOCKER_HUB),
        ("reg.example", "reg.example"),
        ("https://reg.example:5000/v2/", "reg.example:5000"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
    ],
)
def test_servers(text: str, server: str) -> None:
    assert server_of(text) == server


def test_login_of_the_file_is_sent(tmp_path: Path) -> None:
    _file(tmp_path, {"auths": {"https://reg.example/v1/": _entry("jo:pass:word"),
                               DOCKER_HUB: {"identitytoken": "t", **_entry("jo:")}}})  # fmt: skip
    found = Credentials(tmp_path)
    told = _told(found.registry_auth("reg.example"))
    assert (told.username, told.password) == ("jo", "pass:word")
    assert _told(found.registry_auth(DOCKER_HUB)).identity_token == "t"
    assert not _told(found.registry_auth("other.example"))


def test_without_a_file_nobody_is_logged_in(tmp_path: Path) -> None:
    found = Credentials(tmp_path / "absent")
    assert found.login("reg.example") is None
    assert not found.forget("reg.example")
    assert not (tmp_path / "absent").exists()


def test_login_is_kept_for_the_user_alone_and_the_rest_stays(tmp_path: Path) -> None:
    file = _file(tmp_path, {"detachKeys": "ctrl-x", "auths": {"a.example": _entry("a:b")}})
    Credentials(tmp_path).save(Login("reg.example", "jo", "secret"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Credentials(tmp_path).login("reg.example") == Login("reg.example", "jo", "secret")
    assert json.loads(file.read_text())["detachKeys"] == "ctrl-x"
    assert Credentials(tmp_path).forget("reg.example")
    assert json.loads(file.read_text())["auths"] == {"a.example": _entry("a:b")}
    assert list(tmp_path.iterdir()) == [file]


def test_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "config.json").symlink_to("real/other.json")
    Credentials(tmp_path).save(Login("reg.example", "jo", "secret"))
    assert (tmp_path / "config.json").is_symlink()
    assert "reg.example" in (tmp_path / "real" / "other.json").read_text()


@pytest.mark.parametrize("setting", [{"credsStore": "suite"},
                                     {"credHelpers": {"reg.example": "suite"}}])  # fmt: skip
@pytest.mark.parametrize("login", [Login("reg.example", "jo", "secret"),
                                   Login("reg.example", identity_token="t")])  # fmt: skip
def test_helper_keeps_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object], login: Login
) -> None:
    helper = tmp_path / "docker-credential-suite"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    file = _file(tmp_path, setting)
    assert Credentials(tmp_path).login("reg.example") is None
    assert Credentials(tmp_path).save(login) == helper.name
    assert "secret" not in file.read_text()
    assert Credentials(tmp_path).login("reg.example") == login
    assert Credentials(tmp_path).forget("reg.example")
    assert Credentials(tmp_path).login("reg.example") is None


def test_helper_that_is_not_there_is_named(tmp_path: Path) -> None:
    _file(tmp_path, {"credsStore": "suite-has-none"})
    with pytest.raises(CliError, match="docker-credential-suite-has-none"):
        Credentials(tmp_path).login("reg.example")


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CliError, match=r"config\.json"):
        Credentials(tmp_path)


@pytest.mark.parametrize("auths", [1, {"reg.example": 1}, {"reg.example": {}}])
def test_entry_of_another_shape_is_no_login(tmp_path: Path, auths: object) -> None:
    _file(tmp_path, {"auths": auths})
    assert Credentials(tmp_path).login("reg.example") is None


def test_broken_login_is_told_of_without_repeating_it(tmp_path: Path) -> None:
    _file(tmp_path, {"auths": {"reg.example": {"auth": "secret!"}}})
    with pytest.raises(CliError, match=r"^the login of reg\.example cannot be read"):
        Credentials(tmp_path).login("reg.example")


def test_no_representation_shows_a_password() -> None:
    assert "secret" not in repr(Login("reg.example", "jo", "secret", "secret"))
