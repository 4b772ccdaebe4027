"""Every version of the API is answered as dockerd answers it, as far as this dockerd knows it."""

import io
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.engine import Engine, eventually
from tests.support.http import Api, UnixConnection
from tests.support.layertars import layer, member
from tests.support.playground import Site
from tests.support.registry import Registry
from tests.support.shapes import shape, unlike

TAR = {"Content-Type": "application/x-tar"}
PEER = (1, 41)  # what dockerd 20.10 knows
MAC = "02:42:ac:11:00:02"
VERSIONS = ["1.24", "1.30", "1.35", "1.40", "1.41", "1.44", "1.47", "1.51"]


def known(engine: Engine, version: str) -> str:
    """The version, of the cases that this engine can be asked."""
    if engine.name == "dockerd" and tuple(map(int, version.split("."))) > PEER:
        pytest.skip(f"dockerd 20.10 knows versions up to {PEER[0]}.{PEER[1]}")
    return version


@contextmanager
def made(api: Api, **body: Any) -> Iterator[Any]:
    """A created container as the same version shows it, or the refusal; with its `Warnings`."""
    query = {"platform": body.pop("platform")} if "platform" in body else {}
    body.setdefault("HostConfig", {}).setdefault("NetworkMode", "none")
    asked = {"Image": "base", "Cmd": ["true"], **body}
    reply = api.send("POST", "/containers/create", asked, **query)
    if reply.status != 201:
        yield {"refused": (reply.status, reply.message)}
        return
    created = reply.json()
    try:
        yield {**api.inspect(created["Id"]), "Warnings": created["Warnings"]}
    finally:
        api.call("DELETE", f"/containers/{created['Id']}", force="1", v="1")


def at(document: Any, path: str) -> Any:
    """What is at `a.b.0.c`; `...` for nothing."""
    for name in path.split("."):
        try:
            document = document[int(name) if isinstance(document, list | tuple) else name]
        except (KeyError, IndexError, TypeError):
            return ...
    return document


@pytest.mark.parametrize(
    ("asked", "problem"),
    [("{}.1", "new"), ("2.0", "new"), ("9" * 30, "new"), ("1", "old"), ("1.", "old"),
     (".", "old"), ("1..24", "old"), ("1.11", "old")],
)  # fmt: skip
def test_a_version_out_of_range_is_told_the_range(engine: Engine, asked: str, problem: str) -> None:
    with engine.api() as api:
        limits = api.call("GET", "/version")
        asked = asked.format(limits["ApiVersion"])
        reply = api.raw("GET", f"/v{asked}/info")
        beyond = api.raw("GET", f"/v{asked}/none")
    limit = limits["ApiVersion" if problem == "new" else "MinAPIVersion"]
    said = f"client version {asked} is too {problem}. M"
    assert reply.status == 400
    assert reply.message.startswith(said)
    assert f"imum supported API version is {limit}" in reply.message
    assert reply.headers["Api-Version"] == limits["ApiVersion"]
    assert (beyond.status, beyond.message.strip()) == (404, "page not found")


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.40.9", "/v01.041"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_ping_tells_the_newest(engine: Engine, method: str, prefix: str) -> None:
    with engine.api() as api:
        newest = api.call("GET", "/version")["ApiVersion"]
        reply = api.raw(method, f"{prefix}/_ping")
    assert reply.status == 200
    assert reply.headers["Api-Version"] == newest
    assert reply.headers["Ostype"] == "linux"
    assert reply.headers["Docker-Experimental"] == "false"
    assert reply.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    assert reply.headers["Content-Length"] == str(len(reply.body)) == str(2 * (method == "GET"))


