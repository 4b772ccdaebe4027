"""`aiod build`: the context sent, the output shown, the status of what fails."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rootfs
from tests.support.command import AIOD, Aiod
from tests.support.engine import Engine

NAME = "cli/built:1"


@pytest.fixture
def cli(aiod: Engine) -> Iterator[Aiod]:
    command = Aiod(aiod)
    yield command
    command.remove_all()
    for name in command.ok("images", "-q", "-f", "reference=cli/*").split():
        command.ok("rmi", "-f", name)
    command.ok("image", "prune", "-f")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").write_text("kept\n")
    (tmp_path / "data" / "dropped").write_text("dropped\n")
    (tmp_path / ".dockerignore").write_text("**/dropped\nDockerfile\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM base AS one\nARG WHO=nobody\nCOPY . /c\nRUN echo hello $WHO && find /c | sort\n"
        "FROM base\nLABEL last=stage\n"
    )
    return tmp_path


def _inspected(cli: Aiod, name: str) -> dict[str, object]:
    (found,) = json.loads(cli.ok("inspect", name))
    config: dict[str, object] = found["Config"]
    return config


def test_build_of_a_directory(cli: Aiod, context: Path) -> None:
    done = cli("build", "-t", NAME, "-t", "cli/other", "--target", "one", "--build-arg", "WHO=jo",
               "--label", "made=here", "--iidfile", str(context / "iid"), str(context))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Step 1/5 : FROM base AS one\n" in done.stdout
    assert "hello jo\n/c\n/c/.dockerignore\n/c/data\n/c/data/kept\n" in done.stdout
    assert done.stdout.endswith(
        f"Successfully tagged {NAME}\nSuccessfully tagged cli/other:latest\n"
    )
    labels = _inspected(cli, NAME)["Labels"]
    assert labels == {"made": "here"}
    identity = cli.ok("images", "-q", "--no-trunc", NAME).strip()
    assert (context / "iid").read_text() == identity


def test_own_variable_is_passed_on(cli: Aiod, context: Path) -> None:
    done = cli("build", "--target", "one", "--build-arg", "WHO", str(context), WHO="me")
    assert "hello me\n" in done.stdout


def test_quiet_says_the_id_alone(cli: Aiod, context: Path) -> None:
    identity = cli.ok("build", "-q", "-t", NAME, str(context)).strip()
    assert identity == cli.ok("images", "-q", "--no-trunc", NAME).strip()
    lines = [json.loads(line) for line in cli.ok("build", "--json", str(context)).splitlines()]
    assert any(line.get("aux", {}).get("ID") == identity for line in lines)


def test_cache_and_no_cache(cli: Aiod, context: Path) -> None:
    first = cli.ok("build", "-q", "--target", "one", "-t", NAME, str(context))
    assert "Using cache" in cli.ok("build", "--target", "one", str(context))
    assert "Using cache" not in cli.ok("build", "--no-cache", "--target", "one", str(context))
    assert cli.ok("build", "-q", "--target", "one", str(context)) != first


def test_dockerfile_on_a_pipe(cli: Aiod, context: Path) -> None:
    text = b"FROM base\nCOPY . /c\nRUN find /c | sort\n"
    told = cli.ok("build", "-t", NAME, "-f", "-", str(context), stdin=text)
    assert "\n/c\n/c/.dockerignore\n/c/data\n/c/data/kept\n" in told
    assert "Successfully" in cli.ok("build", "-t", NAME, "-", stdin=b"FROM base\nLABEL a=b\n")
    assert _inspected(cli, NAME)["Labels"] == {"a": "b"}


def test_context_on_a_pipe(cli: Aiod, context: Path) -> None:
    packed = subprocess.run(
        ["tar", "-cz", "-C", str(context), "."], capture_output=True, check=True
    )
    told = cli.ok("build", "--target", "one", "-t", NAME, "-", stdin=packed.stdout)
    assert "/c/data/kept\n" in told
    assert "/c/data/dropped" not in told


def test_dockerfile_from_elsewhere(
    cli: Aiod, context: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("elsewhere") / "Other"
    file.write_text("FROM base\nCOPY . /c\nRUN find /c | sort\n")
    file.with_name("Other.dockerignore").write_text("data/kept\n")
    told = cli.ok("build", "-f", str(file), str(context))
    assert "\n/c\n/c/.dockerignore\n/c/Dockerfile\n/c/data\n/c/data/dropped\n" in told


def test_command_that_fails_gives_its_status(cli: Aiod, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM base\nRUN echo before; exit 9\n")
    done = cli("build", str(context))
    assert done.returncode == 9
    assert "before\n" in done.stdout
    assert (
        done.stderr
        == "aiod: The command '/bin/sh -c echo before; exit 9' returned a non-zero code: 9\n"
    )


def test_what_is_refused(cli: Aiod, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM base\nNONSENSE\n")
    assert "unknown instruction: NONSENSE" in cli.fails("build", str(context))
    assert "no such file" in cli.fails("build", str(context / "data")).lower()
    assert "nothing on standard input" in cli.fails("build", "-")
    assert "NAME=VALUE" in cli.fails("build", "--build-arg", "=x", str(context), status=125)
    with cli.terminal("build", "-") as terminal:
        terminal.expect(b"the context is expected from a pipe")
        assert terminal.finish() == 1


def test_interrupted_build_ends_at_once(cli: Aiod, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM base\nRUN echo begun; sleep 1000000\n")
    with cli.terminal("build", str(context)) as terminal:
        terminal.expect(b"\nbegun")
        terminal.write(b"\x03")
        assert terminal.finish() == 130


def test_verify(cli: Aiod, new_daemon: Engine) -> None:
    new_daemon.start()
    own = Aiod(new_daemon)
    own.ok("load", stdin=rootfs.docker_archive(NAME, [rootfs.busybox_tar()]))
    assert own.ok("image", "verify").endswith(": 0 problems\n")
    blob = max(
        (new_daemon.base / "r").glob("content/blobs/sha256/*"), key=lambda f: f.stat().st_size
    )
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = own("images", "verify")
    assert done.returncode == 1
    assert f"blob sha256:{blob.name}: damaged" in done.stdout
    assert "1 problems" in done.stdout
    quiet = own("images", "verify", "-q").stdout.splitlines()
    assert [line.split()[0] for line in quiet] == ["blob"]
    lines = [json.loads(line) for line in own("images", "verify", "--json").stdout.splitlines()]
    assert lines[-1]["summary"]["problems"] == 1
    own("images", "verify", "--repair")
    assert not blob.exists()


def test_completion_knows_build_options(cli: Aiod) -> None:
    words = {"COMP_WORDS": "aiod build --no", "COMP_CWORD": "2", "_AIOD_COMPLETE": "bash_complete"}
    environment = {**cli.environment, **words}
    done = subprocess.run([AIOD], env=environment, capture_output=True, check=False)
    assert b"--no-cache" in done.stdout
