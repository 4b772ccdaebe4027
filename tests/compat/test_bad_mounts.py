"""Volumes and mounts that cannot be: each is refused as dockerd does, and nothing is left of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.test_bad_input import Wrong, ask, create
from tests.support.engine import Engine

Json = dict[str, Any]


def _host(title: str, status: int, says: str, **host: Any) -> Wrong:
    body = {"Image": "base", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", **host}}
    return create(title, json.dumps(body), status, says)


def _bind(bind: str, says: str) -> Wrong:
    return _host(f"bind {bind}", 400, says, Binds=[bind])


def _mount(status: int, says: str, **mount: Any) -> Wrong:
    return _host(f"mount {mount}", status, says, Mounts=[mount])


def _volume(says: str, status: int = 400, **body: Any) -> Wrong:
    return Wrong(
        f"volume {body}", "POST", "/volumes/create", status, json.dumps(body).encode(), says
    )


INVALID = "includes invalid characters for a local volume name"
ABSOLUTE = "mount path must be absolute"
NOT_ROOT = "destination can't be '/'"
EXTRA = "must not be specified"
FOO = {"DriverConfig": {"Name": "local", "Options": {"foo": "x"}}}
CASES = [
    _bind("./a:/b", INVALID),
    _bind("../a:/b", INVALID),
    _bind("a/b:/x", INVALID),
    _bind("/a:b", ABSOLUTE),
    _bind("name:b", ABSOLUTE),
    _bind("name:/", NOT_ROOT),
    _bind("/tmp:/", NOT_ROOT),
    _bind("/tmp:/x/..", NOT_ROOT),
    _bind("v:/x", "volume name is too short"),
    _bind("name:/x:rshared", f"field BindOptions {EXTRA}"),
    _bind("/tmp:/x:nocopy", f"field VolumeOptions {EXTRA}"),
    _bind("/tmp:/x:zz", "invalid mode: zz"),
    _bind("/tmp:/x:ro,rw", "invalid mode: ro,rw"),
    _bind("/tmp:/x:z,Z", "invalid mode: z,Z"),
    _bind("/x:ro", "invalid volume specification: '/x:ro'"),
    _bind("a:b:c:d", "invalid volume specification"),
    _bind("", "invalid volume specification"),
    _bind(":/x", "invalid volume specification"),
    _bind("name:", "invalid volume specification"),
    _mount(400, "bind source path does not exist: /no/such", Type="bind", Source="/no/such",
           Target="/x"),
    _mount(400, "field Source must not be empty", Type="bind", Target="/x"),
    _mount(400, "field Target must not be empty", Type="bind", Source="/tmp"),
    _mount(400, ABSOLUTE, Type="bind", Source="tmp", Target="/x"),
    _mount(400, ABSOLUTE, Type="bind", Source="/tmp", Target="x"),
    _mount(400, NOT_ROOT, Type="bind", Source="/tmp", Target="/"),
    _mount(400, "invalid propagation mode: bad", Type="bind", Source="/tmp", Target="/x",
           BindOptions={"Propagation": "bad"}),
    _mount(400, f"field VolumeOptions {EXTRA}", Type="bind", Source="/tmp", Target="/x",
           VolumeOptions={}),
    _mount(400, f"field BindOptions {EXTRA}", Type="volume", Source="name", Target="/x",
           BindOptions={}),
    _mount(400, f"field BindOptions {EXTRA}", Type="tmpfs", Target="/x", BindOptions={}),
    _mount(400, f"field Source {EXTRA}", Type="tmpfs", Source="a", Target="/x"),
    _mount(400, "mount type unknown", Type="npipe", Source="a", Target="/x"),
    _mount(400, "mount type unknown", Type="cluster", Source="a", Target="/x"),
    _mount(400, "mount type unknown", Target="/x"),
    _mount(400, "must not set ReadOnly mode when using anonymous volumes", Type="volume",
           Target="/x", ReadOnly=True),
    _mount(400, "volume name is too short", Type="volume", Source="v", Target="/x"),
    _mount(400, 'invalid option: "foo"', Type="volume", Source="name", Target="/x",
           VolumeOptions=FOO),
    _host("twice in binds", 400, "Duplicate mount point: /x", Binds=["/tmp:/x", "/etc:/x/"]),
    _host("in binds and mounts", 400, "Duplicate mount point: /x", Binds=["/tmp:/x"],
          Mounts=[{"Type": "tmpfs", "Target": "/x"}]),
    _host("twice in mounts", 400, "Duplicate mount point: /x",
          Mounts=[{"Type": "tmpfs", "Target": "/x"}, {"Type": "tmpfs", "Target": "/x/"}]),
    _host("in binds and tmpfs", 400, "Duplicate mount point: /x", Binds=["/tmp:/x"],
          Tmpfs={"/x": ""}),
    _host("relative tmpfs", 400, ABSOLUTE, Tmpfs={"x": ""}),
    _host("tmpfs for a root", 400, NOT_ROOT, Tmpfs={"/": ""}),
    _host("volumes from nobody", 400, "No such container: nobody", VolumesFrom=["nobody"]),
    _host("volumes from nothing", 400, "cannot be an empty string", VolumesFrom=[""]),
    _host("volumes from with a bad mode", 400, "invalid mode: zz", VolumesFrom=["a:zz"]),
    _host("volumes from with propagation", 400, "invalid mode: rslave", VolumesFrom=["a:rslave"]),
    create("a volume over a file", '{"Image": "base", "Volumes": {"/etc/passwd": {}}, '
           '"HostConfig": {"NetworkMode": "none"}}', 400, "file exists"),
    _volume("volume name is too short", Name="v"),
    _volume(INVALID, Name="a/b"),
    _volume(INVALID, Name=".hidden"),
    _volume('invalid option: "foo"', Name="name", DriverOpts={"foo": "x"}),
    _volume('missing required option: "device"', Name="name", DriverOpts={"type": "tmpfs"}),
    _volume('missing required option: "type"', Name="name", DriverOpts={"device": "/tmp"}),
    _volume('missing required option: "device"', Name="name", DriverOpts={"o": "bind"}),
    _volume("no quota support", Name="name", DriverOpts={"size": "1m"}),
    _volume("invalid size: 'x'", Name="name", DriverOpts={"size": "x"}),
    Wrong("bad filter", "GET", "/volumes?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D", 400, None,
          "nvalid filter 'foo'"),
    Wrong("bad value of a filter", "GET", "/volumes?filters=%7B%22dangling%22%3A%5B%22a%22%5D%7D",
          400, None, "nvalid filter 'dangling=[a]'"),
    Wrong("bad filter of a prune", "POST", "/volumes/prune?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D",
          400, None, "nvalid filter 'foo'"),
    Wrong("absent volume", "GET", "/volumes/absent", 404, None, "get absent: no such volume"),
]  # fmt: skip


@pytest.fixture(scope="module")
def untouched(engine: Engine) -> Iterator[Engine]:
    """Nothing that was refused leaves a volume or a container behind."""
    with engine.api() as api:
        before = _what_is_there(engine)
        yield engine
        if engine.name == "aiod":  # dockerd keeps a named volume whose container was refused
            assert _what_is_there(engine) == before
        for volume in api.call("GET", "/volumes")["Volumes"] or []:
            api.send("DELETE", f"/volumes/{volume['Name']}")


def _what_is_there(engine: Engine) -> tuple[set[str], set[str]]:
    with engine.api() as api:
        volumes = api.call("GET", "/volumes")["Volumes"] or []
        return {one["Name"] for one in volumes}, {one["Id"] for one in api.containers()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_refused_as_by_dockerd(untouched: Engine, dockerd: Engine, case: Wrong) -> None:
    reply = ask(untouched, case)
    allowed = case.as_dockerd
    peer = ask(dockerd, case)
    assert peer.status in allowed, peer.body
    assert reply.status in (allowed if untouched.name == "dockerd" else {case.status}), reply.body
    assert case.says in reply.message
    assert case.says in peer.message


LATER = [
    _host("tmpfs with an unknown option", 400, 'invalid tmpfs option ["foo" "1"]',
          Tmpfs={"/x": "foo=1"}),
    _host("tmpfs with an unknown word", 400, 'invalid tmpfs option ["foo"]', Tmpfs={"/x": "foo"}),
    _mount(400, "must not be negative", Type="tmpfs", Target="/x", TmpfsOptions={"SizeBytes": -1}),
    _mount(400, "invalid option: mode", Type="tmpfs", Target="/x",
           TmpfsOptions={"Options": [["mode", "1"]]}),
    _mount(400, "subpath must be a relative path within the volume", Type="volume", Source="name",
           Target="/x", VolumeOptions={"Subpath": "../x"}),
    _mount(400, "must not set Subpath when using anonymous volumes", Type="volume", Target="/x",
           VolumeOptions={"Subpath": "x"}),
    _mount(400, "ReadOnlyNonRecursive && ReadOnlyForceRecursive", Type="bind", Source="/tmp",
           Target="/x", BindOptions={"ReadOnlyNonRecursive": True, "ReadOnlyForceRecursive": True}),
    _mount(501, "Type image", Type="image", Source="base", Target="/x"),
    _volume("error looking up volume plugin nope", 404, Name="name", Driver="nope"),
    _host("a volume of an unknown driver", 404, 'plugin "nope" not found', VolumeDriver="nope",
          Binds=["name:/x"]),
]  # fmt: skip


@pytest.mark.parametrize("case", LATER, ids=lambda case: case.title)
def test_refused_where_dockerd_is_slow_or_of_before(aiod: Engine, case: Wrong) -> None:
    """20.10 says some of it only at a start, and looks for a driver for half a minute."""
    before = _what_is_there(aiod)
    reply = ask(aiod, case)
    assert (reply.status, case.says in reply.message) == (case.status, True), reply.body
    assert _what_is_there(aiod) == before


SUBPATHS = [
    ("inside", 0, "inner\n"),
    ("link-inside", 0, "inner\n"),
    ("absolute", 125, "leads out of it"),
    ("upwards", 125, "leads out of it"),
    ("absent", 127, "no such file or directory"),
]


@pytest.fixture(scope="module")
def linked(aiod: Engine) -> Iterator[Engine]:
    """An engine with a volume whose links lead in and out of it."""
    script = (
        "cd /v; mkdir inside; echo inner > inside/file; ln -s inside link-inside; "
        "ln -s /etc absolute; ln -s ../../../../etc upwards"
    )
    aiod.docker("run", "--rm", "--network", "none", "-v", "linked:/v", "base", "sh", "-c", script)
    yield aiod
    aiod.docker("volume", "rm", "linked")


@pytest.mark.parametrize(("path", "code", "says"), SUBPATHS)
def test_a_link_leads_nowhere_out_of_a_volume(
    linked: Engine, path: str, code: int, says: str
) -> None:
    mount = f"type=volume,source=linked,target=/m,volume-subpath={path}"
    run = ("run", "--rm", "--network", "none", "--mount", mount, "base", "cat", "/m/file")
    done = linked.docker(*run, check=False)
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done