HOST = "HostConfig"
BIND = {"Type": "bind", "Source": "/proc", "Target": "/x"}
ENDS = "NetworkingConfig"
Body = dict[str, Any]
CREATES: list[tuple[str, Body, str, Any]] = [
    ("1.24", {HOST: {"AutoRemove": True}}, "HostConfig.AutoRemove", False),
    ("1.25", {HOST: {"AutoRemove": True}}, "HostConfig.AutoRemove", True),
    ("1.39", {}, "HostConfig.IpcMode", "shareable"),
    ("1.40", {}, "HostConfig.IpcMode", "private"),
    ("1.39", {HOST: {"IpcMode": "none"}}, "HostConfig.IpcMode", "none"),
    ("1.39", {HOST: {"KernelMemoryTCP": 1 << 25}}, "Warnings", []),
    ("1.39", {HOST: {"Mounts": [{**BIND, "BindOptions": {"NonRecursive": True}}]}},
     "HostConfig.Mounts.0.BindOptions", {}),
    ("1.40", {HOST: {"Mounts": [{**BIND, "BindOptions": {"NonRecursive": True}}]}},
     "HostConfig.Mounts.0.BindOptions", {"NonRecursive": True}),
    ("1.40", {"platform": "linux/other"}, "Warnings", []),
    ("1.41", {"platform": "linux/other"}, "refused.0", 404),
    ("1.41", {HOST: {"Mounts": [{**BIND, "TmpfsOptions": {"Mode": 1}}]}}, "Warnings", []),
    ("1.41", {HOST: {"Mounts": [{**BIND, "VolumeOptions": {"NoCopy": True}}]}}, "refused.0", 400),
    ("1.42", {HOST: {"Mounts": [{**BIND, "TmpfsOptions": {"Mode": 1}}]}}, "refused.0", 400),
    ("1.41", {HOST: {"Mounts": [{**BIND, "Source": "/none-such",
                                 "BindOptions": {"CreateMountpoint": True}}]}}, "refused.0", 400),
    ("1.41", {HOST: {"Annotations": {"a": "b"}}}, "HostConfig.Annotations", ...),
    ("1.43", {HOST: {"Annotations": {"a": "b"}}}, "HostConfig.Annotations", {"a": "b"}),
    ("1.41", {HOST: {"KernelMemory": 1 << 25}}, "Warnings.1", ...),
    ("1.42", {HOST: {"KernelMemory": 1 << 25}}, "Warnings", []),
    ("1.41", {"Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 10**9}},
     "Config.Healthcheck.StartInterval", ...),
    ("1.44", {"Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 10**9}},
     "Config.Healthcheck.StartInterval", 10**9),
    ("1.41", {ENDS: {"EndpointsConfig": {"none": {}, "other": {}}}}, "refused.0", 400),
    ("1.43", {ENDS: {"EndpointsConfig": {"none": {}, "other": {}}}}, "refused.1",
     "Container cannot be created with multiple network endpoints: none, other"),
    ("1.41", {"MacAddress": MAC}, "Config.MacAddress", MAC),
    ("1.41", {"MacAddress": MAC}, "Warnings", []),
    ("1.44", {"MacAddress": MAC}, "Config.MacAddress", MAC),
    ("1.44", {"MacAddress": MAC}, "Warnings", [
        "The container-wide MacAddress field is now deprecated. "
        "It should be specified in EndpointsConfig instead."]),
    ("1.44", {ENDS: {"EndpointsConfig": {"none": {"MacAddress": MAC}}}}, "Config.MacAddress", MAC),
    ("1.43", {ENDS: {"EndpointsConfig": {"none": {"MacAddress": MAC}}}}, "Config.MacAddress", ...),
    ("1.41", {"MacAddress": MAC, HOST: {"NetworkMode": "host"}}, "refused.1",
     "conflicting options: mac-address and the network mode"),
    ("1.46", {HOST: {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}}}, "HostConfig.Sysctls",
     ...),
    ("1.47", {HOST: {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}}}, "refused.0", 400),
    ("1.47", {HOST: {"Mounts": [{"Type": "image", "Source": "base", "Target": "/x"}]}},
     "refused.1", 'Mount type "Image" needs API v1.48 or newer'),
    ("1.47", {ENDS: {"EndpointsConfig": {"none": {"GwPriority": 3}}}},
     "NetworkSettings.Networks.none.GwPriority", 0),
    ("1.48", {ENDS: {"EndpointsConfig": {"none": {"GwPriority": 3}}}},
     "NetworkSettings.Networks.none.GwPriority", 3),
]  # fmt: skip


@pytest.mark.parametrize(("version", "body", "path", "value"), CREATES)
def test_a_create_is_heard_as_its_version_has_it(
    engine: Engine, version: str, body: Body, path: str, value: object
) -> None:
    body = json.loads(json.dumps(body))
    with engine.api(known(engine, version)) as api, made(api, **body) as shown:
        assert at(shown, path) == value, shown


