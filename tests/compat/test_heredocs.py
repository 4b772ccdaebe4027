"""Here-documents and --chmod: what dockerd has only in BuildKit, so the expected is written here.

Source: Dockerfile reference, "Here-Documents" and "COPY --chown --chmod".
"""

from pathlib import Path

import pytest

from tests.support import contexts
from tests.support.classicbuild import BASE, build, ground, saved
from tests.support.engine import Engine
from tests.support.imagetrees import Image

HEREDOCS = rf"""
FROM {BASE}
ARG WHO=world
ENV TAB=tab
RUN <<EOF
echo "hello $WHO" > /script
cat <<INNER > /nested
inner $TAB
INNER
EOF
RUN cat <<EOF > /command && cat <<"RAW" > /raw
to $WHO
EOF
to $WHO
RAW
RUN <<-EOF
	echo chomped > /chomped
	EOF
RUN <<EOF
#!/bin/busybox ash
echo "by $0" | sed 's,.*/,,' > /program
EOF
COPY <<EOF /copied
expanded $WHO, \$WHO, ${{WHO:-x}}
EOF
COPY --chown=7:8 --chmod=640 <<"EOF" /unexpanded
as it is: $WHO \$WHO
EOF
COPY <<-EOF <<two.txt beside /several/
		chomped $TAB
	EOF
# no comment
two.txt
ADD <<EOF /added/empty
EOF
RUN cat /etc/passwd | grep -c root > /count && echo "no << here-document" >> /count
ONBUILD RUN <<EOF
echo late > /late
EOF
CMD ["true"]
"""


@pytest.fixture(scope="module")
def image(aiod: Engine, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What HEREDOCS builds."""
    aiod.load(ground())
    files = {"Dockerfile": HEREDOCS, "beside": "beside\n"}
    context = contexts.write(tmp_path_factory.mktemp("heredocs"), files)
    built = build(aiod, context, "-t", "heredocs")
    assert built.code == 0, built
    return saved(aiod, "heredocs")


CONTENTS = {
    "script": "hello world\n",
    "nested": "inner tab\n",
    "command": "to world\n",
    "raw": "to $WHO\n",
    "chomped": "chomped\n",
    "program": "EOF\n",
    "copied": "expanded world, $WHO, world\n",
    "unexpanded": "as it is: $WHO \\$WHO\n",
    "several/EOF": "chomped tab\n",
    "several/two.txt": "# no comment\n",
    "several/beside": "beside\n",
    "added/empty": "",
    "count": "1\nno << here-document\n",
}


@pytest.mark.parametrize(("path", "content"), CONTENTS.items(), ids=CONTENTS)
def test_what_a_here_document_makes(image: Image, path: str, content: str) -> None:
    assert image.files[path].content == content


def test_a_copied_here_document_is_a_plain_file_unless_told(image: Image) -> None:
    assert (image.files["copied"].mode, image.files["copied"].owner) == ("0644", (0, 0))
    assert (image.files["unexpanded"].mode, image.files["unexpanded"].owner) == ("0640", (7, 8))


def test_what_follows_here_documents_is_read(image: Image) -> None:
    assert image.config["Cmd"] == ["true"]


def test_a_trigger_brings_its_here_document(aiod: Engine, image: Image, tmp_path: Path) -> None:
    context = contexts.write(tmp_path / "c", {"Dockerfile": "FROM heredocs\nRUN cat /late\n"})
    built = build(aiod, context, "-t", "triggered")
    assert built.code == 0, built
    assert saved(aiod, "triggered").files["late"].content == "late\n"


CACHED = f"""\
FROM {BASE}
RUN <<EOF
echo one > /made
EOF
COPY <<EOF /copied
one
EOF
"""


def test_a_changed_here_document_is_not_taken_from_the_cache(aiod: Engine, tmp_path: Path) -> None:
    aiod.load(ground())
    context = contexts.write(tmp_path / "c", {"Dockerfile": CACHED})
    build(aiod, context, "--no-cache")
    assert len(build(aiod, context).cached) == 2
    contexts.write(context, {"Dockerfile": CACHED.replace("\none", "\ntwo")})
    assert [step[:10] for step in build(aiod, context).cached] == ["Step 2/3 :"]
    contexts.write(context, {"Dockerfile": CACHED.replace("echo one", "echo two")})
    assert build(aiod, context).cached == []


def test_an_unterminated_here_document_is_refused(aiod: Engine, tmp_path: Path) -> None:
    aiod.load(ground())
    text = f"FROM {BASE}\nRUN <<EOF\necho\n"
    built = build(aiod, contexts.write(tmp_path / "c", {"Dockerfile": text}))
    assert built.code == 1
    assert "line 2: unterminated heredoc" in built.errors


CHMOD = f"""
FROM {BASE}
COPY --chmod=4750 file /file
COPY --chmod=700 tree /tree
ADD --chmod=0604 --chown=user:5 tree/leaf /added
"""


def test_chmod_is_of_files_and_directories(aiod: Engine, tmp_path: Path) -> None:
    aiod.load(ground())
    files = {"Dockerfile": CHMOD, "file": "f\n", "tree/leaf": "l\n", "tree/sub/leaf": "s\n"}
    built = build(aiod, contexts.write(tmp_path / "c", files), "-t", "chmod")
    assert built.code == 0, built
    made = saved(aiod, "chmod").files
    modes = {name: made[name].mode for name in ("file", "tree/leaf", "tree/sub", "added")}
    assert modes == {
        "file": "4750", "tree/leaf": "0700", "tree/sub": "0700", "added": "0604",
    }  # fmt: skip
    assert made["added"].owner == (1000, 5)


@pytest.mark.parametrize("mode", ["u+x", "888", "77777"])
def test_a_bad_mode_is_refused(aiod: Engine, mode: str, tmp_path: Path) -> None:
    aiod.load(ground())
    text = f"FROM {BASE}\nCOPY --chmod={mode} Dockerfile /\n"
    built = build(aiod, contexts.write(tmp_path / "c", {"Dockerfile": text}))
    assert built.code == 1
    assert f"invalid chmod parameter: '{mode}'" in built.errors
