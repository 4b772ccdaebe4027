"""Whom a container runs as: `User` in the words of an image's files, over its layers."""

import os
from pathlib import Path

import pytest

from aiod.containers.identity import Identity, resolve
from aiod.errors import InvalidParameterError

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:App:/srv/app:/bin/sh
homeless:x:7:7:::
8:x:9:9::/eight:
+::::::
odd:x:NaN:0::/:
"""
GROUP = "root:x:0:\napps:x:1001:\nvideo:x:44:other,app\nbad:x:none:app\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layer(tmp_path / "image", passwd=PASSWD, group=GROUP)


def layer(directory: Path, **files: str) -> Path:
    (directory / "etc").mkdir(parents=True)
    for name, text in files.items():
        (directory / "etc" / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", Identity(0, 0, (), "/root")),
        ("app", Identity(1000, 1001, (44,), "/srv/app")),
        ("1000", Identity(1000, 1001, (44,), "/srv/app")),
        ("app:video", Identity(1000, 44, (), "/srv/app")),
        ("app:9", Identity(1000, 9, (), "/srv/app")),
        ("5000", Identity(5000, 0, (), "/")),
        ("5000:apps", Identity(5000, 1001, (), "/")),
        ("homeless", Identity(7, 7, (), "/")),
        ("8", Identity(8, 0, (), "/")),
        ("0001000", Identity(1000, 1001, (44,), "/srv/app")),
    ],
)
def test_users_of_an_image(image: Path, user: str, identity: Identity) -> None:
    assert resolve(user, (), [image]) == identity


def test_further_groups(image: Path) -> None:
    assert resolve("app", ("root", "44", "123"), [image]).groups == (44, 0, 123)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("+", "unable to find user +: no matching entries in passwd file"),
        ("odd", "unable to find user odd: no matching entries in passwd file"),
        ("-1", "uids and gids must be in range 0-2147483647"),
        ("1:-1", "uids and gids must be in range 0-2147483647"),
        ("\u0661", "unable to find user \u0661: no matching entries in passwd file"),
        ("app:nobodies", "unable to find group nobodies: no matching entries in group file"),
        ("4294967295", "uids and gids must be in range 0-2147483647"),
        ("0:4294967295", "uids and gids must be in range 0-2147483647"),
        ("9" * 30, "unable to find user"),
    ],
)
def test_unknown_and_impossible_users(image: Path, user: str, message: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        resolve(user, (), [image])
    assert str(caught.value).startswith(message)


def test_upper_layers_hide_lower_ones(tmp_path: Path, image: Path) -> None:
    upper = layer(tmp_path / "upper", passwd="app:x:5:5::/up:\n")
    assert resolve("app", (), [upper, image]).uid == 5
    assert resolve("app", (), [upper, image]).groups == (44,)


def test_without_files_numbers_remain(tmp_path: Path) -> None:
    assert resolve("12:13", (), [layer(tmp_path / "x")]) == Identity(12, 13, (), "/")


def test_links_do_not_lead_out_of_the_image(tmp_path: Path) -> None:
    directory = layer(tmp_path / "trap")
    (directory / "etc/passwd").symlink_to("/etc/passwd")
    assert resolve("0", (), [directory]).home == "/"
    (tmp_path / "second").mkdir()
    (tmp_path / "second/etc").symlink_to("/etc")
    assert resolve("0", (), [tmp_path / "second"]).home == "/"


@pytest.mark.parametrize(
    "links",
    [
        {"etc/passwd": "/store/users"},
        {"etc/passwd": "../store/users"},
        {"etc/passwd": "../../../../proc/../store/./users"},
        {"etc/passwd": "/two", "two": "three", "three": "store/users"},
        {"etc": "/conf", "conf/passwd": "/store/users"},
    ],
)
def test_links_are_followed_inside_the_image(tmp_path: Path, links: dict[str, str]) -> None:
    """Also into a layer further down, as the images of some distributions have it."""
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    upper.mkdir()
    (upper / "proc").mkdir()
    for path, target in links.items():
        (upper / path).parent.mkdir(exist_ok=True)
        (upper / path).symlink_to(target)
    (lower / "store").mkdir(parents=True)
    (lower / "store/users").write_text(PASSWD)
    assert resolve("app", (), [upper, lower]).uid == 1000


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    directory = layer(tmp_path / "circle")
    (directory / "etc/passwd").symlink_to("group")
    (directory / "etc/group").symlink_to("passwd")
    assert resolve("0", (), [directory]).home == "/"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: whiteouts are device nodes")
@pytest.mark.parametrize("what", ["file", "directory", "opaque"])
def test_what_a_layer_took_away_is_gone(tmp_path: Path, image: Path, what: str) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    if what == "directory":
        os.mknod(upper / "etc", 0o020000, 0)
    else:
        (upper / "etc").mkdir()
    if what == "file":
        os.mknod(upper / "etc/passwd", 0o020000, 0)
    if what == "opaque":
        os.setxattr(upper / "etc", "trusted.overlay.opaque", b"y")
    with pytest.raises(InvalidParameterError):
        resolve("app", (), [upper, image])