NAMELESS = ["<none>:<none>"]
SHOWN: list[tuple[str, str, str, Any]] = [
    ("1.24", "/info", "ExecutionDriver", "<not supported>"),
    ("1.24", "/info", "SecurityOptions.0", "seccomp"),
    ("1.25", "/info", "ExecutionDriver", ...),
    ("1.41", "/info", "RuncCommit.Expected", str),
    ("1.41", "/info", "BridgeNfIptables", bool),
    ("1.41", "/info", "FirewallBackend", ...),
    ("1.48", "/info", "RegistryConfig.AllowNondistributableArtifactsCIDRs", None),
    ("1.49", "/info", "RuncCommit", {"ID": ""}),
    ("1.49", "/info", "FirewallBackend.Driver", "nftables"),
    ("1.49", "/info", "RegistryConfig.AllowNondistributableArtifactsCIDRs", ...),
    ("1.50", "/info", "BridgeNfIptables", ...),
    ("1.41", "/images/json", "0.VirtualSize", int),
    ("1.41", "/images/json?shared-size=1", "0.SharedSize", -1),
    ("1.42", "/images/json?shared-size=1", "0.SharedSize", int),
    ("1.44", "/images/json", "0.VirtualSize", ...),
    ("1.41", "/images/json", "0.Containers", -1),
    ("1.50", "/images/json", "0.Containers", -1),
    ("1.51", "/images/json?filters={%22reference%22:[%22base%22]}", "0.Containers", (1).__le__),
    ("1.40", "/images/json?filter=none-such", "0", ...),
    ("1.41", "/images/json?filter=none-such", "0.Id", str),
    ("1.46", "/images/json?manifests=1", "0.Manifests", ...),
    ("1.47", "/images/json?manifests=1", "0.Manifests", list),
    ("1.41", "/images/base/json", "VirtualSize", int),
    ("1.41", "/images/base/json", "Created", str),
    ("1.44", "/images/base/json", "VirtualSize", ...),
    ("1.41", "/images/base/json", "ContainerConfig.Tty", False),
    ("1.45", "/images/base/json", "ContainerConfig", ...),
    ("1.41", "/images/base/json", "Config.Hostname", ""),
    ("1.50", "/images/base/json", "Config.Hostname", ...),
    ("1.51", "/images/base/json", "Config.WorkingDir", ""),
    ("1.47", "/images/base/json?manifests=1", "Manifests", ...),
    ("1.48", "/images/base/json?manifests=1", "Manifests", list),
    ("1.41", "/images/base/history?platform=none-such", "0.Id", str),
    ("1.41", "/system/df", "BuilderSize", 0),
    ("1.41", "/system/df?type=none-such", "LayersSize", int),
    ("1.42", "/system/df", "BuilderSize", ...),
    ("1.42", "/system/df?type=none-such", "message", "unknown object type: none-such"),
    ("1.41", "/system/df", "Images.0.VirtualSize", int),
    ("1.44", "/system/df", "Images.0.VirtualSize", ...),
    ("1.45", "/containers/json?all=1", "0.HostConfig.Annotations", ...),
    ("1.46", "/containers/json?all=1", "0.HostConfig.Annotations", {"a": "b"}),
    ("1.24", "/version", "MinAPIVersion", str),
    ("1.34", "/version", "Components.0.Name", "Engine"),
]  # fmt: skip


@pytest.fixture(scope="module")
def noted(engine: Engine) -> Iterator[None]:
    """One container, with an annotation, which is the only one."""
    with engine.api() as api:
        host = {"Annotations": {"a": "b"}} if engine.name == "aiod" else {}
        container = api.create(Image="base", Cmd=["true"], HostConfig=host)
    yield
    with engine.api() as api:
        api.remove(container)


@pytest.mark.usefixtures("noted")
@pytest.mark.parametrize(("version", "asked", "path", "value"), SHOWN)
def test_an_answer_is_shown_as_its_version_has_it(
    engine: Engine, version: str, asked: str, path: str, value: Any
) -> None:
    with engine.api(known(engine, version)) as api:
        found = at(api.raw("GET", asked).json(), path)
    if isinstance(value, type):
        assert isinstance(found, value)
    elif callable(value):
        assert value(found)
    else:
        assert found == value


PATHS = (
    "/info", "/version", "/containers/json?size=1", "/containers/subject/json?size=1",
    "/containers/subject/top", "/containers/subject/changes", "/exec/{}/json", "/images/json",
    "/images/base/json", "/images/base/history", "/networks/none", "/volumes", "/system/df",
    "/swarm", "/nodes", "/plugins",
)  # fmt: skip


