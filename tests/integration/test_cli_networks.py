"""Networks and ports by the command line: made, joined, shown and removed."""

import json
from collections.abc import Iterator

import pytest

from tests.support.command import Aiod
from tests.support.engine import eventually
from tests.support.playground import Site

FOREVER = ("sleep", "1000000")
SERVE = ("sh", "-c", "echo by the port > /index.html; exec httpd -f -p 80 -h /")


@pytest.fixture
def cli(aiod_site: Site) -> Iterator[Aiod]:
    command = Aiod(aiod_site.engine)
    yield command
    command.remove_all()
    for name in command.ok("network", "ls", "-q", "--filter", "type=custom").split():
        command.ok("network", "rm", name)


def run(cli: Aiod, *flags: str, command: tuple[str, ...] = FOREVER) -> str:
    name = cli.name()
    cli.ok("run", "-d", "--name", name, *flags, "base", *command)
    return name


def networks(cli: Aiod, name: str) -> dict[str, dict[str, object]]:
    """A container's ends of networks."""
    (shown,) = json.loads(cli.ok("inspect", name))
    found: dict[str, dict[str, object]] = shown["NetworkSettings"]["Networks"]
    return found


def test_a_networks_life(cli: Aiod) -> None:
    subnets = ("--subnet", "10.91.0.0/24", "--gateway", "10.91.0.9", "--subnet", "fd91::/64")
    options = ("--ipv6", "--aux-address", "printer=10.91.0.7", "--label", "a=b")
    made = cli.ok("network", "create", *subnets, *options, "web").strip()
    (shown,) = json.loads(cli.ok("network", "inspect", "web"))
    assert (shown["Id"], shown["Labels"], shown["EnableIPv6"]) == (made, {"a": "b"}, True)
    first, second = shown["IPAM"]["Config"]
    assert first["AuxiliaryAddresses"] == {"printer": "10.91.0.7"}
    assert first["Gateway"] == "10.91.0.9"
    assert second["Subnet"] == "fd91::/64"
    assert json.loads(cli.ok("inspect", "web")) == [shown]
    title, row = cli.ok("network", "ls", "-f", "label=a=b").splitlines()
    assert title.split("  ")[0] == "NETWORK ID"
    assert row.split() == [made[:12], "web", "bridge", "local"]
    assert cli.ok("network", "ls", "-q", "--no-trunc", "-f", "name=web") == f"{made}\n"
    assert cli.ok("network", "rm", "web") == "web\n"
    assert "no such network: web" in cli.fails("network", "inspect", "web")
    assert "network web not found" in cli.fails("network", "rm", "web")
    assert cli.ok("network", "rm", "-f", "web") == ""


def test_every_engine_has_three(cli: Aiod) -> None:
    names = [row.split()[1] for row in cli.ok("network", "ls").splitlines()[1:]]
    assert names == ["bridge", "host", "none"]
    assert set(networks(cli, run(cli))) == {"bridge"}


def test_joining_and_leaving(cli: Aiod) -> None:
    for name in ("one", "two"):
        cli.ok("network", "create", name)
    box = run(cli, "--network", "one")
    cli.ok("network", "connect", "--alias", "other", "two", box)
    ends = networks(cli, box)
    assert set(ends) == {"one", "two"}
    assert "other" in str(ends["two"]["Aliases"])
    assert "has active endpoints" in cli.fails("network", "rm", "two")
    cli.ok("network", "disconnect", "two", box)
    assert set(networks(cli, box)) == {"one"}
    assert cli.ok("network", "prune", "-f") == "two\n"
    assert "use --force" in cli.fails("network", "prune")


