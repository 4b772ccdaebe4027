"""Rules about images that need no files: names, removal, filters, times, platforms, `base`."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from aiod.errors import ConflictError, InvalidParameterError, NotFoundError
from aiod.images import base
from aiod.images.catalogue import Catalogue
from aiod.images.config import ImageConfig, Platform, RunConfig
from aiod.images.dockerfile.durations import nanoseconds
from aiod.images.model import ContainerUse, ImageRecord
from aiod.images.platform import MACHINE, import_platform
from aiod.images.removal import decide
from aiod.images.selection import select
from aiod.images.times import format_time, parse_time

LIBRARY = "docker.io/library/"
DIGEST = f"sha256:{'d' * 64}"
RUNNING, STOPPED = ContainerUse("r" * 64, running=True), ContainerUse("s" * 64, running=False)


def image(start: str, *references: str, created_ns: int = 0) -> ImageRecord:
    names = tuple(LIBRARY + reference for reference in references)
    return ImageRecord(f"sha256:{start:0<64}", None, 1, 1, (), names, created_ns, created_ns)


@pytest.mark.parametrize(
    ("name", "uses", "force", "untagged", "deleted"),
    [
        ("a:1", [], False, ["a:1"], True),
        ("a:1", [STOPPED], True, ["a:1"], True),
        ("a:1", [RUNNING], True, ["a:1"], False),
        ("abc", [], False, ["a:1"], True),
        ("sha256:abc", [STOPPED], True, ["a:1"], True),
    ],
)
def test_removal_of_an_image_with_one_name(
    name: str, uses: list[ContainerUse], force: bool, untagged: list[str], deleted: bool
) -> None:
    decided = decide(image("abc", "a:1"), name, uses, force, children=False)
    assert decided.untagged == tuple(LIBRARY + one for one in untagged)
    assert (decided.kept, decided.deleted) == ((), deleted)


@pytest.mark.parametrize(
    ("references", "name", "uses", "force", "reason"),
    [
        (["a:1"], "a:1", [STOPPED], False, r"unable to remove .* \(must force\)"),
        (["a:1"], "abc", [STOPPED], False, r"\(must be forced\) .* stopped container s{12}"),
        (["a:1"], "abc", [RUNNING], True, r"\(cannot be forced\) .* running container r{12}"),
        (["a:1", "b:1"], "abc", [], False, "referenced in multiple repositories"),
        ([], "abc", [STOPPED], False, "stopped container"),
    ],
)
def test_removal_that_conflicts(
    references: Sequence[str], name: str, uses: list[ContainerUse], force: bool, reason: str
) -> None:
    with pytest.raises(ConflictError, match=reason):
        decide(image("abc", *references), name, uses, force, children=False)


def test_the_last_tag_takes_digests_of_its_repository_along() -> None:
    one = image("abc", "a:1", f"a@{DIGEST}", f"b@{DIGEST}")
    decided = decide(one, "a:1", [], force=False, children=False)
    assert decided.untagged == (f"{LIBRARY}a:1", f"{LIBRARY}a@{DIGEST}")
    assert decided.announced == (f"{LIBRARY}a:1",)
    assert (decided.kept, decided.deleted) == ((f"{LIBRARY}b@{DIGEST}",), False)


def test_names_mean_references_before_beginnings_of_ids() -> None:
    catalogue = Catalogue([image("abc"), image("abd", "abc:latest")])
    assert catalogue.find("abc").id.startswith("sha256:abd")
    assert catalogue.find("sha256:abc").id.startswith("sha256:abc")
    with pytest.raises(NotFoundError, match="No such image: ab:latest"):
        catalogue.find("ab")
    with pytest.raises(InvalidParameterError, match="must be lowercase"):
        catalogue.find("ABC")


OLD, NEW = image("1", "old:1", created_ns=10**18), image("2", created_ns=2 * 10**18)
CONFIGS = {
    OLD.id: ImageConfig(config=RunConfig(labels={"a": "b"}), created="2020-01-01T00:00:00Z"),
    NEW.id: ImageConfig(),
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [NEW, OLD]),
        ({"dangling": ["true"]}, [NEW]),
        ({"label": ["a"]}, [OLD]),
        ({"label": ["a=c"]}, []),
        ({"since": ["old:1"]}, [NEW]),
        ({"before": ["2"]}, [OLD]),
        ({"until": ["2021-01-01"]}, [OLD]),
        ({"until": ["10m"]}, [OLD]),
        ({"until": ["1577836800"]}, []),
        ({"reference": ["o*:1"]}, [OLD]),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: list[ImageRecord]) -> None:
    find = Catalogue([OLD, NEW]).find
    shown = select([OLD, NEW], CONFIGS, filters, find, NEW.created_ns + 60 * 10**9)
    assert [one.image for one in shown] == expected


@pytest.mark.parametrize("filters", [{"dangling": ["x"]}, {"until": ["soon"]}])
def test_bad_filters(filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidParameterError, match=r"invalid filter|failed to parse"):
        select([OLD], CONFIGS, filters, Catalogue([OLD]).find, 0)


def test_times_keep_nanoseconds() -> None:
    for text in ("2024-02-29T23:59:59.123456789Z", "0001-01-01T00:00:00Z"):
        moment = parse_time(text)
        assert moment is not None
        assert format_time(moment) == text
    assert parse_time("2024-01-01T02:00:00+02:00") == parse_time("2024-01-01")
    assert [parse_time(text) for text in ("", "x", "2024-13-01", "2024-01-01T99:00:00Z")] == [
        None
    ] * 4


def test_durations() -> None:
    assert nanoseconds("1h2m3.5s") == 3723_500_000_000
    assert [nanoseconds(text) for text in ("0", "-1ms", ".5us")] == [0, -(10**6), 500]
    for text in ("", "1", "x", "1s2", "--1s"):
        with pytest.raises(InvalidParameterError, match="time: "):
            nanoseconds(text)


def test_platforms() -> None:
    assert import_platform("") == import_platform("linux") == MACHINE
    assert import_platform("linux/arm64/v8") == Platform("arm64", "linux", "v8")
    assert import_platform("aarch64") == Platform("arm64", "linux")
    for text in ("windows", "linux//", "a/b/c/d", "windows/amd64"):
        with pytest.raises(InvalidParameterError):
            import_platform(text)


def test_base_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(base, "_PLACES", (str(tmp_path / "busybox"),))
    with pytest.raises(NotFoundError, match="this machine has none: install busybox-static"):
        base.find_busybox()
    (tmp_path / "busybox").write_bytes(Path("/bin/ls").read_bytes())
    with pytest.raises(NotFoundError, match="busybox is not statically linked: install"):
        base.find_busybox()