@pytest.fixture(scope="module")
def shapes(engine: Engine, dockerd: Engine) -> dict[Engine, dict[tuple[str, str], Any]]:
    """Of every answer in every version that the peer has: its status, header and fields."""
    return {each: dict(answers(each)) for each in (engine, dockerd)}


def answers(engine: Engine) -> Iterator[tuple[tuple[str, str], Any]]:
    with engine.api() as api, running(api, "sleep", "1000", name="subject") as container:
        exec_id = api.call("POST", f"/containers/{container}/exec", {"Cmd": ["true"]})["Id"]
        for version in PEERS:
            for path in PATHS:
                reply = api.raw("GET", f"/v{version}{path.format(exec_id)}")
                kept = (reply.status, reply.headers["Content-Type"])
                yield (version, path), {"kept": kept, "fields": shape(reply.json())}


PEERS = [f"1.{minor}" for minor in range(24, 42)]


@pytest.mark.parametrize("version", PEERS[:-1])
def test_what_is_otherwise_in_an_old_version_is_so_in_dockerd(
    shapes: dict[Engine, dict[tuple[str, str], Any]], version: str
) -> None:
    differences = [
        {path: set(unlike(found[version, path], found[PEERS[-1], path], path)) for path in PATHS}
        for found in shapes.values()
    ]
    assert differences[0] == differences[-1]


@contextmanager
def running(api: Api, *command: str, **body: Any) -> Iterator[str]:
    container = api.run(*command, **body)
    try:
        yield container
    finally:
        api.remove(container)


@pytest.mark.parametrize(("version", "code"), [("1.41", 7), ("1.42", 5)])
def test_a_signal_to_stop_with(engine: Engine, version: str, code: int) -> None:
    script = "trap 'exit 7' TERM; trap 'exit 5' USR1; echo; while :; do sleep 0.1; done"
    with engine.api(known(engine, version)) as api, running(api, "sh", "-c", script) as container:
        eventually(lambda: api.logs(container), bool)
        api.call("POST", f"/containers/{container}/stop", signal="USR1", t=60)
        assert api.wait(container) == code


@pytest.mark.parametrize(("version", "heard"), [("1.41", False), ("1.42", True)])
def test_the_size_of_an_execs_terminal(engine: Engine, version: str, heard: bool) -> None:
    asked = {"Cmd": ["stty", "size"], "Tty": True, "AttachStdout": True, "ConsoleSize": [33, 77]}
    with engine.api(known(engine, version)) as api, running(api, "sleep", "1000") as container:
        made = api.call("POST", f"/containers/{container}/exec", asked)["Id"]
        start = {"Tty": True, "ConsoleSize": [33, 77]}
        connection = UnixConnection(engine.socket)
        body, headers = json.dumps(start), {"Content-Type": "application/json"}
        connection.request("POST", f"/v{version}/exec/{made}/start", body, headers)
        assert (connection.getresponse().read() == b"33 77\r\n") is heard
        connection.close()


@pytest.mark.parametrize(("version", "can"), [("1.39", True), ("1.40", False)])
def test_who_shares_ipc_unasked(engine: Engine, version: str, can: bool) -> None:
    with engine.api(version) as api, running(api, "sleep", "1000") as donor:
        host = {"IpcMode": f"container:{donor}"}
        with made(api, HostConfig=host) as joining:
            if can:
                api.start(joining["Id"])
                assert api.wait(joining["Id"]) == 0
            elif "Id" in joining:
                assert api.send("POST", f"/containers/{joining['Id']}/start").status >= 400


@pytest.mark.parametrize(("version", "writable"), [("1.41", True), ("1.43", True), ("1.44", False)])
def test_what_is_below_a_read_only_bind(
    engine: Engine, scratch: Path, version: str, writable: bool
) -> None:
    outer = scratch / f"below-{version}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    script = "touch /x/a 2>/dev/null && echo outer; touch /x/inner/a 2>/dev/null && echo inner"
    with engine.api(known(engine, version)) as api, tmpfs_at(inner):
        for host in (
            {"Binds": [f"{outer}:/x:ro"]},
            {"Mounts": [{"Type": "bind", "Source": str(outer), "Target": "/x", "ReadOnly": True}]},
        ):
            with running(api, "sh", "-c", script, HostConfig=host) as container:
                api.wait(container)
                assert api.logs(container) == (b"inner\n" if writable else b"")


