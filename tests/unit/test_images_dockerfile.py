"""The Dockerfile language as `import --change` uses it; the words were compared with dockerd's."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiod.errors import InvalidParameterError
from aiod.images.config import RunConfig
from aiod.images.dockerfile.lines import logical_lines
from aiod.images.dockerfile.runconfig import changed
from aiod.images.dockerfile.words import expand, expand_words, split_words

CHANGES: list[tuple[list[str], dict[str, Any]]] = [
    (['CMD ["echo","hi"]'], {"Cmd": ["echo", "hi"]}),
    (["CMD echo 'a  b'   c"], {"Cmd": ["/bin/sh", "-c", "echo 'a  b'   c"]}),
    (['CMD ["a",]'], {"Cmd": ["/bin/sh", "-c", '["a",]']}),
    (["CMD []"], {"Cmd": []}),
    (['CMD ["a"]', 'ENTRYPOINT ["b"]'], {"Cmd": ["a"], "Entrypoint": ["b"]}),
    (["ENTRYPOINT []"], {}),
    (['ENV a=b c="d e" f=g\\ h'], {"Env": ["a=b", "c=d e", "f=g h"]}),
    (["ENV a b c  d"], {"Env": ["a=b c  d"]}),
    (["ENV A=1", "ENV B=$A C=${A}x D=${Z:-def} E='$A' F=\"$A \\$A\""],
     {"Env": ["A=1", "B=1", "C=1x", "D=def", "E=$A", "F=1 $A"]}),
    (["ENV a=b \\", "c=d"], {"Env": ["a=b", "c=d"]}),
    (["EXPOSE 80 53/udp 8000-8002"],
     {"ExposedPorts": {p: {} for p in ("80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp")}}),
    (['ENV P="1 2"', "EXPOSE $P"],
     {"Env": ["P=1 2"], "ExposedPorts": {"1/tcp": {}, "2/tcp": {}}}),
    (['LABEL a=b "c d"="e f"'], {"Labels": {"a": "b", "c d": "e f"}}),
    (["ONBUILD RUN echo hi"], {"OnBuild": ["RUN echo hi"]}),
    (["USER me"], {"User": "me"}),
    (['VOLUME ["/a","/b c"]'], {"Volumes": {"/a": {}, "/b c": {}}}),
    (["WORKDIR a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
    (["STOPSIGNAL SIGQUIT"], {"StopSignal": "SIGQUIT"}),
    (["HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD curl x"],
     {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 5 * 10**9,
                      "Timeout": 90 * 10**9, "Retries": 3}}),
    (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
]  # fmt: skip

REFUSED = {
    "RUN x": "run is not a valid change command",
    "foo bar": "foo is not a valid change command",
    "": "file with no instructions",
    "ENV a": "ENV must have two arguments",
    "ENV a=b c": 'Syntax error - can\'t find = in "c". Must be of the form: name=value',
    "ENV =b": "ENV names can not be blank",
    "EXPOSE abc": "Invalid containerPort: abc",
    "EXPOSE 80/foo": "Invalid proto: foo",
    "EXPOSE": "EXPOSE requires at least one argument",
    "ONBUILD FROM x": "FROM isn't allowed as an ONBUILD trigger",
    "USER": "USER requires exactly one argument",
    'VOLUME [""]': "VOLUME specified can not be an empty string",
    "VOLUME []": "VOLUME requires at least one argument",
    "CMD [1]": "when using JSON array syntax, arrays must be comprised of strings only",
    "STOPSIGNAL FOO": "Invalid signal: FOO",
    "HEALTHCHECK --foo=5 CMD x": "Unknown flag: foo",
    "HEALTHCHECK --interval=5 CMD x": 'time: missing unit in duration "5"',
    "HEALTHCHECK --interval=1us CMD x": 'Interval "interval" cannot be less than 1ms',
    "HEALTHCHECK FOO x": 'Unknown type "FOO" in HEALTHCHECK (try CMD)',
    'ENV a="b': 'failed to process "\\"b": unexpected end of statement while looking for '
    "matching double-quote",
}


@pytest.mark.parametrize(("changes", "expected"), CHANGES)
def test_changes_apply(changes: list[str], expected: dict[str, Any]) -> None:
    assert msgspec.to_builtins(changed(RunConfig(), changes)) == expected


@pytest.mark.parametrize("change", REFUSED)
def test_bad_changes_are_refused_in_dockers_words(change: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        changed(RunConfig(), [change])
    assert refused.value.message == REFUSED[change]


def test_no_changes_change_nothing() -> None:
    assert changed(RunConfig(user="x"), []) == RunConfig(user="x")


def test_entrypoint_drops_an_inherited_command_only() -> None:
    inherited = RunConfig(cmd=["old"])
    assert changed(inherited, ["ENTRYPOINT /x"]).cmd is None
    assert changed(inherited, ["CMD new", 'ENTRYPOINT ["/x"]']).cmd == ["/bin/sh", "-c", "new"]


def test_lines_join_and_comments_go() -> None:
    text = "# top\nENV a=1 \\\n  # between\n\n  b=2\r\nUSER x # kept"
    assert [(line.number, line.text) for line in logical_lines(text)] == [
        (2, "ENV a=1   b=2"),
        (6, "USER x # kept"),
    ]


def test_escape_directive() -> None:
    (line,) = logical_lines("# escape=`\nENV a=c:\\x `\n b=2")
    assert (line.escape, line.text) == ("`", "ENV a=c:\\x  b=2")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("$A-${B:+set}", "1-"), ("${A:+set}", "set"), ("${N:-${A}x}", "1x"), ("\\$A", "$A"),
     ("a'$A'\"$A\"", "a$A1"), ("$", "$"), ("${E-unset}", ""), ("${E:-empty}", "empty")],
)  # fmt: skip
def test_expansion(word: str, expected: str) -> None:
    assert expand(word, {"A": "1", "E": ""}, "\\") == expected


def test_words_split_outside_quotes() -> None:
    assert split_words("a\\ b 'c d'  e", "\\") == ["a\\ b", "'c d'", "e"]
    assert expand_words("$L '$L'", {"L": "x  y"}, "\\") == ["x", "y", "$L"]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for change in (text, f"ENV {text}", f"HEALTHCHECK {text}", f"EXPOSE {text}"):
        try:
            changed(RunConfig(), [change])
        except InvalidParameterError:
            continue
