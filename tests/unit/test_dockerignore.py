"""Which files of a context `.dockerignore` leaves out."""

import pytest

from aiod.errors import InvalidParameterError
from aiod.wire import dockerignore


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", "a"),
        ("a", "a/b/c"),
        ("/a", "a"),
        ("./a/", "a"),
        ("a/../b", "b"),
        ("  a  ", "a"),
        ("\ufeffa", "a"),
        ("*", "anything"),
        ("*.o", "x.o"),
        ("*/x", "a/x"),
        ("*/*/x", "a/b/x/deep"),
        ("**/x", "x"),
        ("**/x", "a/b/x"),
        ("a/**", "a/b"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("**", "a/b"),
        ("?.txt", "a.txt"),
        ("[a-c].txt", "b.txt"),
        ("[^a-c].txt", "d.txt"),
        (r"\*", "*"),
        ("[]]", "]"),
        ("[a\\-c]", "-"),
        ("a+b", "a+b"),
        ("# a comment\n\na", "a"),
        ("*\n!keep\nkeep/not", "keep/not"),
        ("!a\na", "a"),
    ],
)
def test_left_out(text: str, path: str) -> None:
    assert dockerignore.parse(text).excludes(path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "a"),
        ("# a", "a"),
        ("a", "ab"),
        ("a", "b/a"),
        ("*.o", "a/x.o"),
        ("*/x", "x"),
        ("a/**", "a"),
        ("a.b", "axb"),
        ("?", "/"),
        ("[a-c].txt", "d.txt"),
        ("a[^b]c", "a/c"),
        (r"\*", "x"),
        ("*\n!keep", "keep"),
        ("*\n!keep", "keep/below"),
        ("*\n!a/b", "a/b"),
        ("**/*.md\n!**/README.md", "docs/README.md"),
    ],
)
def test_kept(text: str, path: str) -> None:
    assert not dockerignore.parse(text).excludes(path)


def test_what_the_build_needs_stays() -> None:
    found = dockerignore.parse("*", kept=("Docker[file]", dockerignore.FILE))
    assert not found.excludes("Docker[file]")
    assert not found.excludes(".dockerignore")
    assert found.excludes("Dockerf")


@pytest.mark.parametrize("text", ["!", "a\n! ", "[a", "a\\", "[z-a]"])
def test_no_pattern(text: str) -> None:
    with pytest.raises(InvalidParameterError):
        dockerignore.parse(text)