@contextmanager
def tmpfs_at(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True, timeout=60)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True, timeout=60)


@pytest.mark.parametrize(("version", "at_once"), [("1.29", False), ("1.30", True)])
def test_when_a_wait_is_acknowledged(engine: Engine, version: str, at_once: bool) -> None:
    """By a header while it goes on, or by nothing but its answer; which has a length then."""
    with engine.api(version) as api, running(api, "sleep", "1000") as container:
        connection = UnixConnection(engine.socket)
        connection.request("POST", f"/v{version}/containers/{container}/wait?condition=next-exit")
        reply = connection.getresponse() if at_once else None
        api.call("POST", f"/containers/{container}/kill")
        reply = reply or connection.getresponse()
        assert json.loads(reply.read())["StatusCode"] == 137
        assert (reply.getheader("Content-Length") is None) is at_once
        connection.close()


def test_an_old_wait_has_no_condition(engine: Engine) -> None:
    with engine.api("1.29") as api, made(api) as container:
        reply = api.send("POST", f"/containers/{container['Id']}/wait", condition="next-exit")
        assert reply.json()["StatusCode"] == 0


@pytest.mark.parametrize(("version", "told"), [("1.29", False), ("1.30", True)])
def test_who_hears_ids_of_a_build(engine: Engine, version: str, told: bool) -> None:
    with engine.api(version) as api:
        reply = api.raw("POST", "/build" if told else "/build?platform=none/such", CONTEXT, TAR)
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert any("Successfully built" in line.get("stream", "") for line in lines), reply.body
    assert any("aux" in line for line in lines) is told


@pytest.mark.parametrize(("version", "told"), [("1.27", True), ("1.28", False)])
def test_who_is_told_of_in_a_list_of_networks(engine: Engine, version: str, told: bool) -> None:
    with engine.api(version) as api, running(api, "sleep", "1000") as container:
        rows = {row["Name"]: row["Containers"] for row in api.call("GET", "/networks")}
    assert (container in rows["none"]) is told


@pytest.mark.parametrize(("version", "told"), [("1.45", False), ("1.46", True)])
def test_who_hears_that_images_were_made(engine: Engine, version: str, told: bool) -> None:
    begun = time.time()
    with engine.api(known(engine, version)) as api:
        context = layer([member("Dockerfile", f"FROM base\nLABEL a={begun}\n".encode())])
        assert b"Successfully built" in api.raw("POST", "/build", context, TAR).body
        query = {"since": f"{begun:.9f}", "until": f"{time.time():.9f}"}
        heard = [
            json.loads(line) for line in api.send("GET", "/events", None, **query).body.splitlines()
        ]
    made_ones = [one for one in heard if (one["Type"], one["Action"]) == ("image", "create")]
    assert len(made_ones) == told


@pytest.mark.parametrize(("version", "kept"), [("1.41", False), ("1.42", True)])
def test_a_prune_of_volumes_with_names(engine: Engine, version: str, kept: bool) -> None:
    with engine.api(known(engine, version)) as api:
        api.call("POST", "/volumes/create", {"Name": "named"})
        gone = api.call("POST", "/volumes/prune")["VolumesDeleted"] or []
        assert ("named" not in gone) is kept
        api.send("DELETE", "/volumes/named")


CONTEXT = layer([member("Dockerfile", b"FROM base\nLABEL version=any\n")])


