"""SIGKILL while networks are changed, and what goes on without a daemon.

A bystander with a published port and a name answers all the while; in the end nothing is left:
no link, rule, route or name, and every address is free again.
"""

import contextlib
import http.client
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.drills.test_daemon_killed import POINTS, finish
from tests.drills.tour import Step, Walk, delete, one_step, post
from tests.support import leaks, nameserver
from tests.support.daemon import AiodDaemon
from tests.support.engine import DaemonDiedError
from tests.support.http import ApiError
from tests.support.playground import FOREVER, Box, Playground, Site, aiod_on_its_own
from tests.support.processes import Identity, wait_gone
from tests.support.traffic import UDP, ask, silent
from tests.support.witness import shim_of

PORT = 9000
BODY = {
    "StopTimeout": 1,
    "Image": "base",
    "Cmd": list(FOREVER),
    "ExposedPorts": {"80/tcp": {}},
    "HostConfig": {"NetworkMode": "near", "PortBindings": {"80/tcp": [{"HostPort": "9001"}]}},
    "NetworkingConfig": {"EndpointsConfig": {"near": {"Aliases": ["alias"]}}},
}
POOLS = {"near": ("10.90.0.0/28", "fd90::/64"), "far": ("10.91.0.0/28", "fd91::/64")}
FREE = 12  # of 16: less the subnet's first and last, the gateway's and the bystander's


def definition(name: str) -> dict[str, object]:
    """What a network is created with."""
    config = [{"Subnet": subnet} for subnet in POOLS[name]]
    return {"Name": name, "EnableIPv6": True, "IPAM": {"Config": config}, "CheckDuplicate": True}


def joining(title: str, network: str) -> Step:
    """A connect."""
    path = f"/networks/{network}/connect"
    return one_step(title, post(path, {"Container": "one"}), 200, 403)


def leaving(title: str, network: str) -> Step:
    """A disconnect."""
    path = f"/networks/{network}/disconnect"
    return one_step(title, post(path, {"Container": "one"}), 200, 403, 404, 500)


STEPS = [
    one_step("create far", post("/networks/create", definition("far")), 201, 409),
    one_step("create", post("/containers/create", BODY, name="one"), 201, 409),
    one_step("start", post("/containers/one/start"), 204, 304),
    joining("connect", "far"),
    leaving("disconnect", "far"),
    leaving("leave the near", "near"),
    joining("come back", "near"),
    one_step("stop", post("/containers/one/stop", t=0), 204, 304),
    joining("connect stopped", "far"),
    one_step("start with both", post("/containers/one/start"), 204, 304),
    one_step("restart", post("/containers/one/restart", t=0), 204),
    one_step("stop again", post("/containers/one/stop", t=0), 204, 304),
    leaving("disconnect stopped", "far"),
    one_step("start to be removed", post("/containers/one/start"), 204, 304),
    one_step("remove", delete("/containers/one", force=1), 204, 404),
    one_step("remove far", delete("/networks/far"), 204, 404),
]


class Scene:
    """A daemon with a bystander on the network `near`, and what there was before it."""

    def __init__(self, ground: Playground) -> None:
        self.ground = ground
        self.daemon: AiodDaemon = ground.site.daemon
        ground.api.call("DELETE", f"/networks/{ground.network()}")  # what is made once is made
        self._before = ground.machine.trace()
        ground.network(**definition("near"))
        bindings = {f"80/{kind}": [{"HostPort": str(PORT)}] for kind in ("tcp", "udp")}
        self.bystander = ground.run(
            "near",
            host={"PortBindings": bindings},
            ExposedPorts={port: {} for port in bindings},
            endpoint={"Aliases": ["bystander"]},
        )
        ground.servers.add(self.bystander.namespace, "bystander", 80, UDP)
        self.address = self.bystander.ip4("near")
        self._beside = ground.machine.trace()

    def assert_answering(self) -> None:
        """The bystander does, from everywhere, whether or not there is a daemon."""
        machine, neighbour = self.ground.machine, self.ground.neighbour
        for where, address in (
            (neighbour, machine.ip4),
            (neighbour, machine.ip6),
            (machine, machine.ip4),
            (machine, "127.0.0.1"),
            (machine, "::1"),
            (self.bystander.namespace, machine.ip4),
        ):
            assert ask(where, address, PORT).name == self.bystander.name, address
        assert ask(neighbour, machine.ip4, PORT, UDP).name == "bystander"
        for name in ("bystander", self.bystander.name):
            assert self.bystander.look_up(name) == [self.address]

    def begun(self) -> None:
        """A daemon has started again, with everything as it was."""
        self.ground.api.close()
        assert self.bystander.ip4("near") == self.address
        leaks.assert_none(self.daemon)

    def restart(self) -> None:
        """Start the daemon again."""
        self.daemon.restart()
        self.begun()

    def assert_settled(self) -> None:
        """The bystander answers and nothing else is there than what it has."""
        leaks.assert_none(self.daemon)
        self.ground.assert_as(self._beside)
        self.assert_answering()

    def assert_all_free(self, network: str = "near", count: int = FREE) -> None:
        """As many containers as there should be addresses find one, and one more does not."""
        names = [self.ground.create(network) for _ in range(count + 1)]
        for name in names[:-1]:
            self.ground.api.start(name)
        assert len(set(self.ground.members(network).values())) == FREE + 1
        with pytest.raises(ApiError, match="no available IPv4 addresses"):
            self.ground.api.start(names[-1])
        for name in names:
            self.ground.api.remove(name)

    def finish(self) -> None:
        """Nothing is left of anything."""
        self.assert_settled()
        self.assert_all_free()
        self.ground.remove(self.bystander)
        self.ground.api.call("DELETE", "/networks/near")
        self.ground.assert_as(self._before)
        finish(self.daemon)


