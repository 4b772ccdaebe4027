"""The comparison of images by which builds are judged: it sees each kind of difference."""

from typing import Any

import pytest

from tests.support.imagetrees import read_image
from tests.support.layertars import Member, directory, docker_archive, layer, link, member, soft

FILES = {
    "file": member("a/file", b"text", uid=1, gid=2),
    "directory": directory("a"),
    "soft": soft("soft", "a/file"),
    "hard": link("hard", "a/file"),
}
CONFIG = {"config": {"Cmd": ["sh"]}, "history": [{"created_by": "x"}]}


def image(config: Any = CONFIG, above: list[Member] | None = None, **changed: Member) -> bytes:
    members = {**FILES, **changed}
    ordered = [members["directory"], *(m for name, m in members.items() if name != "directory")]
    layers = [layer(ordered)] + ([layer(above)] if above is not None else [])
    return docker_archive(layers, config=config)


DIFFERENT: dict[str, tuple[bytes, str]] = {
    "content": (image(file=member("a/file", b"TEXT", uid=1, gid=2)), "file a/file:"),
    "mode": (image(directory=directory("a", 0o750)), "file a:"),
    "owner": (image(file=member("a/file", b"text", uid=1, gid=3)), "file a/file:"),
    "time": (image(file=member("a/file", b"text", uid=1, gid=2, mtime=1_600_000_001)), "file a/"),
    "target": (image(soft=soft("soft", "b/file")), "file soft:"),
    "kind": (image(soft=member("soft", b"a/file")), "file soft:"),
    "a copy for a link": (image(hard=member("hard", b"text", uid=1, gid=2)), "file a/file:"),
    "attribute": (
        image(directory=directory("a", pax_headers={"SCHILY.xattr.user.x": "1"})),
        "file a:",
    ),
    "one more": (image(more=member("more")), "file more:"),
    "one less": (image(above=[member(".wh.soft")], config=CONFIG), "file soft:"),
    "config": (image({**CONFIG, "config": {"Cmd": ["ash"]}}), "config Cmd:"),
    "history": (image({**CONFIG, "history": [{"created_by": "y"}]}), "history 0:"),
    "author": (image({**CONFIG, "author": "somebody"}), "image author:"),
}


@pytest.mark.parametrize(("other", "words"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_difference_is_found(other: bytes, words: str) -> None:
    found = read_image(image()).differences(read_image(other))
    assert [line for line in found if line.startswith(words)], found


def test_an_image_equals_itself_however_it_came_to_be() -> None:
    plain = read_image(image(above=[member("new", mtime=1_900_000_000)]))
    again = [directory("a"), member("a/.wh..wh..opq"), FILES["file"], link("hard", "a/file")]
    made = read_image(image(above=[*again, member("new", mtime=1_950_000_000)]))
    assert plain.differences(made) == []


def test_layers_are_merged_as_they_are_applied() -> None:
    above = [
        member("a/.wh.file"), directory("soft"), member("soft/below"), member("hard", b"split"),
    ]  # fmt: skip
    files = read_image(image(above=above)).files
    assert sorted(files) == ["a", "hard", "soft", "soft/below"]
    assert files["hard"].content == "split"
    assert files["hard"].links == ()
