"""Dockerfiles as programs: stages, here-documents, arguments, and dockerd's words for errors."""

import pytest

from aiod.build.arguments import BuildArguments
from aiod.build.comments import quoted
from aiod.build.program import Program, find_stage, parse_dockerfile
from aiod.errors import InvalidParameterError
from aiod.wire.times import duration

EVERYTHING = r"""
# syntax=docker/dockerfile:1
# escape=\

ARG V=1
FROM --platform=linux/amd64 base:$V AS Build
RUN <<EOF
echo hi
# no comment
FROM nothing
EOF
COPY --chown=1:2 <<-"A" <<B /x/
	inside
	A
$y
B
RUN a && \
# a comment in between

   b
FROM build
ENTRYPOINT ["x"]
""".lstrip()

REFUSED = {
    "FOO x": "dockerfile parse error line 1: unknown instruction: FOO",
    "\n# c\nFROM a\nBAR": "dockerfile parse error line 4: unknown instruction: BAR",
    "FROM a\nCOPY x": "dockerfile parse error line 2: COPY requires at least two arguments, "
    "but only one was provided. Destination could not be determined",
    "FROM a\nRUN <<E\nx": "dockerfile parse error line 2: unterminated heredoc",
    "FROM a as 1": 'dockerfile parse error line 1: invalid name for build stage: "1", '
    "name can't start with a number or contain symbols",
    "FROM a b": "dockerfile parse error line 1: FROM requires either one or three arguments",
    "RUN x": "no build stage in current context",
    "ARG x": "no build stage in current context",
    "# nothing": "failed to parse Dockerfile: file with no instructions",
    "FROM a\nSHELL sh -c": "dockerfile parse error line 2: SHELL requires the arguments to be "
    "in JSON form",
    "FROM a\nRUN --mount=type=cache x": "dockerfile parse error line 2: the --mount option "
    "requires BuildKit, which aiod does not have",
    "FROM a\nCOPY --wild a b": "dockerfile parse error line 2: Unknown flag: wild",
}


def program(text: str = EVERYTHING) -> Program:
    return parse_dockerfile(text)


def test_stages_know_their_base_name_and_platform() -> None:
    first, second = program().stages
    assert (first.base, first.name, first.platform) == ("base:$V", "build", "linux/amd64")
    assert (second.base, second.name, second.platform) == ("build", "", "")
    assert [i.keyword for i in first.instructions] == ["run", "copy", "run"]


def test_a_step_is_counted_for_each_instruction_and_each_from() -> None:
    assert program().steps == 1 + 4 + 2


def test_here_documents_keep_what_looks_like_comments_and_instructions() -> None:
    (document,) = program().stages[0].instructions[0].line.heredocs
    assert document.text == "echo hi\n# no comment\nFROM nothing\n"


def test_here_documents_by_their_names() -> None:
    quoted_one, plain = program().stages[0].instructions[1].line.heredocs
    assert (quoted_one.text, quoted_one.expand, quoted_one.chomp) == ("inside\n", False, True)
    assert (plain.text, plain.expand, plain.chomp) == ("$y\n", True, False)


def test_continued_lines_join_over_comments_and_empty_lines() -> None:
    assert program().stages[0].instructions[2].arguments == ("a &&    b",)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_dockerfile(text: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        program(text)
    assert caught.value.message == REFUSED[text]


def test_a_target_ends_the_program() -> None:
    text = "FROM a AS one\nFROM b AS two\nFROM c"
    assert len(program(text).until("TWO").stages) == 2
    assert len(program(text).until("0").stages) == 1
    assert len(program(text).until("").stages) == 3
    with pytest.raises(InvalidParameterError, match="failed to reach build target x in Dockerfile"):
        program(text).until("x")


def test_the_last_stage_of_a_name_is_meant() -> None:
    stages = program("FROM a AS x\nFROM b AS x\nFROM c").stages
    assert find_stage(stages, "X") == 1
    assert find_stage(stages, "2") == 2
    assert find_stage(stages, "3") is None


def test_build_arguments_have_scopes() -> None:
    arguments = BuildArguments({"given": "1", "HTTP_PROXY": "p", "stray": "s"})
    arguments.declare_global("base", "b")
    arguments.declare_global("given", "default")
    assert arguments.globals() == {"base": "b", "given": "1"}
    assert arguments.in_scope({}) == {"HTTP_PROXY": "p"}
    arguments.declare("base", None)
    arguments.declare("mine", "m")
    assert arguments.in_scope({"mine": "of ENV"}) == {"base": "b", "HTTP_PROXY": "p"}
    assert arguments.in_cache_key(arguments.in_scope({})) == ["base=b", "mine=m"]
    arguments.begin_stage()
    assert arguments.in_scope({}) == {"HTTP_PROXY": "p"}
    assert arguments.unused() == ["stray"]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (10**6, "1ms"), (5 * 10**9, "5s"),
     (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s"), (1_500_000_000, "1.5s")],
)  # fmt: skip
def test_durations_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_strings_as_go_quotes_them() -> None:
    assert quoted('a"b\\c\n\x01é') == '"a\\"b\\\\c\\n\\x01é"'
