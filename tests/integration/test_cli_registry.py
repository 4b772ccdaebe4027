"""`aiod pull`, `push`, `login` and `logout` against a registry that wants a password."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rootfs
from tests.support.command import Aiod
from tests.support.engine import Engine
from tests.support.registry import PASSWORD, USER, BasicAuth, Registry


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[Registry]:
    with Registry(scratch / "cli-registry", auth=BasicAuth()) as running:
        yield running


class Registered(Aiod):
    """The command of a user whose logins are the test's own."""

    def __init__(self, engine: Engine, registry: Registry, config: Path) -> None:
        super().__init__(engine)
        self.config = config
        self.server = registry.address
        self.image = f"{registry.address}/cli/made:1"

    @property
    def environment(self) -> dict[str, str]:
        """With a `config.json` of its own."""
        return super().environment | {"DOCKER_CONFIG": str(self.config)}

    def log_in(self) -> None:
        """As the registry's one user."""
        self.ok("login", "-u", USER, "--password-stdin", self.server, stdin=PASSWORD.encode())


@pytest.fixture
def cli(aiod: Engine, registry: Registry, tmp_path: Path) -> Iterator[Registered]:
    command = Registered(aiod, registry, tmp_path / "docker")
    archive = rootfs.docker_archive(command.image, [rootfs.busybox_tar(), rootfs.tar([])])
    command.ok("load", stdin=archive)
    yield command
    for name in command.ok("images", "-q", "-f", f"reference={command.server}/cli/*").split():
        command.ok("rmi", "-f", name)


def test_login_push_pull_logout(cli: Registered) -> None:
    assert "no basic auth" in cli.fails("push", cli.image).lower()
    done = cli("login", "-u", USER, "--password-stdin", cli.server, stdin=f"{PASSWORD}\n".encode())
    assert (done.returncode, done.stdout) == (0, "Login Succeeded\n")
    assert stat.S_IMODE((cli.config / "config.json").stat().st_mode) == 0o600
    pushed = cli.ok("push", cli.image).splitlines()
    assert pushed[0].startswith("The push refers to repository")
    assert pushed[-1] == cli.image
    cli.ok("rmi", cli.image)
    pulled = cli.ok("pull", cli.image).splitlines()
    assert any(line.endswith(": Pull complete") for line in pulled)
    assert any(line.startswith("Digest: sha256:") for line in pulled)
    assert pulled[-1] == cli.image
    assert not [line for line in pulled if "\r" in line or "Downloading" in line]
    assert "Image is up to date" in cli.ok("pull", cli.image)
    assert cli.ok("logout", cli.server) == f"Removed the login of {cli.server}\n"
    assert cli.ok("logout", cli.server) == f"Not logged in to {cli.server}\n"
    assert cli.fails("push", cli.image)


def test_pull_for_scripts(cli: Registered) -> None:
    cli.log_in()
    cli.ok("push", "-q", cli.image)
    assert cli.ok("pull", "-q", cli.image) == f"{cli.image}\n"
    lines = [json.loads(line) for line in cli.ok("pull", "--json", cli.image).splitlines()]
    assert any("Digest" in line.get("status", "") for line in lines)
    assert {line["id"] for line in lines if "Pulling from" in line.get("status", "")} == {"1"}


def test_all_tags(cli: Registered) -> None:
    cli.log_in()
    repository = cli.image.rpartition(":")[0]
    cli.ok("tag", cli.image, f"{repository}:2")
    cli.ok("push", "-q", "-a", repository)
    cli.ok("rmi", cli.image, f"{repository}:2")
    cli.ok("pull", "-q", "-a", repository)
    rows = json.loads(cli.ok("images", "--json", repository))
    assert {tag for row in rows for tag in row["RepoTags"]} >= {cli.image, f"{repository}:2"}
    assert "--all-tags" in cli.fails("pull", "-a", cli.image)


def test_bars_on_a_terminal_only(cli: Registered) -> None:
    cli.log_in()
    with cli.terminal("push", cli.image) as terminal:
        terminal.expect(b"The push refers to repository")
        terminal.expect(b"\xe2\x94\x81")  # a rule of a bar
        assert terminal.finish() == 0
    cli.ok("rmi", cli.image)
    with cli.terminal("pull", cli.image) as terminal:
        terminal.expect(b"Pulling from cli/made")
        terminal.expect(b"Pull complete")
        terminal.expect(b"Digest: sha256:")
        assert terminal.finish() == 0


def test_login_by_typing(cli: Registered) -> None:
    with cli.terminal("login", cli.server) as terminal:
        terminal.expect(b"Username:")
        terminal.write(USER.encode() + b"\n")
        terminal.expect(b"Password:")
        terminal.write(PASSWORD.encode() + b"\n")
        terminal.expect(b"Login Succeeded")
        assert PASSWORD.encode() not in terminal.output
        assert terminal.finish() == 0
    cli.ok("push", "-q", cli.image)


def test_wrong_password_is_refused_and_not_kept(cli: Registered) -> None:
    wrong = ("login", "-u", USER, "--password-stdin", cli.server)
    assert "unauthorized" in cli.fails(*wrong, stdin=b"wrong").lower()
    assert not cli.config.exists()
    assert "is empty" in cli.fails(*wrong, stdin=b"")
    assert "needs --username" in cli.fails("login", "--password-stdin", cli.server, status=125)
    assert "--password-stdin" in cli.fails("login", "-u", USER, cli.server)


def test_what_cannot_be_pulled_or_pushed(cli: Registered) -> None:
    cli.log_in()
    assert "not found" in cli.fails("pull", f"{cli.server}/cli/absent:1").lower()
    assert "invalid reference format" in cli.fails("pull", "a//b")
    assert "does not exist" in cli.fails("push", f"{cli.server}/cli/absent:1").lower()
    assert "digest" in cli.fails("push", f"{cli.server}/cli/made@sha256:{'0' * 64}")
    assert cli.fails("pull", "--platform", "plan9/mips", cli.image)


def test_password_is_in_no_file_but_the_users(cli: Registered) -> None:
    cli.log_in()
    cli.ok("push", "-q", cli.image)
    assert PASSWORD not in cli.engine.log.read_text()