@pytest.fixture(scope="module")
def scene(scratch: Path) -> Iterator[Scene]:
    """One for all drills here: each leaves it as it was, or fails; in the end nothing is left."""
    with aiod_on_its_own(scratch) as site, Playground(site) as ground:
        scene = Scene(ground)
        yield scene
        if not scene.daemon.running:
            scene.restart()
        scene.finish()


@pytest.fixture(scope="class")
def walk(scene: Scene) -> Iterator[Walk]:
    walk = Walk(scene.daemon, STEPS, scene.begun)
    yield walk
    walk.complete()
    scene.assert_settled()


CHANGES = ("start.", "stop.", "network.")


class TestKilledAtEveryPoint:
    """Of connect, disconnect, start and stop, and of what networks do for them."""

    @pytest.mark.parametrize("point", [name for name in POINTS if name.startswith(CHANGES)])
    def test_killed_at(self, scene: Scene, walk: Walk, point: str) -> None:
        """The daemon dies at `point` of a tour of changes, with which the next one goes on."""
        walk.die_at(point)
        scene.assert_answering()


def end(ground: Playground, box: Box) -> None:
    """Kill a container's init from outside, and see it gone."""
    ground.leave(box)
    os.kill(box.init.pid, signal.SIGKILL)
    wait_gone(box.init)


def test_killed_as_it_settles_networks(scene: Scene) -> None:
    """Twice, with work for it: a container has ended meanwhile."""
    ended = scene.ground.published(network="near", p9001="80/tcp")
    scene.daemon.sigkill()
    end(scene.ground, ended)
    for _ in range(2):
        with contextlib.suppress(DaemonDiedError):
            scene.daemon.crash_at("recover.networks-settled")
        assert scene.daemon.wait_death(20) == -signal.SIGKILL
    scene.restart()
    scene.ground.remove(ended)
    scene.assert_settled()


def test_without_a_daemon(scene: Scene) -> None:
    """What has run goes on; what ends meanwhile frees its port, rules and address later."""
    ground = scene.ground
    rules = ground.machine.rules()
    ended = ground.published(network="near", p9001="80/tcp")
    address = ended.ip4("near")
    assert scene.bystander.look_up(ended.name) == [address]
    scene.daemon.sigkill()
    scene.assert_answering()
    assert ask(ground.neighbour, ground.machine.ip4, 9001).name == ended.name
    assert scene.bystander.ask(address).name == ended.name
    assert scene.bystander.look_up(ended.name) == [address]
    assert scene.bystander.look_up(nameserver.NAME) == [nameserver.ADDRESS]
    end(ground, ended)
    scene.assert_answering()
    assert silent(ground.machine, "127.0.0.1", 9001)
    assert silent(ground.neighbour, ground.machine.ip4, 9001)
    scene.restart()
    ground.api.wait(ended.id)  # its shim may still have been about to tell
    assert ground.machine.rules() == rules
    assert scene.bystander.look_up(ended.name) == []
    again = ground.published(network="near", p9001="80/tcp")
    assert ask(ground.neighbour, ground.machine.ip4, 9001).name == again.name
    for box in (ended, again):
        ground.remove(box)
    scene.assert_settled()


def test_restarts_leave_the_same_rules(scene: Scene) -> None:
    """However the daemon ended, and however often."""
    before = scene.ground.machine.trace()
    for number in range(3):
        if number % 2:
            assert scene.daemon.stop() == 0
        else:
            scene.daemon.sigkill()
        assert scene.ground.machine.trace().since(before) == []
        scene.assert_answering()
        scene.restart()
        assert scene.ground.machine.trace().since(before) == []
    scene.assert_settled()


def test_others_rules_are_left_alone(scene: Scene) -> None:
    """A table that is another's, and its place in the order, outlive all that aiod does."""
    machine = scene.ground.machine
    machine.run(
        "nft", "add table inet others; add chain inet others c; add rule inet others c drop"
    )
    others = [line for line in machine.rules() if '"others"' in line]
    box = scene.ground.published(network="near", p9001="80/tcp")
    scene.daemon.sigkill()
    scene.restart()
    scene.ground.remove(box)
    assert [line for line in machine.rules() if '"others"' in line] == others
    machine.run("nft", "delete table inet others")
    scene.assert_settled()