def test_the_ends_that_run_asks_for(cli: Aiod) -> None:
    cli.ok("network", "create", "--subnet", "10.92.0.0/24", "one")
    cli.ok("network", "create", "--subnet", "10.93.0.0/24", "two")
    plain = ("--network", "one", "--network-alias", "web", "--ip", "10.92.0.50")
    hosts = ("--add-host", "elsewhere:10.0.0.1", "--hostname", "own")
    box = run(cli, *plain, *hosts, "--network", "name=two,ip=10.93.0.60,alias=db")
    ends = networks(cli, box)
    assert ends["one"]["IPAddress"] == "10.92.0.50"
    assert ends["two"]["IPAddress"] == "10.93.0.60"
    other = run(cli, "--network", "one", "--mac-address", "02:42:0a:5c:00:63")
    assert networks(cli, other)["one"]["MacAddress"] == "02:42:0a:5c:00:63"
    assert "10.92.0.50" in cli.ok("exec", other, "nslookup", "-type=a", "web")
    assert "10.0.0.1\telsewhere" in cli.ok("exec", box, "cat", "/etc/hosts")
    inside = cli.ok("run", "--rm", "--network", f"container:{box}", "base", "hostname")
    assert inside == "own\n"


def test_ports(cli: Aiod, aiod_site: Site) -> None:
    ports = ("-p", "18080:80", "-p", "127.0.0.1:19000-19001:9000-9001/udp", "--expose", "7000")
    box = run(cli, *ports, command=SERVE)
    assert cli.ok("port", box).splitlines() == [
        "80/tcp -> 0.0.0.0:18080",
        "80/tcp -> [::]:18080",
        "9000/udp -> 127.0.0.1:19000",
        "9001/udp -> 127.0.0.1:19001",
    ]
    assert cli.ok("port", box, "9001/udp") == "127.0.0.1:19001\n"
    assert json.loads(cli.ok("port", "--json", box, "7000"))["7000/tcp"] is None
    assert "no public port '81/tcp' published" in cli.fails("port", box, "81")
    row = cli.ok("ps", "--filter", f"name={box}").splitlines()[1]
    assert "0.0.0.0:18080->80/tcp, [::]:18080->80/tcp" in row
    assert "7000/tcp" in row
    cli.ok(
        "exec", box, "sh", "-c", "until wget -q -O /dev/null http://127.0.0.1; do sleep 0.05; done"
    )
    url = f"http://{aiod_site.machine.ip4}:18080/index.html"
    assert aiod_site.neighbour.run("curl", "-sf", "--max-time", "20", url) == "by the port\n"


def test_a_port_that_is_taken(cli: Aiod) -> None:
    run(cli, "-p", "18081:80")
    asked = ("run", "--name", cli.name(), "-d", "-p", "18081:80", "base", *FOREVER)
    assert "port is already allocated" in cli.fails(*asked, status=125)


def test_what_cannot_be_meant(cli: Aiod) -> None:
    for arguments, words in (
        (("run", "-p", "1-2:1-4", "base"), "invalid ranges"),
        (("run", "-p", "80:70000", "base"), "invalid containerPort: 70000"),
        (("run", "--network", "n", "--network", "n", "base"), "specified multiple times"),
        (("run", "--dns", "x", "base"), "IP address is not correctly formatted"),
        (("network", "create", "--gateway", "10.1.0.1", "n"), "corresponding subnet"),
    ):
        assert words in cli.fails(*arguments, status=125)
    assert "network nowhere not found" in cli.fails(
        "run", "--rm", "--network", "nowhere", "base", "true", status=125
    )
    assert "unknown" in cli.fails("network", "create", "--driver", "unknown", "n")


def test_names_are_completed(cli: Aiod) -> None:
    cli.ok("network", "create", "webnet")
    box = run(cli)

    def completed(words: str) -> list[str]:
        count = len(words.split(" ")) - 1
        done = cli(_AIOD_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    def come(words: str, names: list[str]) -> None:
        """An engine that does not answer soon has no names: it is asked again."""
        eventually(lambda: completed(words), lambda found: found == names)

    come("aiod network inspect we", ["webnet"])
    come(f"aiod network connect webnet {box}", [box])
    come("aiod run --network w", ["webnet"])
    come(f"aiod run --network container:{box}", [f"container:{box}"])
    assert completed("aiod run --network h") == ["host"]
    assert "connect" in completed("aiod network c")
    nobody = cli(
        _AIOD_COMPLETE="bash_complete", COMP_WORDS="aiod network rm ", COMP_CWORD="3",
        AIOD_HOST="unix:///nowhere.sock",
    )  # fmt: skip
    assert (nobody.returncode, nobody.stdout.strip(), nobody.stderr) == (0, "", "")
