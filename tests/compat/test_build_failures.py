"""Builds that fail do so at the same step, with the same words and exit code, as dockerd's.

A file that only its text makes is written here; whole contexts are in `dockerfiles/`.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import contexts
from tests.support.classicbuild import BASE, build
from tests.support.engine import Engine

FILES = {"file": "a file\n", "tree/leaf": "a leaf\n"}
FAILURES: dict[str, str] = {
    "run exit code": "RUN exit 3",
    "run exit code of exec form": 'RUN ["sh", "-c", "echo told; exit 200"]',
    "run no such program": 'RUN ["/no/such/program"]',
    "run not executable": 'RUN ["/etc/not-executable"]',
    "run no such shell": 'SHELL ["/no/shell", "-c"]\nRUN true',
    "run after a step": "RUN touch /made\nRUN cat /made /not-made",
    "run as a user unknown": "USER nobody-here\nRUN true",
    "copy of nothing": "COPY missing /",
    "copy of no match": "COPY missing* /",
    "copy outside": "COPY ../outside /",
    "copy several to a file": "COPY file tree /to",
    "copy one argument": "COPY file",
    "copy onto a directory's file": "COPY file /etc/passwd/below",
    "copy directory onto a file": "COPY tree /etc/passwd",
    "copy of a bad pattern": "COPY [ /",
    "copy with an unknown owner": "COPY --chown=nobody-here file /",
    "copy with an unknown group": "COPY --chown=root:nobody-here file /",
    "copy from a later stage": "COPY --from=5 /x /",
    "copy from itself": "COPY --from=0 /x /",
    "copy from nothing": f"FROM {BASE}\nCOPY --from=0 /missing /",
    "copy an unknown flag": "COPY --unknown=1 file /",
    "add of nothing": "ADD missing /",
    "add of a page that is not": "ARG ADDRESS\nADD http://$ADDRESS/nothing /",
    "add of a page without a name": "ARG ADDRESS\nADD http://$ADDRESS/ /directory/",
    "add of several to a file": "ADD file file /to",
    "unknown instruction": "UNKNOWN word",
    "empty run": "RUN",
    "empty env": "ENV",
    "env without a value": "ENV name",
    "env of one word among pairs": "ENV a=b c",
    "env with an empty name": "ENV =b",
    "empty label": "LABEL",
    "empty copy": "COPY",
    "empty add": "ADD",
    "empty workdir": "WORKDIR",
    "empty user": "USER",
    "two users": "USER a b",
    "empty expose": "EXPOSE",
    "expose no number": "EXPOSE http",
    "expose too large": "EXPOSE 70000",
    "expose unknown protocol": "EXPOSE 80/carrier-pigeon",
    "expose range backwards": "EXPOSE 90-80",
    "empty volume": "VOLUME",
    "volume of no name": 'VOLUME [""]',
    "stop signal unknown": "STOPSIGNAL SIGNOTHING",
    "empty stop signal": "STOPSIGNAL",
    "healthcheck without command": "HEALTHCHECK --interval=1s",
    "healthcheck unknown type": "HEALTHCHECK RUN true",
    "healthcheck bad interval": "HEALTHCHECK --interval=soon CMD true",
    "healthcheck short interval": "HEALTHCHECK --interval=1us CMD true",
    "healthcheck bad retries": "HEALTHCHECK --retries=-1 CMD true",
    "healthcheck none with words": "HEALTHCHECK NONE true",
    "healthcheck unknown flag": "HEALTHCHECK --colour=red CMD true",
    "shell not json": "SHELL /bin/sh -c",
    "empty shell": "SHELL []",
    "onbuild of onbuild": "ONBUILD ONBUILD RUN true",
    "onbuild from": "ONBUILD FROM base",
    "onbuild maintainer": "ONBUILD MAINTAINER me",
    "empty onbuild": "ONBUILD",
    "empty arg": "ARG",
    "arg with an empty name": "ARG =x",
    "empty cmd": "CMD",
    "empty maintainer": "MAINTAINER",
    "unterminated quote": 'ENV A="b',
    "unterminated variable": "ENV A=${b",
    "unsupported modifier": "ENV A=${b#c}",
    "from an argument unset": "FROM ${NOTHING}",
    "from a bad reference": "FROM Not:a:reference",
    "from scratch again and run": "FROM scratch\nRUN true",
    "from with too many words": "FROM a b c d",
    "stage with a bad name": "FROM base AS 1st",
}
# Where dockerd names its runtime or its own directories, or words it otherwise since version 20.
SHARED_WORDS: dict[str, str] = {
    "run no such program": "/no/such/program: no such file or directory",
    "run not executable": '/etc/not-executable": permission denied',
    "from scratch again and run": "/bin/sh: no such file or directory",
    "run no such shell": "/no/shell: no such file or directory",
    "copy onto a directory's file": "/etc/passwd/below: not a directory",
    "copy directory onto a file": "/etc/passwd: not a directory",
    "unterminated variable": 'failed to process "${b": missing \'',
    "unsupported modifier": 'failed to process "${b#c}": ',
    "from a bad reference": "must be lowercase",
    "healthcheck bad retries": "line 3: --retries ",
}
WHOLE: dict[str, str] = {  # without "ARG a=b" alone, which dockerd 20 dies of
    "empty": "",
    "only comments": "# nothing\n",
    "no from": "RUN true\n",
    "bad escape": f"# escape=x\nFROM {BASE}\n",
    "two escapes": f"# escape=`\n# escape=`\nFROM {BASE}\n",
    "scratch alone": "FROM scratch\n",
}
OPTIONS: dict[str, list[str]] = {
    "target unknown": ["--target", "nothing"],
    "bad network": ["--network", "no-such-network"],
    "unused argument": ["--build-arg", "UNUSED=1"],
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_step(
    builders: tuple[Engine, Engine], name: str, web: str, tmp_path: Path
) -> None:
    dockerfile = f"FROM {BASE}\nLABEL before=it\n{FAILURES[name]}\nLABEL after=it\n"
    context = contexts.write(tmp_path / "c", {"Dockerfile": dockerfile, **FILES})
    argument = ["--build-arg", f"ADDRESS={web}"] if "ADDRESS" in dockerfile else []
    ours, theirs = [build(each, context, "--no-cache", *argument) for each in builders]
    if words := SHARED_WORDS.get(name):
        assert words in ours.errors
        assert words in theirs.errors
        ours = replace(ours, errors=theirs.errors)
    assert ours == theirs


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_a_dockerfile_that_is_none(
    builders: tuple[Engine, Engine], text: str, tmp_path: Path
) -> None:
    context = contexts.write(tmp_path / "c", {"Dockerfile": text})
    ours, theirs = [build(each, context, "--no-cache") for each in builders]
    assert ours == theirs


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_that_are_refused_or_warned_of(
    builders: tuple[Engine, Engine], options: list[str], tmp_path: Path
) -> None:
    context = contexts.write(tmp_path / "c", {"Dockerfile": f"FROM {BASE}\n"})
    ours, theirs = [build(each, context, "--no-cache", *options) for each in builders]
    assert ours == theirs
