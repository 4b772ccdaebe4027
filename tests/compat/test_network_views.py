"""What is told of networks and of who is on them: lists, inspections, events, beside dockerd."""

import contextlib
import json
import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.playground import Playground, Site

Fields = dict[str, Any]
CONFIG = {
    "IPAM": {
        "Driver": "default",
        "Options": {"x": "y"},
        "Config": [
            {
                "Subnet": "10.85.0.0/24",
                "IPRange": "10.85.0.128/25",
                "Gateway": "10.85.0.1",
                "AuxiliaryAddresses": {"router": "10.85.0.2"},
            },
            {"Subnet": "fd85::/64", "Gateway": "fd85::1"},
        ],
    },
    "EnableIPv6": True,
    "Internal": True,
    "Attachable": True,
    "Options": {"com.docker.network.driver.mtu": "1400", "com.example": "z"},
    "Labels": {"suite": "views", "empty": ""},
}
# Fields that dockerd 20.10 does not have, and what an engine chooses itself.
LATER = {"EnableIPv4"}
OWN = {"Id", "Created", "Name"}


@pytest.fixture
def both(site: Site, dockerd_site: Site) -> Iterator[list[Playground]]:
    """Networks and containers of the test's own: of the engine under test, and of dockerd."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(Playground(each)) for each in dict.fromkeys((site, dockerd_site))
        ]


def shown(api: Api, network: str) -> Fields:
    found: Fields = api.call("GET", f"/networks/{network}")
    return {key: value for key, value in found.items() if key not in LATER | OWN}


def test_an_inspection_has_all_that_was_asked_for(both: list[Playground]) -> None:
    found = [shown(each.api, each.network(**CONFIG)) for each in both]
    assert found[0] == found[-1]
    assert found[0]["IPAM"] == CONFIG["IPAM"]


def test_built_in_networks_are_dockers(both: list[Playground]) -> None:
    for name in ("none", "host"):
        assert shown(both[0].api, name) == shown(both[-1].api, name)
    bridges = [shown(each.api, "bridge") for each in both]
    for found in bridges:
        found["Options"].pop("com.docker.network.bridge.name")
        assert found.pop("IPAM")["Config"][0]["Subnet"].endswith("/16")
        for chosen in ("Containers", "EnableIPv6"):  # of this one dockerd, by a flag
            found.pop(chosen)
    assert bridges[0] == bridges[-1]
    again = both[0].api.call("GET", "/networks/bridge")
    assert again == both[0].api.call("GET", f"/networks/{again['Id'][:12]}")


def test_who_is_on_a_network(both: list[Playground]) -> None:
    for each in both:
        network = each.network(**CONFIG)
        box = each.run(network)
        end = box.endpoint(network)
        found = each.api.call("GET", f"/networks/{network}")["Containers"]
        assert found == {
            box.id: {
                "Name": box.name,
                "EndpointID": end["EndpointID"],
                "MacAddress": end["MacAddress"],
                "IPv4Address": f"{end['IPAddress']}/24",
                "IPv6Address": f"{end['GlobalIPv6Address']}/64",
            }
        }
        # a list does not say who is there
        (listed,) = each.api.call("GET", "/networks", filters=json.dumps({"name": [network]}))
        assert listed["Containers"] == {}


def test_who_is_on_the_hosts_network_and_on_none(both: list[Playground]) -> None:
    for each in both:
        for mode in ("host", "none"):
            box = each.start(each.create(mode), answers=False)
            found = each.api.call("GET", f"/networks/{mode}")["Containers"][box.id]
            assert found.pop("EndpointID") == box.endpoint(mode)["EndpointID"] != ""
            assert found == {
                "Name": box.name, "MacAddress": "", "IPv4Address": "", "IPv6Address": "",
            }  # fmt: skip
            each.end(box.id)
            assert box.id not in each.api.call("GET", f"/networks/{mode}")["Containers"]


def end_of(each: Playground, name: str, network: str) -> Fields:
    """What dockerd 20.10 shows, too, without what an engine chooses."""
    path = f"/v1.41/containers/{name}/json"
    found: Fields = each.api.call("GET", path)["NetworkSettings"]["Networks"][network]
    chosen = ("NetworkID", "EndpointID", "MacAddress", "IPAddress", "GlobalIPv6Address")
    later = ("GwPriority", "DNSNames")
    return {key: value for key, value in found.items() if key not in (*chosen, *later)}


def test_what_a_container_has_of_a_network(both: list[Playground]) -> None:
    ends = []
    for each in both:
        network = each.network(**{**CONFIG, "Internal": False})
        asked = {
            "IPAMConfig": {"IPv4Address": "10.85.0.200"},
            "Aliases": ["first", "second"],
            "DriverOpts": {"a": "b"},
        }
        box = each.run(network, endpoint=asked, Hostname="named")
        running = end_of(each, box.name, network)
        names = running.pop("Aliases")
        assert set(names) == {"first", "second", box.id[:12], "named"}
        each.end(box.id)
        stopped = end_of(each, box.name, network)
        stopped.pop("Aliases")
        ends.append((running, stopped))
        assert running["Gateway"] == "10.85.0.1"
        assert running["IPv6Gateway"] == "fd85::1"
    assert ends[0] == ends[-1]


def test_the_single_addresses_are_those_of_the_default_network(both: list[Playground]) -> None:
    for each in both:
        box = each.run("bridge")
        settings = each.api.inspect(box.id)["NetworkSettings"]
        end = settings["Networks"]["bridge"]
        for field in ("IPAddress", "IPPrefixLen", "Gateway", "MacAddress", "EndpointID"):
            assert settings[field] == end[field] != ""
        other = each.api.inspect(each.run(each.network()).id)["NetworkSettings"]
        assert (other["IPAddress"], other["Gateway"], other["EndpointID"]) == ("", "", "")
        assert other["SandboxID"] != settings["SandboxID"] != ""


def test_containers_are_found_by_their_network(both: list[Playground]) -> None:
    for each in both:
        network = each.network()
        box, idle = each.run(network), each.create(network)
        each.run("bridge")
        network_id = each.api.call("GET", f"/networks/{network}")["Id"]
        for value in (network, network_id):
            filters = json.dumps({"network": [value]})
            found = each.api.call("GET", "/containers/json", filters=filters)
            assert [one["Id"] for one in found] == [box.id]
            assert list(found[0]["NetworkSettings"]["Networks"]) == [network]
        filters = json.dumps({"network": [network]})
        found = each.api.call("GET", "/containers/json", filters=filters, all=1)
        assert {one["Names"][0] for one in found} == {f"/{box.name}", f"/{idle}"}


FILTERS: list[tuple[dict[str, list[str]], set[str]]] = [
    ({"name": ["views-a"]}, {"views-a"}),
    ({"name": ["views-"]}, {"views-a", "views-b"}),
    ({"label": ["colour"]}, {"views-a", "views-b"}),
    ({"label": ["colour=red"]}, {"views-a"}),
    ({"label": ["colour=red", "colour=blue"]}, set()),
    ({"driver": ["bridge"], "name": ["views-"]}, {"views-a", "views-b"}),
    ({"driver": ["null"]}, {"none"}),
    ({"type": ["builtin"]}, {"bridge", "host", "none"}),
    ({"type": ["custom"], "name": ["views-b", "host"]}, {"views-b"}),
    ({"scope": ["swarm"]}, set()),
    ({"dangling": ["true"], "name": ["views-"]}, {"views-b"}),
    ({"dangling": ["false"], "name": ["views-"]}, {"views-a"}),
]


def test_filters_of_a_list(both: list[Playground]) -> None:
    for each in both:
        each.run(each.network(Name="views-a", Labels={"colour": "red"}))
        each.network(Name="views-b", Labels={"colour": "blue"})
        for filters, names in FILTERS:
            if each.engine.name == "dockerd" and "dangling" in filters:
                continue  # 20.10 does not look who is on a network when it lists them
            found = each.api.call("GET", "/networks", filters=json.dumps(filters))
            assert {one["Name"] for one in found} == names, (each.engine.name, filters)


def test_a_prune_takes_what_nobody_is_on(both: list[Playground]) -> None:
    for each in both:
        used = each.network(Name="views-used", Labels={"gone": "1"})
        box = each.run(used)
        each.network(Name="views-unused", Labels={"gone": "1"})
        each.network(Name="views-kept")
        filters = json.dumps({"label": ["gone=1"], "until": ["1h"]})
        assert each.api.call("POST", "/networks/prune", filters=filters) == {
            "NetworksDeleted": None
        }
        filters = json.dumps({"label": ["gone=1"]})
        gone = each.api.call("POST", "/networks/prune", filters=filters)
        assert gone == {"NetworksDeleted": ["views-unused"]}
        assert "eth0" in box.namespace.links()


def now() -> str:
    """As clients say it to either engine."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return f"{seconds}.{rest:09}"


