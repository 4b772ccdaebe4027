"""What older versions of the API have otherwise: the rows, and what each makes of its subject."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import aiod.api
from aiod.api import versions
from aiod.api.history import changes, conduct, parameters, replies, requests
from aiod.api.history.change import Change, Rules
from aiod.api.history.requests import CREATE, UPDATE, Create, ExecStart, Gone, Update
from aiod.api.render import HostSummary, NetworkSummary, Summary
from aiod.api.versions import LATEST, OLDEST, Version
from aiod.errors import InvalidParameterError
from aiod.networks.requests import NetworkRequest
from aiod.store.models import (
    ContainerConfig,
    EndpointSettings,
    ExecConfig,
    HostConfig,
    Mount,
    NetworkingConfig,
)
from tests.support.routes import known_routes

MAC = "02:42:ac:11:00:02"
SYSCTLS = "com.docker.network.endpoint.sysctls"
ROWS = list(changes())


def before(version: Version) -> Version:
    return version[0], version[1] - 1


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("", LATEST), ("1.24", (1, 24)), ("1.51", (1, 51)), ("1.30", (1, 30)), ("1.51.0", (1, 51)),
        ("1.40.9", (1, 40)), ("01.030", (1, 30)),
    ],
)  # fmt: skip
def test_a_version_is_chosen(asked: str, meant: Version) -> None:
    assert versions.chosen(asked) == meant


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("1.52", "new"), ("1.51.1", "new"), ("2", "new"), ("2.0", "new"), ("99999.1", "new"),
        ("9" * 5000, "new"), ("1.23", "old"), ("1", "old"), ("1.", "old"), (".", "old"),
        ("1..24", "old"), ("0.99", "old"), ("1.23.9", "old"),
    ],
)  # fmt: skip
def test_a_version_out_of_range_is_named(asked: str, problem: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"client version .* is too {problem}") as told:
        versions.chosen(asked)
    assert f"client version {asked} is" in told.value.message


@pytest.mark.parametrize(
    ("path", "asked", "rest"),
    [
        ("/v1.24/info", "1.24", "/info"), ("/info", "", "/info"), ("/v1.24", "1.24", ""),
        ("/vfoo/info", "", "/vfoo/info"), ("/v1.24x/info", "", "/v1.24x/info"),
        ("/v./info", ".", "/info"), ("/V1.24/info", "", "/V1.24/info"),
    ],
)  # fmt: skip
def test_a_path_says_its_version(path: str, asked: str, rest: str) -> None:
    assert versions.split(path) == versions.Target(asked, rest)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{versions.text(row.since)} {row.says}")
def test_a_row_says_what_and_where(row: Change) -> None:
    assert OLDEST < row.since <= LATEST
    assert row.says.endswith(".")
    assert row.source
    for place in row.where.split(", "):
        assert place.partition("?")[0].partition(":")[0] in known_routes()


def test_answers_go_back_step_by_step() -> None:
    for rules in replies.ALL:
        since = [row.since for row in rules]
        assert since == sorted(since, reverse=True)


def test_nobody_else_knows_versions() -> None:
    """A pair of numbers that could be a version, elsewhere in the API, is a row that is missing."""
    directory = Path(aiod.api.__file__).parent
    found = [
        f"{path.name}:{node.lineno}"
        for path in directory.glob("*.py")
        if path.name != "versions.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Tuple) and [getattr(e, "value", None) for e in node.elts[:1]] == [1]
        and len(node.elts) == 2 and OLDEST[1] <= getattr(node.elts[1], "value", 0) <= LATEST[1]
    ]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("row", parameters.PARAMETERS, ids=lambda row: f"{row.route} {row.name}")
def test_a_parameter_comes_and_goes(row: parameters.Parameter) -> None:
    if row.since > OLDEST:
        assert row.name in parameters.unknown(row.route, before(row.since))
        assert row.name not in parameters.unknown(row.route, row.since)
    else:
        assert row.name not in parameters.unknown(row.route, before(row.until))
        assert row.name in parameters.unknown(row.route, row.until)


@pytest.mark.parametrize("row", conduct.ALL, ids=lambda row: row.says)
def test_conduct_changes_once(row: Change) -> None:
    assert row.holds(row.since)
    assert row.holds(LATEST)
    assert not row.holds(before(row.since))


def create(*, gone: int = 0, ends: Any = None, config: Any = None, **host: Any) -> Create:
    return Create(
        msgspec.convert({"Image": "base", **(config or {})}, ContainerConfig),
        msgspec.convert(host, HostConfig),
        NetworkingConfig(msgspec.convert(ends, dict[str, EndpointSettings]) if ends else None),
        Gone(gone),
    )


def mount(**fields: Any) -> Any:
    return [{"Target": "/x", "Source": "/y", **fields}]


def options(asked: Create) -> Mount:
    return asked.mounts[0]


BIND = {"NonRecursive": True, "CreateMountpoint": True}
PASSED_OVER: list[tuple[Version, Create, Callable[[Create], object], object, object]] = [
    ((1, 25), create(AutoRemove=True), lambda a: a.host.AutoRemove, False, True),
    ((1, 40), create(), lambda a: a.host.IpcMode, "shareable", ""),
    ((1, 40), create(IpcMode="none"), lambda a: a.host.IpcMode, "none", "none"),
    ((1, 40), create(KernelMemoryTCP=5), lambda a: a.host.KernelMemoryTCP, msgspec.UNSET, 5),
    ((1, 40), create(Mounts=mount(Type="bind", BindOptions=BIND)),
     lambda a: getattr(options(a).BindOptions, "NonRecursive", None), False, True),
    ((1, 42), create(Mounts=mount(Type="bind", BindOptions=BIND)),
     lambda a: getattr(options(a).BindOptions, "CreateMountpoint", None), False, True),
    ((1, 42), create(Mounts=mount(Type="tmpfs", VolumeOptions={"NoCopy": True})),
     lambda a: options(a).VolumeOptions is None, True, False),
    ((1, 42), create(Mounts=mount(Type="bind", VolumeOptions={"NoCopy": True})),
     lambda a: options(a).VolumeOptions is None, False, False),
    ((1, 42), create(Mounts=mount(Type="volume", TmpfsOptions={"Mode": 1})),
     lambda a: options(a).TmpfsOptions is None, True, False),
    ((1, 42), create(ConsoleSize=[1, 2]), lambda a: a.host.ConsoleSize, None, [1, 2]),
    ((1, 42), create(gone=5), lambda a: len(a.warnings), 1, 0),
    ((1, 43), create(Annotations={"a": "b"}), lambda a: a.host.Annotations, msgspec.UNSET,
     {"a": "b"}),
    ((1, 44), create(config={"Healthcheck": {"Test": ["CMD", "a"], "StartInterval": 7}}),
     lambda a: getattr(a.config.Healthcheck, "StartInterval", None), 0, 7),
    ((1, 44), create(), lambda a: a.read_only_below, False, True),
    ((1, 44), create(ends={"n": {"MacAddress": MAC, "Aliases": ["a"]}}),
     lambda a: (a.endpoints["n"].MacAddress, a.endpoints["n"].Aliases), ("", ["a"]),
     (MAC, ["a"])),
    ((1, 44), create(config={"MacAddress": MAC}), lambda a: len(a.warnings), 0, 1),
    ((1, 44), create(config={"MacAddress": MAC}, NetworkMode="host"), lambda a: len(a.warnings),
     0, 0),
    ((1, 48), create(ends={"n": {"GwPriority": 3}}), lambda a: a.endpoints["n"].GwPriority, 0, 3),
    ((1, 48), create(VolumeDriver="local", Mounts=mount(Type="volume")),
     lambda a: len(a.warnings), 0, 1),
    ((1, 48), create(VolumeDriver="local", Mounts=mount(
        Type="volume", VolumeOptions={"DriverConfig": {"Name": "local"}})),
     lambda a: len(a.warnings), 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("since", "asked", "look", "old", "new"), PASSED_OVER)
def test_a_create_is_heard_as_its_version_has_it(
    since: Version, asked: Create, look: Callable[[Create], object], old: object, new: object
) -> None:
    assert look(CREATE.applied(asked, before(since))) == old
    assert look(CREATE.applied(asked, since)) == new


FORCED = {"ReadOnlyForceRecursive": True}
REFUSED: list[tuple[Version, Version, Create, str]] = [
    ((1, 43), (1, 44), create(ends={"b": {}, "a": {}}), "multiple network endpoints: a, b"),
    ((1, 43), (1, 44), create(Mounts=mount(Type="bind", BindOptions=FORCED)),
     "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"),
    ((1, 44), (1, 43), create(config={"MacAddress": MAC}, ends={"n": {}}, NetworkMode="m"),
     "HostConfig.NetworkMode must match the identity of a network"),
    ((1, 44), (1, 45), create(Mounts=mount(Type="volume", VolumeOptions={"Subpath": "a"})),
     "VolumeOptions.Subpath needs API v1.45 or newer"),
    ((1, 47), (1, 46), create(Sysctls={"net.ipv4.conf.eth0.forwarding": "1"}),
     'interface specific sysctl setting "net.ipv4.conf.eth0.forwarding" must be supplied'),
    ((1, 47), (1, 48), create(Mounts=mount(Type="image")),
     'Mount type "Image" needs API v1.48 or newer'),
]  # fmt: skip


@pytest.mark.parametrize(("refusing", "granting", "asked", "says"), REFUSED)
def test_a_create_is_refused_by_the_versions_that_do(
    refusing: Version, granting: Version, asked: Create, says: str
) -> None:
    with pytest.raises(InvalidParameterError, match=says.replace(".", r"\.")):
        CREATE.applied(asked, refusing)
    CREATE.applied(asked, granting)


def test_settings_of_the_first_interface_become_the_networks() -> None:
    name = "net.ipv4.conf.eth0.forwarding"
    given = create(
        Sysctls={name: "1", "kernel.shmmni": "7"},
        NetworkMode="n",
        ends={"n": {"DriverOpts": {SYSCTLS: "own", "a": "b"}}},
    )
    moved = CREATE.applied(given, (1, 46))
    setting = "net.ipv4.conf.IFNAME.forwarding=1"
    assert moved.host.Sysctls == {"kernel.shmmni": "7"}
    assert moved.endpoints["n"].DriverOpts == {SYSCTLS: f"{setting},own", "a": "b"}
    assert moved.warnings == (
        f'Migrated sysctl "{name}" to DriverOpts{{"{SYSCTLS}":"{setting}"}}.',
    )
    alone = CREATE.applied(create(Sysctls={name: "1"}), (1, 46))
    assert alone.host.Sysctls is msgspec.UNSET
    assert alone.endpoints["bridge"].DriverOpts == {SYSCTLS: setting}
    with pytest.raises(InvalidParameterError, match="unable to determine network endpoint"):
        CREATE.applied(create(Sysctls={"net.ipv4.conf.eth1.forwarding": "1"}), (1, 46))
    of_host = create(Sysctls={name: "1"}, NetworkMode="host")
    assert CREATE.applied(of_host, (1, 47)) == of_host


def test_an_update_is_heard_as_its_version_has_it() -> None:
    asked = Update(HostConfig(PidsLimit=5), Gone(7))
    assert UPDATE.applied(asked, (1, 39)).host.PidsLimit is None
    assert UPDATE.applied(asked, (1, 40)).host.PidsLimit == 5
    assert len(UPDATE.applied(asked, (1, 41)).warnings) == 1
    assert UPDATE.applied(asked, (1, 42)).warnings == ()


def test_sizes_and_families_are_heard_as_their_version_has_it() -> None:
    size = ExecConfig(ConsoleSize=[1, 2])
    assert requests.EXEC.applied(size, (1, 41)).ConsoleSize is None
    assert requests.EXEC.applied(size, (1, 42)).ConsoleSize == [1, 2]
    start = ExecStart(ConsoleSize=(1, 2))
    assert requests.EXEC_START.applied(start, (1, 41)).ConsoleSize is None
    assert requests.EXEC_START.applied(start, (1, 42)).ConsoleSize == (1, 2)
    network = NetworkRequest(EnableIPv4=False)
    assert requests.NETWORK.applied(network, (1, 47)).EnableIPv4 is None
    assert requests.NETWORK.applied(network, (1, 48)).EnableIPv4 is False


END = {"Aliases": ["a"], "DNSNames": ["name", "a", "short"]}
CONTAINER = {
    "NetworkSettings": {"Networks": {"n": END, "bridge": {"Aliases": None, "DNSNames": None}}}
}
IMAGE = {"Size": 5, "Config": {"Cmd": ["a"]}}
ROW = {"Size": 5, "Containers": 2, "RepoTags": [], "RepoDigests": []}
INFO = {
    "FirewallBackend": {"Driver": "nftables"}, "KernelVersion": "", "OperatingSystem": "x",
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"], "RegistryConfig": {},
    "ContainerdCommit": {"ID": "a"}, "RuncCommit": {"ID": "b"}, "InitCommit": {"ID": ""},
}  # fmt: skip
Path_ = tuple[str, ...]
ANSWERS: list[tuple[Rules[Any], Any, Version, Path_, Any]] = [
    (replies.CONTAINER, CONTAINER, (1, 45), ("NetworkSettings", "Networks", "n", "Aliases"),
     ["a", "short"]),
    (replies.CONTAINER, CONTAINER, (1, 45), ("NetworkSettings", "Networks", "bridge", "Aliases"),
     None),
    (replies.IMAGE, IMAGE, (1, 50), ("Config", "Hostname"), ""),
    (replies.IMAGE, IMAGE, (1, 50), ("Config", "Cmd"), ["a"]),
    (replies.IMAGE, IMAGE, (1, 45), ("Container",), ""),
    (replies.IMAGE, IMAGE, (1, 45), ("ContainerConfig", "Cmd"), None),
    (replies.IMAGE, IMAGE, (1, 44), ("VirtualSize",), 5),
    (replies.IMAGE, IMAGE, (1, 44), ("Created",), "0001-01-01T00:00:00Z"),
    (replies.IMAGES, ROW, (1, 51), ("Containers",), -1),
    (replies.IMAGES, ROW, (1, 44), ("VirtualSize",), 5),
    (replies.IMAGES, ROW, (1, 43), ("RepoTags",), ["<none>:<none>"]),
    (replies.IMAGE_USAGE, ROW, (1, 44), ("VirtualSize",), 5),
    (replies.IMAGE_USAGE, ROW, (1, 43), ("RepoDigests",), ["<none>@<none>"]),
    (replies.USAGE, {}, (1, 42), ("BuilderSize",), 0),
    (replies.INFO, INFO, (1, 50), ("BridgeNfIptables",), False),
    (replies.INFO, INFO, (1, 50), ("BridgeNfIp6tables",), False),
    (replies.INFO, INFO, (1, 49), ("RuncCommit", "Expected"), "b"),
    (replies.INFO, INFO, (1, 49), ("RegistryConfig", "AllowNondistributableArtifactsCIDRs"), None),
    (replies.INFO, INFO, (1, 49), ("FirewallBackend",), ...),
    (replies.INFO, INFO, (1, 39), ("KernelVersion",), "<unknown>"),
    (replies.INFO, INFO, (1, 39), ("OperatingSystem",), "x"),
    (replies.INFO, INFO, (1, 25), ("ExecutionDriver",), "<not supported>"),
    (replies.INFO, INFO, (1, 25), ("SecurityOptions",), ["seccomp", "cgroupns"]),
]  # fmt: skip


def at(document: Any, path: Path_) -> Any:
    """What is there; `...` for nothing."""
    for name in path:
        document = document.get(name, ...)
        if document is ...:
            break
    return document


@pytest.mark.parametrize(("rules", "latest", "since", "path", "old"), ANSWERS)
def test_an_answer_is_shown_as_its_version_has_it(
    rules: Rules[Any], latest: Any, since: Version, path: Path_, old: Any
) -> None:
    kept = msgspec.to_builtins(latest)
    assert at(replies.shown(rules, latest, before(since)), path) == old
    assert at(replies.shown(rules, latest, OLDEST), path) == old or path == ("SecurityOptions",)
    assert replies.shown(rules, latest, LATEST) is latest
    assert latest == kept, "the latest form was changed"


def test_a_row_of_containers_is_shown_as_its_version_has_it() -> None:
    row = Summary(
        Id="a", Names=("/n",), Image="base", ImageID="b", Command="true", Created=0, Ports=[],
        Labels={}, State="created", Status="Created", HostConfig=HostSummary("n", {"a": "b"}),
        NetworkSettings=NetworkSummary({}), Mounts=[],
    )  # fmt: skip
    assert replies.CONTAINERS.applied(row, (1, 46)) is row
    assert replies.CONTAINERS.applied(row, (1, 45)).HostConfig == HostSummary("n")


def test_a_struct_is_shown_as_a_document() -> None:
    class Shown(msgspec.Struct, rename="pascal"):
        size: int = 5
        repo_tags: tuple[str, ...] = ("a",)
        repo_digests: tuple[str, ...] = ()

    assert replies.shown(replies.IMAGE_USAGE, Shown(), (1, 43)) == {
        "Size": 5, "RepoTags": ("a",), "RepoDigests": (), "VirtualSize": 5,
    }  # fmt: skip
