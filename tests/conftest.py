"""Fixtures of the whole suite: scratch directories, engines, and the check that nothing leaked."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import hostnet, leaks, watched
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine
from tests.support.netns import Lan
from tests.support.playground import Site, aiod_on_its_own

_SCRATCH = pytest.StashKey[Path]()
_LEAKED = pytest.StashKey[list[str]]()
_numbers = count(1)

# How long an example takes says what else the machine does: it is no failure.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        "--against",
        choices=["aiod", "dockerd"],
        default="aiod",
        help="the engine that tests/compat drives (dockerd validates the tests themselves)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SCRATCH] = Path(tempfile.mkdtemp(prefix="ad", dir="/tmp"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    scratch = session.config.stash[_SCRATCH]
    groups = {f"aiod-test-{os.getpid()}*"}
    groups |= {config.cgroup_parent.strip("/") for config in AiodDaemon.made}
    leaked = leaks.remaining([scratch], groups)
    if os.geteuid() == 0:
        leaked += [left for config in AiodDaemon.made for left in hostnet.left_by(config)]
    session.config.stash[_LEAKED] = leaked
    if leaked and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if not leaked:
        shutil.rmtree(scratch, ignore_errors=True)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in config.stash.get(_LEAKED, []):
        terminalreporter.write_line(f"LEAKED {line}", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root: namespaces, mounts and cgroups")
    for item in items:
        if {"compat", "drills"} & set(item.path.parts) and not os.environ.get("CI"):
            item.add_marker(needs_root)


@pytest.fixture(scope="session")
def scratch(pytestconfig: pytest.Config) -> Path:
    """The session's own short directory; whatever is mounted or running there at the end leaked."""
    return pytestconfig.stash[_SCRATCH]


def _running(engine: Engine, check: Callable[[], None] = lambda: None) -> Iterator[Engine]:
    try:
        engine.start()
        engine.ensure_base()
        yield engine
        check()
    finally:
        engine.destroy()


@pytest.fixture(scope="session")
def dockerd(scratch: Path) -> Iterator[Engine]:
    """One dockerd for the session, with busybox as `base`."""
    yield from _running(Dockerd(scratch / str(next(_numbers))))


@pytest.fixture(scope="session")
def aiod(scratch: Path) -> Iterator[Engine]:
    """One aiod for the session, for tests that do not hurt it; its loop is never blocked."""
    engine = AiodDaemon(scratch / str(next(_numbers)))
    engine.module = "tests.support.watched"
    yield from _running(engine, lambda: watched.assert_never_blocked(engine.log))


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine chosen with --engine."""
    chosen = request.getfixturevalue(str(request.config.getoption("--engine")))
    assert isinstance(chosen, Engine)
    return chosen


@pytest.fixture
def new_daemon(scratch: Path) -> Iterator[AiodDaemon]:
    """A daemon of the test's own, not yet started."""
    daemon = AiodDaemon(scratch / str(next(_numbers)))
    try:
        yield daemon
    finally:
        daemon.destroy()


@pytest.fixture
def daemon(new_daemon: AiodDaemon) -> AiodDaemon:
    """A running daemon of the test's own."""
    new_daemon.start()
    return new_daemon


@pytest.fixture(scope="class")
def class_daemon(scratch: Path) -> Iterator[AiodDaemon]:
    """A daemon for all tests of a class, not yet started."""
    daemon = AiodDaemon(scratch / str(next(_numbers)))
    try:
        yield daemon
    finally:
        daemon.destroy()


@pytest.fixture(scope="session")
def dockerd_site(scratch: Path) -> Iterator[Site]:
    """One dockerd for the session on a machine of its own, with another host beside it."""
    with Lan() as lan, Site(Dockerd(scratch / str(next(_numbers))), lan) as site:
        for _ in _running(site.engine):
            yield site


@pytest.fixture(scope="session")
def aiod_site(scratch: Path) -> Iterator[Site]:
    """The same of aiod."""
    with Lan() as lan, Site(AiodDaemon(scratch / str(next(_numbers))), lan) as site:
        for _ in _running(site.engine):
            yield site


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Site:
    """The one of the engine chosen with --engine."""
    chosen = request.getfixturevalue(f"{request.config.getoption('--engine')}_site")
    assert isinstance(chosen, Site)
    return chosen


@pytest.fixture
def own_site(scratch: Path) -> Iterator[Site]:
    """A running daemon of the test's own on a machine of its own, with another host beside it."""
    with aiod_on_its_own(scratch) as site:
        yield site
