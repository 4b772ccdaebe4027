"""`/etc/hosts` and `/etc/resolv.conf`, word for word as dockerd writes them."""

import msgspec
import pytest

from aiod.errors import InvalidParameterError
from aiod.native.network.texts import Server
from aiod.networks import hostfiles
from aiod.networks.hostfiles import Ends, HostLine
from aiod.store.models import HostConfig

LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
OF_HOST = """\
# host comment
nameserver 127.0.0.53
nameserver 192.0.2.53
nameserver ::1
search corp.example lab.example
options timeout:1 ndots:3 edns0
"""


def config(**fields: object) -> HostConfig:
    return msgspec.convert(fields, HostConfig)


# ---- hosts ----


@pytest.mark.parametrize(
    ("hostname", "domain", "names"),
    [
        ("h", "", ("h",)),
        ("h", "dom.example", ("h.dom.example", "h")),
        ("h.dom.example", "", ("h.dom.example", "h")),
    ],
)
def test_own_names(hostname: str, domain: str, names: tuple[str, ...]) -> None:
    assert hostfiles.own_names(hostname, domain) == names


def test_hosts() -> None:
    asked = config(ExtraHosts=["a.b:1.2.3.4", "gw:host-gateway", "v6:2001:db8::9", "b:[::5]"])
    link = HostLine("172.17.0.9", ("al", "h9", "other"))
    ends = Ends(("172.17.0.2", "fd00::2"), (link,), gateway="172.17.0.1")
    assert hostfiles.hosts(asked, ("h.d", "h"), ends, "of the host") == LOCAL + (
        "1.2.3.4\ta.b\n172.17.0.1\tgw\n2001:db8::9\tv6\n::5\tb\n"
        "172.17.0.9\tal h9 other\n172.17.0.2\th.d h\nfd00::2\th.d h\n"
    )


def test_the_hosts_own_hold_in_its_network_unless_more_is_asked_for() -> None:
    host = config(NetworkMode="host")
    assert hostfiles.hosts(host, ("h",), Ends(), "of the host\n") == "of the host\n"
    more = config(NetworkMode="host", ExtraHosts=["a:1.1.1.1"])
    assert hostfiles.hosts(more, ("h",), Ends(), "of the host\n") == LOCAL + "1.1.1.1\ta\n"


def test_no_address_for_the_hosts() -> None:
    asked = config(ExtraHosts=["gw:host-gateway"])
    with pytest.raises(InvalidParameterError, match="unable to derive the IP value for host-gate"):
        hostfiles.hosts(asked, ("h",), Ends(), "")


def test_a_change_leaves_what_others_wrote() -> None:
    text = LOCAL + "172.18.0.2\th\n172.18.0.22\tx\n9.9.9.9 mine"
    changed = hostfiles.changed_hosts(text, ["172.18.0.2"], [HostLine("172.19.0.2", ("h",))])
    assert changed == LOCAL + "172.18.0.22\tx\n9.9.9.9 mine\n172.19.0.2\th\n"


# ---- resolv.conf ----

RESOLVED = [
    ({}, "# host comment\nnameserver 192.0.2.53\n"
         "search corp.example lab.example\noptions timeout:1 ndots:3 edns0\n"),
    ({"Dns": ["9.9.9.9"], "DnsSearch": ["x.y"], "DnsOptions": ["timeout:7"]},
     "search x.y\nnameserver 9.9.9.9\noptions timeout:7\n"),
    ({"DnsSearch": ["."]}, "nameserver 192.0.2.53\noptions timeout:1 ndots:3 edns0\n"),
    ({"NetworkMode": "none", "Dns": ["1.1.1.1"]},
     "search corp.example lab.example\nnameserver 1.1.1.1\noptions timeout:1 ndots:3 edns0\n"),
    ({"NetworkMode": "host"}, OF_HOST),
    ({"NetworkMode": "host", "Dns": ["1.1.1.1"], "DnsSearch": ["zz"]},
     "search zz\nnameserver 1.1.1.1\noptions timeout:1 ndots:3 edns0\n"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "text"), RESOLVED)
def test_resolv_conf(asked: dict[str, object], text: str) -> None:
    assert hostfiles.resolv_conf(config(**asked), Ends(), OF_HOST) == text


@pytest.mark.parametrize(
    "of_host", ["", "nameserver 127.0.0.53", "search a\nnameserver ::1\n", "nameserver 127.1.2.3"]
)
def test_a_host_with_servers_on_its_loopback_alone(of_host: str) -> None:
    text = hostfiles.resolv_conf(config(), Ends(), of_host)
    assert text.endswith("nameserver 8.8.8.8\nnameserver 8.8.4.4\n")
    assert hostfiles.settings_of(text).servers == ("8.8.8.8", "8.8.4.4")


RESOLVER = [
    ({}, "search corp.example lab.example\nnameserver 127.0.0.11\n"
         "options timeout:1 ndots:3 edns0\n"),
    ({"Dns": ["9.9.9.9"], "DnsSearch": ["x.y"], "DnsOptions": ["timeout:7"]},
     "search x.y\nnameserver 127.0.0.11\noptions timeout:7 ndots:0\n"),
    ({"DnsOptions": ["ndots:2"]},
     "search corp.example lab.example\nnameserver 127.0.0.11\noptions ndots:2\n"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "text"), RESOLVER)
def test_with_a_resolver(asked: dict[str, object], text: str) -> None:
    assert hostfiles.resolv_conf(config(**asked), Ends(resolver=True), OF_HOST) == text


def test_whom_the_resolver_asks() -> None:
    ends = Ends(resolver=True)
    assert hostfiles.servers(config(), ends, OF_HOST) == (
        Server("127.0.0.53"), Server("192.0.2.53"), Server("::1"),
    )  # fmt: skip
    own = config(Dns=["10.0.0.1", "127.0.0.11"])
    assert hostfiles.servers(own, ends, OF_HOST) == (Server("10.0.0.1", inside=True),)
    assert hostfiles.servers(config(), ends, "")[0] == Server("8.8.8.8")
    assert hostfiles.servers(own, Ends(resolver=True, asks_others=False), OF_HOST) == ()


def test_settings_are_read_as_the_library_reads_them() -> None:
    text = "domain old\n nameserver 1.1.1.1 # one\n;nameserver 2.2.2.2\nsearch a b\noptions x\n"
    found = hostfiles.settings_of(text)
    assert found == hostfiles.Settings(("1.1.1.1",), ("a", "b"), ("x",))


# ---- what is refused ----

REFUSED = [
    ({"ExtraHosts": ["bad"]}, 'bad format for add-host: "bad"'),
    ({"ExtraHosts": [":1.1.1.1"]}, 'bad format for add-host: ":1.1.1.1"'),
    ({"ExtraHosts": ["a:1.2.3"]}, 'invalid IP address in add-host: "1.2.3"'),
    ({"ExtraHosts": ["a\nb:1.2.3.4"]}, "bad format for add-host"),
    ({"Dns": ["bad"]}, "invalid IP address: bad"),
    ({"DnsSearch": ["a b"]}, "invalid dns-search: 'a b'"),
    ({"DnsOptions": ["a\nnameserver 1.1.1.1"]}, "invalid dns-option"),
    ({"NetworkMode": "container:x", "Dns": ["1.1.1.1"]},
     "conflicting options: dns and the network mode"),
    ({"NetworkMode": "container:x", "ExtraHosts": ["a:1.1.1.1"]},
     "conflicting options: custom host-to-IP mapping and the network mode"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "message"), REFUSED)
def test_what_is_no_name_or_address(asked: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        hostfiles.check(config(**asked))
    assert message in refused.value.message
