"""A web server, an application and a database, brought up by docker-compose, under load.

aiod is killed and started again while clients visit, and they do not notice.
"""

import os
from pathlib import Path

from tests.support import leaks
from tests.support.composed import Stack, Visitors, base_image, get
from tests.support.engine import eventually
from tests.support.playground import Site


def _answers(site: Site) -> bool:
    """Whether the whole stack is up; its database takes a moment."""
    try:
        return get(site.neighbour, site.machine.ip4, "/count") >= 0
    except (OSError, ValueError):
        return False


def test_a_stack_survives_the_daemon(own_site: Site, tmp_path: Path) -> None:
    daemon, machine = own_site.daemon, own_site.machine
    daemon.load(base_image(tmp_path))
    stack = Stack(daemon, tmp_path)
    stack.compose("build")
    assert daemon.stop() == 0  # of what a build needed, only that stays which is always there
    daemon.restart()
    before, rows = machine.trace(), count_of(own_site)
    stack.compose("up", "-d")
    eventually(lambda: _answers(own_site), bool, 60)
    places = [
        (own_site.neighbour, machine.ip4),
        (own_site.neighbour, machine.ip6),
        (machine, "127.0.0.1"),
    ]
    with Visitors(places) as visitors:
        visitors.more(30)
        daemon.sigkill()
        visitors.more(60)
        daemon.restart()
        visitors.more(30)
        daemon.sigkill()
        daemon.restart()
        visitors.more(30)
    assert visitors.failures == []
    assert get(own_site.neighbour, machine.ip4, "/count") == visitors.answered
    stack.compose("stop")
    stack.compose("start")
    eventually(lambda: _answers(own_site), bool, 60)
    assert get(own_site.neighbour, machine.ip4, "/count") == visitors.answered
    stack.compose("down", "--volumes")
    eventually(lambda: machine.trace().since(before), lambda new: not new)
    assert count_of(own_site) == rows
    leaks.assert_none(daemon)


def count_of(site: Site) -> dict[str, int]:
    """How many there are of everything that a stack is made of."""
    with site.daemon.api() as api:
        volumes = api.call("GET", "/volumes")["Volumes"] or []
        counts = {
            "containers": len(api.containers()),
            "networks": len(api.call("GET", "/networks")),
            "volumes": len(volumes),
        }
    pids = (site.daemon.pid, *site.daemon.processes())
    namespaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in pids}
    paths = site.daemon.paths
    directories = sum(
        1
        for top in (paths.containers, paths.shims, paths.networks, paths.root / "volumes")
        for _ in top.glob("*")
    )
    return {**counts, "namespaces": len(namespaces), "directories": directories}
