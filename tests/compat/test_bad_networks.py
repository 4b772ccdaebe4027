"""Networks that cannot be made or joined: aiod answers with the status and words of dockerd.

Nearly every wrong request is made of both, on machines of their own. Releases of dockerd before 25
answer 500 where later ones say 400, and some only at the start what later ones say at the create:
the first answer that refuses is compared.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.http import Api, Reply
from tests.support.playground import Site

Body = dict[str, Any]
SUBNET, TAKEN = "10.61.0.0/24", "10.61.0.7"


def pool(subnet: str, **more: Any) -> Body:
    """The part of a network's body that asks for a pool."""
    return {"IPAM": {"Config": [{"Subnet": subnet, **more}]}}


def option(name: str, value: str) -> Body:
    return {"Options": {name: value}}


BRIDGE, DRIVER = "com.docker.network.bridge.", "com.docker.network.driver."


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong, the status it deserves, and words of the message.

    `old` are dockerd 20.10's words, where later ones have others; None where it refuses nothing.
    """

    title: str
    status: int
    says: str
    body: Body
    old: str | None = ""
    path: str = "/networks/create"
    method: str = "POST"

    @property
    def words(self) -> str | None:
        return self.says if self.old == "" else self.old


def network(title: str, status: int, says: str, old: str | None = "", **body: Any) -> Wrong:
    return Wrong(title, status, says, {"Name": "wrong", "CheckDuplicate": True, **body}, old)


NETWORKS = [
    network("no name", 400, "invalid name", Name="", CheckDuplicate=False),
    network("blank name", 400, "invalid name", Name=" "),
    network("a name that is taken", 409, "network with name known already exists", Name="known"),
    *(
        network(f"the name {name}", 403, f"predefined {name} network", Name=name)
        for name in ("bridge", "host", "none", "default")
    ),
    network("a second host network", 403, 'only one instance of "host"', Driver="host"),
    network("a second null network", 403, 'only one instance of "null"', Driver="null"),
    network("no subnet for a gateway", 400, "nvalid subnet",
            IPAM={"Config": [{"Gateway": "10.1.0.1"}]}),
    network("subnet without length", 400, "nvalid subnet 10.70.0.0", **pool("10.70.0.0")),
    network("subnet of words", 400, "nvalid subnet words", **pool("words")),
    network("too long a prefix", 400, "nvalid subnet 10.70.0.0/33", **pool("10.70.0.0/33")),
    network("bits below the prefix", 400, "it should be 10.70.0.0/16", None,
            **pool("10.70.0.1/16")),
    network("a range outside", 400, "doesn't contain ip-range", None,
            **pool("10.71.0.0/24", IPRange="10.72.0.0/25")),
    network("a range of words", 400, "nvalid ip-range words", "Invalid Address SubPool",
            **pool("10.73.0.0/24", IPRange="words")),
    network("gateway of words", 400, "nvalid gateway", **pool("10.74.0.0/24", Gateway="words")),
    network("gateway outside", 400, "10.1.0.1", **pool("10.75.0.0/24", Gateway="10.1.0.1")),
    network("gateway that is a host's", 400, "ddress already in use",
            **pool("10.76.0.0/24", Gateway="10.76.0.255")),
    network("auxiliary address outside", 400, "10.1.0.1", None,
            **pool("10.77.0.0/24", AuxiliaryAddresses={"router": "10.1.0.1"})),
    network("pool of another network", 403, "Pool overlaps with other one", **pool(SUBNET)),
    network("part of another's pool", 403, "Pool overlaps", **pool("10.61.0.128/25")),
    network("pool around another's", 403, "Pool overlaps", **pool("10.61.0.0/16")),
    network("two pools of a family", 403, "doesn't support multiple subnets",
            IPAM={"Config": [{"Subnet": "10.78.0.0/24"}, {"Subnet": "10.79.0.0/24"}]}),
    network("no boolean for icc", 400, 'ParseBool: parsing "maybe"',
            **option(BRIDGE + "enable_icc", "maybe")),
    network("no boolean for masquerade", 400, 'ParseBool: parsing "maybe"',
            **option(BRIDGE + "enable_ip_masquerade", "maybe")),
    network("no number for the MTU", 400, 'parsing "big"', **option(DRIVER + "mtu", "big")),
    network("negative MTU", 400, "invalid MTU number: -1", **option(DRIVER + "mtu", "-1")),
    network("no address to bind", 400, "nil ip", **option(BRIDGE + "host_binding_ipv4", "words")),
    network("a bridge that is none", 500, "lo", **option(BRIDGE + "name", "lo")),
    network("too long a link", 400, "invalid interface name", "numerical result out of range",
            **option(BRIDGE + "name", "a-name-too-long-for-it")),
    network("unknown macvlan mode", 400, "requested macvlan mode 'x' is not valid",
            Driver="macvlan", Options={"parent": "eth0", "macvlan_mode": "x"}),
    network("unknown ipvlan mode", 400, "requested ipvlan mode 'x' is not valid",
            Driver="ipvlan", Options={"parent": "eth0", "ipvlan_mode": "x"}),
    network("the loopback as parent", 400, "loopback interface is not a valid macvlan parent",
            Driver="macvlan", Options={"parent": "lo"}),
    network("unknown parent", 400, "invalid subinterface vlan name nope", Driver="macvlan",
            Options={"parent": "nope"}),
    network("ingress", 403, "Ingress network can only be global scope network", Ingress=True),
    network("of a swarm", 403, "swarm is not active", Scope="swarm"),
    network("settings of nobody", 404, 'configuration network "nope" does not exist',
            ConfigFrom={"Network": "nope"}),
    network("settings of a real network", 404, 'configuration network "known" does not exist',
            ConfigFrom={"Network": "known"}),
    network("options beside borrowed ones", 403, "network driver options are not supported",
            ConfigFrom={"Network": "lender"}, Options={"a": "b"}),
    network("settings that are borrowed", 403, "cannot depend on another configuration network",
            ConfigFrom={"Network": "lender"}, ConfigOnly=True),
    network("a name that is no text", 400, "", Name=5),
    network("a subnet that is no text", 400, "", IPAM={"Config": [{"Subnet": 5}]}),
    network("a list for options", 400, "", Options=["a"]),
]  # fmt: skip
# dockerd looks for a plugin again and again, for a quarter of a minute: not beside aiod.
LOOKED_FOR = [
    network("unknown driver", 404, 'plugin "nope" not found', Driver="nope"),
    network("unknown address management", 404, 'plugin "nope" not found', IPAM={"Driver": "nope"}),
]
VERBS = [
    Wrong("removal of nothing", 404, "network nope not found", {}, "", "/networks/nope", "DELETE"),
    *(
        Wrong(f"removal of {name}", 403, f"{name} is a pre-defined network and cannot be removed",
              {}, "", f"/networks/{name}", "DELETE")
        for name in ("bridge", "host", "none")
    ),
    Wrong("removal of one in use", 403, "has active endpoints", {}, "", "/networks/known",
          "DELETE"),
    Wrong("inspection of nothing", 404, "network nope not found", {}, "", "/networks/nope", "GET"),
    Wrong("inspection in a swarm", 404, "network known not found", {}, "",
          "/networks/known?scope=swarm", "GET"),
    Wrong("verbosity of words", 400, "invalid value for verbose: x", {}, "",
          "/networks/known?verbose=x", "GET"),
    Wrong("connecting to nothing", 404, "network nope not found", {"Container": "runs"}, "",
          "/networks/nope/connect"),
    Wrong("connecting nobody", 404, "No such container: nope", {"Container": "nope"}, "",
          "/networks/known/connect"),
    Wrong("connecting no one", 400, "invalid name or ID supplied", {}, "",
          "/networks/known/connect"),
    Wrong("connecting twice", 403, "endpoint with name runs already exists in network known",
          {"Container": "runs"}, "", "/networks/known/connect"),
    Wrong("connecting to the host", 400, "container cannot be disconnected from host network",
          {"Container": "runs"}, "", "/networks/host/connect"),
    Wrong("connecting to none", 400, "one of the networks in private (none) mode",
          {"Container": "runs"}, "", "/networks/none/connect"),
    Wrong("connecting one that has none", 400, "one of the networks in private (none) mode",
          {"Container": "bare"}, "", "/networks/known/connect"),
    Wrong("connecting to settings", 403, "configuration-only network", {"Container": "runs"}, "",
          "/networks/lender/connect"),
    Wrong("a taken address", 403, "Address already in use",
          {"Container": "outside", "EndpointConfig": {"IPAMConfig": {"IPv4Address": TAKEN}}}, "",
          "/networks/known/connect"),
    Wrong("an address elsewhere", 400, "does not belong to any of this network's subnets",
          {"Container": "outside", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.1.0.1"}}},
          "", "/networks/known/connect"),
    Wrong("disconnecting from nothing", 404, "network nope not found", {"Container": "runs"}, "",
          "/networks/nope/disconnect"),
    Wrong("disconnecting nobody", 404, "No such container: nope", {"Container": "nope"}, "",
          "/networks/known/disconnect"),
    Wrong("disconnecting nobody by force", 404, "endpoint nope not found",
          {"Container": "nope", "Force": True}, "", "/networks/known/disconnect"),
    Wrong("disconnecting who is not there", 500, "is not connected to network known",
          {"Container": "outside"}, "", "/networks/known/disconnect"),
    Wrong("an unknown filter of a prune", 400, "nvalid filter 'x'", {}, "",
          '/networks/prune?filters={"x":["y"]}'),
    Wrong("no time for a prune", 400, 'failed to parse value as time or duration: "x"', {}, "",
          '/networks/prune?filters={"until":["x"]}'),
    Wrong("an unknown filter of a list", 400, "nvalid filter 'x'", {}, "",
          '/networks?filters={"x":["y"]}', "GET"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Misfit:
    """A container that cannot be: its mode, its end of that network, and the rest."""

    title: str
    status: int
    says: str
    mode: str = "known"
    endpoint: Body = field(default_factory=dict)
    config: Body = field(default_factory=dict)
    host: Body = field(default_factory=dict)

    @property
    def body(self) -> Body:
        asked = {"Image": "base", "Cmd": ["sleep", "1000"], **self.config}
        asked["HostConfig"] = {"NetworkMode": self.mode, **self.host}
        if self.endpoint:
            asked["NetworkingConfig"] = {"EndpointsConfig": {self.mode: self.endpoint}}
        return asked


def at(address: str, family: str = "4") -> Body:
    return {"IPAMConfig": {f"IPv{family}Address": address}}


_ONLY_CONFIGURED = "only when connecting to networks with user configured subnets"
MISFITS = [
    Misfit("unknown network", 404, "network nope not found", "nope"),
    Misfit("settings for others", 403, "configuration-only network", "lender"),
    Misfit("address of words", 400, "invalid IPv4 address: words", endpoint=at("words")),
    Misfit("address of the other family", 400, "invalid IPv4 address: fd00::1",
           endpoint=at("fd00::1")),
    Misfit("address of the other family, IPv6", 400, "invalid IPv6 address: 10.61.0.9",
           endpoint=at("10.61.0.9", "6")),
    Misfit("address elsewhere", 400, "does not belong to any of this network's subnets",
           endpoint=at("10.1.0.1")),
    Misfit("the gateway's address", 403, "Address already in use", endpoint=at("10.61.0.1")),
    Misfit("the network's address", 403, "Address already in use", endpoint=at("10.61.0.0")),
    Misfit("a taken address", 403, "Address already in use", endpoint=at(TAKEN)),
    Misfit("an address of chosen pools", 400, _ONLY_CONFIGURED, "chosen", at("172.18.0.99")),
    Misfit("an IPv6 address without IPv6", 400, _ONLY_CONFIGURED, endpoint=at("fd00::1", "6")),
    Misfit("an address on the default network", 400, "on user defined networks only", "bridge",
           at("172.17.0.99")),
    Misfit("an address on none", 400, "on user defined networks only", "none", at("172.17.0.99")),
    Misfit("an alias on the default network", 400, "network-scoped alias is supported only",
           "bridge", {"Aliases": ["a"]}),
    Misfit("link-local address of words", 400, "Invalid link-local IP address: [words]",
           endpoint={"IPAMConfig": {"LinkLocalIPs": ["words"]}}),
    Misfit("MAC address of words", 400, "address words: invalid MAC address",
           config={"MacAddress": "words"}),
    Misfit("a MAC address on the host's network", 400, "mac-address and the network mode", "host",
           config={"MacAddress": "02:42:0a:3d:00:07"}),
    Misfit("links on the host's network", 400, "host type networking can't be used with links",
           "host", host={"Links": ["runs:r"]}),
    Misfit("links in another's network", 400, "container type network can't be used with links",
           "container:runs", host={"Links": ["runs:r"]}),
    Misfit("a host's name in another's network", 400, "hostname and the network mode",
           "container:runs", config={"Hostname": "h"}),
    Misfit("a MAC address in another's network", 400, "mac-address and the network mode",
           "container:runs", config={"MacAddress": "02:42:0a:3d:00:07"}),
    Misfit("DNS in another's network", 400, "dns and the network mode", "container:runs",
           host={"Dns": ["192.0.2.2"]}),
    Misfit("hosts in another's network", 400, "custom host-to-IP mapping and the network mode",
           "container:runs", host={"ExtraHosts": ["a:192.0.2.2"]}),
    Misfit("ports in another's network", 400, "port publishing and the container type",
           "container:runs", host={"PortBindings": {"80/tcp": [{}]}}),
    Misfit("exposed ports in another's network", 400, "port exposing and the container type",
           "container:runs", config={"ExposedPorts": {"80/tcp": {}}}),
    Misfit("the network of nobody in particular", 400, "invalid container format", "container:"),
    Misfit("the network of an unknown container", 404, "No such container: nope",
           "container:nope"),
    Misfit("the network of one that does not run", 409, "cannot join network of a non running",
           "container:idle"),
]  # fmt: skip


def _prepare(api: Api) -> None:
    def make(**body: Any) -> None:
        api.call("POST", "/networks/create", {"CheckDuplicate": True, **body})

    make(Name="known", **pool(SUBNET))
    make(Name="chosen")
    make(Name="lender", ConfigOnly=True)

    def create(name: str, mode: str, **endpoint: Any) -> str:
        networking = {"EndpointsConfig": {mode: endpoint}} if endpoint else {}
        host = {"NetworkMode": mode}
        return api.create(
            name, Image="base", Cmd=["sleep", "1000"], HostConfig=host, NetworkingConfig=networking
        )

    api.start(create("runs", "known", **at(TAKEN)))
    api.start(create("bare", "none"))
    api.start(create("outside", "chosen"))
    create("idle", "known")


def _clean_up(api: Api) -> None:
    for name in ("runs", "bare", "outside", "idle", "misfit"):
        api.send("DELETE", f"/containers/{name}", force=1)
    for name in ("known", "chosen", "lender", "wrong"):
        api.send("DELETE", f"/networks/{name}")


@pytest.fixture(scope="module")
def both(site: Site, dockerd_site: Site) -> Iterator[dict[str, Api]]:
    """The engine under test, and dockerd, with the same networks and containers."""
    found = {each.engine.name: each.engine.api() for each in (site, dockerd_site)}
    try:
        for api in found.values():
            _prepare(api)
        yield found
    finally:
        for api in found.values():
            _clean_up(api)
            api.close()


@pytest.fixture(scope="module", autouse=True)
def looked_for(site: Site, both: dict[str, Api]) -> Iterator[dict[str, Future[Reply]]]:
    """What the engine looks for while the other tests run."""
    with ThreadPoolExecutor(len(LOOKED_FOR)) as pool:
        yield {case.title: pool.submit(_ask, site.engine, case) for case in LOOKED_FOR}


def _ask(engine: Engine, case: Wrong) -> Reply:
    with engine.api() as api:
        return api.send(case.method, case.path, case.body)


def _check(name: str, reply: Reply, status: int, words: str | None) -> None:
    allowed = {status, 500} if name == "dockerd" and status == 400 else {status}
    if words is None:
        return
    assert reply.status in allowed, (name, reply.status, reply.body)
    assert words in reply.message, (name, reply.message)


@pytest.mark.parametrize("case", [*NETWORKS, *VERBS], ids=lambda case: case.title.replace(" ", "-"))
def test_refused(both: dict[str, Api], case: Wrong) -> None:
    for name, api in both.items():
        reply = api.send(case.method, case.path, case.body if case.method == "POST" else None)
        try:
            _check(name, reply, case.status, case.words if name == "dockerd" else case.says)
        finally:
            if reply.status == 201:
                api.call("DELETE", f"/networks/{reply.json()['Id']}")


@pytest.mark.parametrize("case", MISFITS, ids=lambda case: case.title.replace(" ", "-"))
def test_a_container_that_cannot_be(both: dict[str, Api], case: Misfit) -> None:
    for name, api in both.items():
        reply = api.send("POST", "/containers/create", case.body, name="misfit")
        try:
            if reply.status == 201:
                reply = api.send("POST", "/containers/misfit/start")
            _check(name, reply, case.status, case.says)
        finally:
            api.send("DELETE", "/containers/misfit", force=1)


@pytest.mark.parametrize("case", LOOKED_FOR, ids=lambda case: case.title.replace(" ", "-"))
def test_a_driver_that_there_is_none_of(
    site: Site, looked_for: dict[str, Future[Reply]], case: Wrong
) -> None:
    """Only the engine under test is asked: dockerd takes a quarter of a minute."""
    _check(site.engine.name, looked_for[case.title].result(), case.status, case.says)


def test_refusals_leave_nothing(both: dict[str, Api]) -> None:
    """After all of them there are the networks that were made before, and their containers."""
    for api in both.values():
        found = {one["Name"] for one in api.call("GET", "/networks")}
        assert {"known", "chosen", "lender"} <= found
        assert "wrong" not in found
        inside = api.call("GET", "/networks/known")["Containers"].values()
        assert {one["Name"] for one in inside} == {"runs"}


def test_a_network_that_the_kernel_refuses_leaves_no_link(aiod_site: Site) -> None:
    """dockerd 20.10 leaves one."""
    before = aiod_site.machine.links()
    with aiod_site.engine.api() as api:
        body = {"Name": "wrong", "EnableIPv6": True, "CheckDuplicate": True}
        for more in (pool("::/0"), option(DRIVER + "mtu", "10")):
            reply = api.send("POST", "/networks/create", {**body, **more})
            assert reply.status == 500, reply.body
            assert aiod_site.machine.links() == before