def test_rules_that_someone_flushed_are_back_at_the_next_start(scene: Scene) -> None:
    scene.daemon.sigkill()
    scene.ground.machine.run("nft", "flush ruleset")
    scene.restart()
    scene.assert_settled()


@pytest.mark.parametrize("alive", [True, False], ids=["with a daemon", "without"])
def test_a_shim_is_killed(scene: Scene, alive: bool) -> None:
    """Its container ends with it, and all that it had of the network is free."""
    box = scene.ground.published(network="near", p9001="80/tcp")
    shim = shim_of(scene.daemon, box.id)
    if not alive:
        scene.daemon.sigkill()
    os.kill(shim.pid, signal.SIGKILL)
    wait_gone(shim)
    if not alive:
        scene.restart()
    scene.ground.api.wait(box.id)
    wait_gone(box.init)
    again = scene.ground.published(network="near", p9001="80/tcp")
    assert ask(scene.ground.neighbour, scene.ground.machine.ip4, 9001).name == again.name
    for each in (box, again):
        scene.ground.remove(each)
    scene.assert_settled()


def _changes(daemon: AiodDaemon, name: str, chance: random.Random, end: threading.Event) -> None:
    """Change one container's networks, at random, until the daemon is gone; no answer is 500."""
    verbs = [
        ("POST", f"/containers/{name}/start", None),
        ("POST", f"/containers/{name}/kill", None),
        ("POST", "/networks/far/connect", {"Container": name}),
        ("POST", "/networks/far/disconnect", {"Container": name, "Force": True}),
        ("POST", f"/containers/{name}/restart?t=0", None),
    ]
    with contextlib.suppress(OSError, http.client.HTTPException), daemon.api() as api:
        while not end.is_set():
            method, path, body = chance.choice(verbs)
            reply = api.send(method, path, body)
            assert reply.status < 500 or "is not connected" in reply.message, reply.message


def test_killed_at_random_instants(scene: Scene) -> None:
    """While three containers start, end, and go in and out of networks at once."""
    ground, chance = scene.ground, random.Random(4)
    ground.network(**definition("far"))
    names = [ground.published_later("near", f"90{number:02}") for number in range(1, 4)]
    for _ in range(6):
        stop = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            work = [
                pool.submit(_changes, scene.daemon, name, random.Random(chance.random()), stop)
                for name in names
            ]
            stop.wait(chance.uniform(0.05, 0.4))  # of a moment, nothing announces itself
            scene.daemon.sigkill()
            stop.set()
        for one in work:
            one.result()
        scene.assert_answering()
        scene.restart()
    for name in names:
        ground.api.remove(name)
    scene.assert_all_free("far", FREE + 1)
    ground.api.call("DELETE", "/networks/far")
    scene.assert_settled()


def test_two_hundred_on_one_network(own_site: Site) -> None:
    """All have addresses of their own; no daemon runs as they end, and all addresses return."""
    daemon = own_site.daemon
    taken = {f"aux{number}": f"10.92.0.{number}" for number in range(201, 254)}
    pool = {"Subnet": "10.92.0.0/24", "Gateway": "10.92.0.254", "AuxiliaryAddresses": taken}
    with Playground(own_site) as ground:
        ground.network(Name="crowd", IPAM={"Config": [pool]})
        before = ground.machine.trace()
        names = [ground.create("crowd") for _ in range(201)]
        last = names.pop()

        def start(name: str) -> str:
            with daemon.api() as api:
                api.start(name)
                return str(api.inspect(name)["NetworkSettings"]["Networks"]["crowd"]["IPAddress"])

        def remove(name: str) -> None:
            with daemon.api() as api:
                api.remove(name)

        def start_all() -> None:
            with ThreadPoolExecutor(8) as workers:
                addresses = set(workers.map(start, names))
            assert addresses == {f"10.92.0.{number}" for number in range(1, 201)}
            with pytest.raises(ApiError, match="no available IPv4 addresses"):
                ground.api.start(last)
            assert set(ground.members("crowd").values()) == addresses

        start_all()
        inits = [Identity.of(ground.api.state(name)["Pid"]) for name in names]
        daemon.sigkill()
        for init in inits:
            os.kill(init.pid, signal.SIGKILL)
        for init in inits:
            wait_gone(init)
        daemon.restart()
        ground.api.close()
        for name in names:
            ground.api.wait(name)  # the last of the shims may still have been about to tell
        assert ground.members("crowd") == {}
        ground.assert_as(before)
        start_all()
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(remove, [*names, last]))
        ground.assert_as(before)
        leaks.assert_none(daemon)