@pytest.fixture
def story(site: Site) -> Iterator[Engine]:
    """An engine with a network; what the story made goes, however far it came."""
    yield site.engine
    with site.engine.api() as api:
        api.send("DELETE", "/containers/teller", force="1", v="1")
        for path in ("networks/tale", "volumes/tale", "images/tale:1", "images/tale:2"):
            api.send("DELETE", f"/{path}")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_docker_command(story: Engine, tmp_path: Path, version: str) -> None:
    """What people do all day, as a client of that age does it."""
    known(story, version)
    env = {"DOCKER_API_VERSION": version, "DOCKER_BUILDKIT": "0"}

    def run(*arguments: str, stdin: bytes = b"", check: bool = True) -> str:
        return story.docker(*arguments, stdin=stdin, check=check, env=env).stdout.strip()

    begun = time.time()
    assert run("version", "--format", "{{.Client.APIVersion}}") == version
    network = run("network", "create", "tale")
    assert run("network", "inspect", "-f", "{{.Name}}", network) == "tale"
    assert run("run", "--rm", "base", "echo", "told") == "told"
    run("run", "-d", "--name", "teller", "--network", "tale", "-v", "tale:/kept", "base",
        "sh", "-c", "echo begun; exec sleep 1000")  # fmt: skip
    assert run("ps", "--filter", "network=tale", "--format", "{{.Names}}") == "teller"
    assert run("inspect", "-f", "{{.State.Status}}", "teller") == "running"
    assert eventually(lambda: run("logs", "teller"), bool) == "begun"
    assert run("exec", "-i", "teller", "cat", stdin=b"heard") == "heard"
    (tmp_path / "in").write_text("copied")
    run("cp", str(tmp_path / "in"), "teller:/kept/in")
    run("cp", "teller:/kept/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "copied"
    assert run("stats", "--no-stream", "--format", "{{.Name}}", "teller") == "teller"
    assert run("commit", "teller", "tale:1").startswith("sha256:")
    run("build", "-t", "tale:2", "-", stdin=b"FROM base\nRUN echo built > /built\n")
    assert run("run", "--rm", "tale:2", "cat", "/built") == "built"
    assert set(run("images", "--format", "{{.Tag}}", "tale").split()) == {"1", "2"}
    if version != "1.24":  # that the command refuses to ask for then
        assert run("system", "df", "--format", "{{.Type}}").splitlines()[0] == "Images"
    assert run("update", "--cpu-shares", "512", "teller") == "teller"
    assert run("stop", "-t", "0", "teller") == "teller"
    assert run("wait", "teller") == "137"
    heard = run("events", "--since", f"{begun:.6f}", "--until", f"{time.time():.6f}",
                "--filter", "container=teller", "--format", "{{.Action}}")  # fmt: skip
    assert {"create", "start", "die", "stop"} <= set(heard.split())
    assert run("rm", "-v", "teller") == "teller"
    assert run("volume", "rm", "tale") == "tale"
    assert run("network", "rm", "tale") == "tale"


@pytest.mark.parametrize("version", ["1.41", "1.46"])
def test_settings_of_the_first_interface(story: Engine, version: str) -> None:
    """Of the container in old versions, of the network since: a client of then sees its effect."""
    name = "net.ipv4.conf.eth0.log_martians"
    script = f"cat /proc/sys/{name.replace('.', '/')}"
    host = {"NetworkMode": "bridge", "Sysctls": {name: "1"}}
    with (
        story.api(known(story, version)) as api,
        running(api, "sh", "-c", script, HostConfig=host) as container,
    ):
        api.wait(container)
        assert api.logs(container) == b"1\n"


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[Registry]:
    with Registry(scratch / "registry-versions") as there:
        yield there


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.51"])
def test_a_push_and_a_pull(engine: Engine, registry: Registry, version: str) -> None:
    known(engine, version)
    env = {"DOCKER_API_VERSION": version}
    name = f"{registry.address}/tale:{version}"
    for arguments in (("tag", "base", name), ("push", name), ("rmi", name), ("pull", name)):
        engine.docker(*arguments, env=env)
    engine.docker("rmi", name)


@pytest.mark.parametrize("version", VERSIONS)
def test_docker_py(engine: Engine, version: str) -> None:
    known(engine, version)
    client = docker.DockerClient(base_url=engine.host, version=version, timeout=60)
    try:
        assert client.version()["ApiVersion"]
        container = client.containers.run(
            "base", ["sh", "-c", "echo out; exec sleep 1000"], detach=True, network_mode="none"
        )
        try:
            container.reload()
            assert container.attrs["State"]["Running"]
            assert container.exec_run(["sh", "-c", "echo in; exit 3"]) == (3, b"in\n")
            assert eventually(container.logs, bool) == b"out\n"
            assert container.put_archive("/tmp", layer([member("put", b"put")]))
            assert container.get_archive("/tmp/put")[1]["size"] == 3
            container.stop(timeout=0)
            assert container.wait()["StatusCode"] == 137
        finally:
            container.remove(force=True)
        built, _ = client.images.build(fileobj=io.BytesIO(CONTEXT), custom_context=True)
        assert built.labels["version"] == "any"
        assert client.images.list(name="base")[0].tags == ["base:latest"]
        assert any(network.name == "none" for network in client.networks.list())
        assert client.volumes.list() is not None
    finally:
        client.close()