def events(each: Playground, since: str, network: str) -> list[tuple[str, Fields]]:
    """The actions on a network since then, with their attributes."""
    filters = json.dumps({"type": ["network"]})
    reply = each.api.send("GET", "/events", since=since, until=now(), filters=filters)
    told = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    actors = [(one["Action"], one["Actor"]["Attributes"]) for one in told]
    return [(action, about) for action, about in actors if about.get("name") in (None, network)]


def test_events(both: list[Playground]) -> None:
    heard = []
    for each in both:
        since = now()
        network = each.network(Name="views-told")
        name = each.create(network)
        box = each.start(name, answers=False)
        each.disconnect(network, name)
        each.connect(network, name)
        each.end(name)
        each.api.remove(box.id)
        each.api.call("DELETE", f"/networks/{network}")
        each.api.call("POST", "/networks/prune", filters=json.dumps({"label": ["nobody"]}))
        told = events(each, since, network)
        for _, about in told:
            if "container" in about:
                assert about["container"] == box.id
                about["container"] = "it"
        heard.append([one for one, _ in groupby(told)])  # 20.10 says some things twice
    assert [action for action, _ in heard[0]] == [
        "create", "connect", "disconnect", "connect", "disconnect", "destroy", "prune",
    ]  # fmt: skip
    assert heard[0] == heard[-1]


