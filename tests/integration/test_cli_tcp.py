"""The command line and the daemon over TCP: in clear on loopback, and with certificates."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.binaries import require
from tests.support.certificates import Authority, Certificate, authority
from tests.support.command import Aiod
from tests.support.daemon import AiodDaemon

ECHO = ("run", "--rm", "-i", "base", "sh", "-c", "cat; echo err >&2; exit 7")


class Remote(Aiod):
    """The command, told an address and perhaps certificates."""

    def __init__(self, engine: AiodDaemon, port: int) -> None:
        super().__init__(engine)
        self.port = port

    @property
    def environment(self) -> dict[str, str]:
        """Names the engine by TCP."""
        return super().environment | {"AIOD_HOST": f"tcp://127.0.0.1:{self.port}"}


def _serving(daemon: AiodDaemon, *flags: str) -> Remote:
    daemon.flags = ["--host", "tcp://127.0.0.1:0", *flags]
    daemon.start()
    told = re.search(r"ready on .*tcp://127\.0\.0\.1:(\d+)", daemon.log_tail())
    assert told is not None, daemon.log_tail()
    return Remote(daemon, int(told[1]))


@pytest.fixture
def plain(new_daemon: AiodDaemon) -> Iterator[Remote]:
    cli = _serving(new_daemon, "--allow-insecure-tcp")
    yield cli
    cli.remove_all()


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(scratch: Path, signer: Authority) -> Iterator[Remote]:
    """One daemon for all, who leave nothing in it."""
    server = signer.issue("server")
    files = ("--tls-cert", server.certificate, "--tls-key", server.key)
    daemon = AiodDaemon(scratch / "tcp")
    try:
        yield _serving(daemon, *map(str, files), "--tls-ca", str(signer.certificate))
    finally:
        daemon.destroy()


def _options(who: Certificate, trusted: Path) -> tuple[str, ...]:
    files = ("--tls-cert", who.certificate, "--tls-key", who.key, "--tls-ca", trusted)
    return tuple(map(str, files))


def test_in_clear(plain: Remote) -> None:
    done = plain(*ECHO, stdin=b"x" * 300_000)
    assert (done.returncode, done.stdout, done.stderr) == (7, "x" * 300_000, "err\n")


def test_with_certificates(secured: Remote, signer: Authority) -> None:
    options = _options(signer.issue("client"), signer.certificate)
    done = secured(*options, *ECHO, stdin=b"x" * 300_000)
    assert (done.returncode, done.stdout, done.stderr) == (7, "x" * 300_000, "err\n")
    with secured.terminal(*options, "run", "-it", "--name", secured.name(), "base") as terminal:
        terminal.expect(b"# ")
        terminal.write(b"echo $((40+2))\n")
        terminal.expect(b"42")
        terminal.write(b"\x10\x11")
        assert terminal.finish() == 0


def test_dockers_command_with_certificates(secured: Remote, signer: Authority) -> None:
    who = signer.issue("client")
    files = ("--tlscert", who.certificate, "--tlskey", who.key, "--tlscacert", signer.certificate)
    done = subprocess.run(
        [require("docker"), "-H", f"tcp://127.0.0.1:{secured.port}", "--tlsverify",
         *map(str, files), *ECHO],
        input=b"x" * 300_000, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, b"x" * 300_000)


def test_without_a_trusted_certificate_nobody_gets_in(
    secured: Remote, signer: Authority, tmp_path: Path
) -> None:
    stranger = authority(tmp_path, "other").issue("stranger")
    assert secured.fails(*_options(stranger, signer.certificate), "ps")
    assert secured.fails("ps")


def test_server_that_is_not_trusted_is_told_nothing(
    secured: Remote, signer: Authority, tmp_path: Path
) -> None:
    other = authority(tmp_path, "other")
    told = secured.fails(*_options(signer.issue("client"), other.certificate), "ps")
    assert "certificate" in told


@pytest.mark.parametrize("missing", ["--tls-cert", "--tls-key", "--tls-ca"])
def test_certificates_that_are_not_there(secured: Remote, signer: Authority, missing: str) -> None:
    options = list(_options(signer.issue("client"), signer.certificate))
    options[options.index(missing) + 1] = "/nowhere.pem"
    assert "/nowhere.pem" in secured.fails(*options, "ps")