def test_several_networks_are_joined_at_create(ground: Playground) -> None:
    """As the API has it since 1.44; dockerd 20.10 refuses it."""
    if ground.engine.name == "dockerd":
        return
    first, second = ground.network(), ground.network()
    asked = {"EndpointsConfig": {second: {"GwPriority": 7, "Aliases": ["b"]}, first: {}}}
    name = ground.create(first, NetworkingConfig=asked)
    box = ground.start(name, answers=False)
    assert box.addresses() == {box.ip4(first), box.ip4(second)}
    networks = ground.api.inspect(box.id)["NetworkSettings"]["Networks"]
    assert list(networks) == [first, second]
    assert networks[second]["DNSNames"] == [name, "b", box.id[:12]]
    (route,) = (one for one in box.namespace.shown("route") if one["dst"] == "default")
    assert route["gateway"] == networks[second]["Gateway"]


def test_a_name_that_begins_several_ids_is_ambiguous(ground: Playground) -> None:
    for _ in range(20):  # more networks than hexadecimal digits
        ground.network(ConfigOnly=True)
    found = [one["Id"][0] for one in ground.api.call("GET", "/networks")]
    prefix = max(found, key=found.count)
    reply = ground.api.send("GET", f"/networks/{prefix}")
    assert (reply.status, "ambiguous" in reply.message) == (400, True), reply.body


def test_a_network_may_be_made_after_the_container_that_is_to_join_it(
    both: list[Playground],
) -> None:
    for each in both:
        later = each.name("later")
        name = each.create(later)
        reply = each.api.send("POST", f"/containers/{name}/start")
        assert (reply.status, reply.message) == (404, f"network {later} not found")
        each.network(Name=later)
        each.connect(later, name)  # as it is to do anyway: it has one end of it
        box = each.start(name, answers=False)
        assert box.addresses() == {box.ip4(later)}
        assert box.namespace.links() == {"lo", "eth0"}
        if each.engine.name == "dockerd":
            continue  # it knows by its id what it has joined once, and never joins another
        # made anew under its name, it is that which is joined
        each.end(name)
        each.api.call("DELETE", f"/networks/{later}")
        assert each.api.send("POST", f"/containers/{name}/start").status == 404
        each.network(Name=later)
        again = each.start(name, answers=False)
        network_id = each.api.call("GET", f"/networks/{later}")["Id"]
        assert again.endpoint(later)["NetworkID"] == network_id
