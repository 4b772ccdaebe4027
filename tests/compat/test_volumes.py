"""Volumes and mounts beside dockerd: what is shown, what an image brings along, what is heard."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import volumeimages
from tests.support.engine import Engine
from tests.support.http import Api
from tests.support.waiting import Waiting

IMAGE = "volumes:1"
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def images(engine: Engine, dockerd: Engine) -> None:
    for each in {engine, dockerd}:
        each.load(volumeimages.archive(IMAGE))


@contextlib.contextmanager
def container(api: Api, name: str = "", **config: Any) -> Iterator[str]:
    """A container that goes with its unnamed volumes."""
    made = api.create(name, **{"Image": IMAGE, "Cmd": ["true"], **config})
    try:
        yield made
    finally:
        api.call("DELETE", f"/containers/{made}", force="1", v="1")


@contextlib.contextmanager
def volumes(api: Api, *names: str, **options: Any) -> Iterator[None]:
    """Volumes by name, gone at the end, also those that others make meanwhile."""
    try:
        for name in names:
            if options:
                api.call("POST", "/volumes/create", {"Name": name, **options})
        yield
    finally:
        for name in names:
            api.send("DELETE", f"/volumes/{name}", force="1")


def output(api: Api, script: str, **config: Any) -> str:
    """What a container prints."""
    with container(api, Cmd=["sh", "-c", script], **config) as made:
        api.start(made)
        code = api.wait(made)
        said = api.logs(made).decode()
    assert code == 0, said
    return said


def test_a_volume_is_shown_as_dockerd_does(engine: Engine, dockerd: Engine) -> None:
    shown = []
    memory = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    for each in (engine, dockerd):
        with each.api() as api, volumes(api, "plain", "labelled", "memory"):
            made = [
                api.send("POST", "/volumes/create", {"Name": "plain"}),
                api.send("POST", "/volumes/create", {"Name": "labelled", "Labels": {"a": "b"}}),
                api.send("POST", "/volumes/create", {"Name": "memory", "DriverOpts": memory}),
                api.send("POST", "/volumes/create", {"Name": "plain", "Labels": {"c": "d"}}),
                api.send("GET", "/volumes/memory"),
            ]
            listed = api.call("GET", "/volumes")["Volumes"]
            assert all(reply.json() in listed for reply in made)
            place = made[0].json()["Mountpoint"].removesuffix("/plain/_data")
            assert place.startswith(str(each.base))
            replies = [(reply.status, reply.body.decode()) for reply in made]
            shown.append([(status, _timeless(text, place)) for status, text in replies])
    assert shown[0] == shown[1]


def _timeless(text: str, place: str) -> Json:
    document: Json = json.loads(text.replace(place, "PLACE"))
    made = time.strptime(document.pop("CreatedAt"), "%Y-%m-%dT%H:%M:%SZ")
    assert made.tm_year > 2000
    return document


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"dangling": ["true"]}, {"fa", "fb"}),
        ({"dangling": ["0"]}, {"used"}),
        ({"driver": ["local"]}, {"fa", "fb", "used"}),
        ({"driver": ["other"]}, set()),
        ({"label": ["which=a"]}, {"fa"}),
        ({"label": ["which"]}, {"fa", "fb"}),
        ({"label": ["which", "which=b"]}, {"fb"}),
        ({"name": ["f"]}, {"fa", "fb"}),
        ({"name": ["^fa$", "use"]}, {"fa", "used"}),
        ({"name": ["f"], "dangling": ["false"]}, set()),
    ],
    ids=str,
)
def test_filters(engine: Engine, filters: Json, names: set[str]) -> None:
    with engine.api() as api, volumes(api, "fa", "fb", "used"):
        for name in ("fa", "fb"):
            body = {"Name": name, "Labels": {"which": name[1]}}
            api.call("POST", "/volumes/create", body)
        with container(api, HostConfig={"Binds": ["used:/x"]}):
            found = api.call("GET", "/volumes", filters=json.dumps(filters))["Volumes"] or []
    assert {one["Name"] for one in found} & {"fa", "fb", "used"} == names


PLACES: list[Json] = [
    {"HostConfig": {"Binds": ["copied:/seed"]}},
    {"HostConfig": {"Binds": ["copied:/seed:ro"]}},
    {"HostConfig": {"Binds": ["copied:/linked"]}},
    {"HostConfig": {"Binds": ["copied:/seed:nocopy"]}},
    {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "copied", "Target": "/seed"}]}},
    {"HostConfig": {"Mounts": [{"Type": "volume", "Target": "/seed"}]}},
    {
        "HostConfig": {
            "Mounts": [{"Type": "volume", "Target": "/seed", "VolumeOptions": {"NoCopy": True}}]
        }
    },
    {"Volumes": {"/seed": {}}},
    {"Volumes": {"/seed/sub": {}}},
    {"Volumes": {"/seed/opaque/": {}}},
    {"HostConfig": {"Tmpfs": {"/seed": "uid=7"}}},
]


@pytest.mark.parametrize("config", PLACES, ids=str)
def test_an_empty_volume_begins_with_the_images_content(
    engine: Engine, dockerd: Engine, config: Json
) -> None:
    seen = []
    for each in (engine, dockerd):
        with each.api() as api, volumes(api, "copied"):
            seen.append(output(api, volumeimages.LISTING, **config))
    assert seen[0] == seen[1]
    assert "./" in seen[0] or "nocopy" in str(config).lower() or "Tmpfs" in str(config)


def test_a_volume_with_content_keeps_it(engine: Engine) -> None:
    with engine.api() as api, volumes(api, "kept", "emptied"):
        binds = {"HostConfig": {"Binds": ["kept:/other"]}}
        output(api, "echo mine > /other/mine", **binds)
        assert output(api, "ls /seed", HostConfig={"Binds": ["kept:/seed"]}) == "mine\n"


SHOWN: list[Json] = [
    {"HostConfig": {"Binds": ["named:/a", "named:/b:ro", "/tmp/own:/c:ro,rprivate"]}},
    {"HostConfig": {"Binds": ["named:/a:nocopy,Z", "/b/"]}},
    {"Volumes": {"/a": {}, "/b/../c/": {}}},
    {"Volumes": {"/a": {}}, "HostConfig": {"Binds": ["named:/a"]}},
    {"Volumes": {"/a": {}}, "HostConfig": {"Tmpfs": {"/a": ""}}},
    {
        "HostConfig": {
            "Mounts": [
                {"Type": "bind", "Source": "/etc", "Target": "/a", "ReadOnly": True},
                {"Type": "volume", "Source": "named", "Target": "/b", "ReadOnly": True},
                {"Type": "volume", "Target": "/c"},
                {"Type": "tmpfs", "Target": "/d", "TmpfsOptions": {"SizeBytes": 1 << 20}},
            ]
        }
    },
    {"HostConfig": {"VolumesFrom": ["giver"]}},
    {"HostConfig": {"VolumesFrom": ["giver:ro"]}},
    {"HostConfig": {"VolumesFrom": ["giver"], "Binds": ["named:/given"]}},
]


@pytest.mark.parametrize("config", SHOWN, ids=str)
def test_mounts_are_shown_as_dockerd_does(engine: Engine, dockerd: Engine, config: Json) -> None:
    shown = []
    for each in (engine, dockerd):
        with each.api() as api, volumes(api, "named", "other"):
            giver = {"Volumes": {"/own": {}}, "HostConfig": {"Binds": ["other:/given:ro"]}}
            with (
                container(api, "giver", **giver),
                container(api, **config) as made,
            ):
                shown.append([_nameless(point) for point in _points(api.inspect(made))])
                row = next(row for row in api.containers() if row["Id"] == made)
                assert len(row["Mounts"]) == len(shown[-1])
    assert shown[0] == shown[1]


def _points(inspected: Json) -> list[Json]:
    return sorted(inspected["Mounts"], key=lambda point: str(point["Destination"]))


def _nameless(point: Json) -> Json:
    """Without what is an engine's own: where volumes are, and what unnamed ones are called."""
    found = dict(point)
    if found["Type"] == "volume":
        assert found.pop("Source").endswith(f"/volumes/{found['Name']}/_data")
        if len(found["Name"]) == 64:
            found["Name"] = "unnamed"
    if found["Source"] == "/tmp/own" if "Source" in found else False:
        found.pop("Propagation")  # dockerd's depends on where its own directory is
    return found


def test_what_is_heard_of_volumes(engine: Engine, dockerd: Engine) -> None:
    heard = []
    for each in (engine, dockerd):
        with each.api() as api, volumes(api, "heard"):
            since = time.time()
            with container(api, HostConfig={"Binds": ["heard:/a:ro"]}) as made:
                api.start(made)
                api.wait(made)
            api.call("DELETE", "/volumes/heard")
            wanted = {"type": ["volume"], "volume": ["heard"]}
            reply = api.send(
                "GET", "/events", None,
                since=f"{since:.9f}", until=f"{time.time():.9f}", filters=json.dumps(wanted),
            )  # fmt: skip
            found = [json.loads(line) for line in reply.body.splitlines()]
            heard.append(
                [
                    (one["Action"], one["Actor"]["ID"], sorted(one["Actor"]["Attributes"].items()))
                    for one in found
                ]
            )
            for _, _, attributes in heard[-1]:
                attributes[:] = [(k, v) for k, v in attributes if (k, v) != ("container", made)]
    assert heard[0] == heard[1]
    assert [action for action, _, _ in heard[0]] == ["create", "mount", "unmount", "destroy"]


def _used(api: Api) -> None:
    with container(api, HostConfig={"Binds": ["used:/a"]}) as made:
        for force in ("", "1"):
            reply = api.send("DELETE", "/volumes/used", None, force=force)
            assert (reply.status, reply.message) == (
                409, f"remove used: volume is in use - [{made}]"
            )  # fmt: skip


def _absent(api: Api) -> None:
    reply = api.send("DELETE", "/volumes/absent")
    assert (reply.status, reply.message) == (404, "get absent: no such volume")
    assert api.send("DELETE", "/volumes/absent", None, force="1").status == 204


@pytest.mark.parametrize("case", [_used, _absent], ids=lambda case: case.__name__[1:])
def test_removals(engine: Engine, case: Callable[[Api], None]) -> None:
    with engine.api() as api, volumes(api, "used"):
        case(api)


def test_unnamed_volumes_go_with_their_last_container(engine: Engine) -> None:
    with engine.api() as api, volumes(api, "kept"):
        giver = api.create("giver", Image=IMAGE, Volumes={"/own": {}})
        own = api.inspect(giver)["Mounts"][0]["Name"]
        taker = api.create(
            Image=IMAGE, HostConfig={"VolumesFrom": ["giver"], "Binds": ["kept:/kept"]}
        )
        api.call("DELETE", f"/containers/{giver}", v="1")
        assert api.call("GET", f"/volumes/{own}")["Name"] == own
        api.call("DELETE", f"/containers/{taker}", v="1")
        assert api.send("GET", f"/volumes/{own}").status == 404
        assert api.call("GET", "/volumes/kept")["Name"] == "kept"


def test_a_passing_container_takes_its_unnamed_volumes_along(engine: Engine) -> None:
    with engine.api() as api, volumes(api, "kept"):
        host = {"AutoRemove": True, "Binds": ["kept:/kept"]}
        made = api.create(Image=IMAGE, Cmd=["true"], Volumes={"/own": {}}, HostConfig=host)
        own = [one["Name"] for one in api.inspect(made)["Mounts"] if one["Name"] != "kept"]
        waiting = Waiting(engine, made, "removed")  # one that is on its way out cannot be found
        api.start(made)
        assert waiting.result()["StatusCode"] == 0
        assert [api.send("GET", f"/volumes/{name}").status for name in own] == [404]
        assert api.call("GET", "/volumes/kept")["Name"] == "kept"


def test_a_removal_without_v_leaves_them(engine: Engine) -> None:
    with engine.api() as api:
        made = api.create(Image=IMAGE, Volumes={"/own": {}})
        own = api.inspect(made)["Mounts"][0]["Name"]
        api.remove(made)
        assert api.call("GET", f"/volumes/{own}")["Name"] == own
        api.call("DELETE", f"/volumes/{own}")


def test_a_prune_takes_unnamed_ones_and_older_clients_all(aiod: Engine) -> None:
    """dockerd 20.10 is before the version in which named ones came to be spared."""
    with aiod.api() as api, aiod.api("1.41") as old, volumes(api, "named", "spared"):
        api.call("POST", "/volumes/create", {"Name": "spared", "Labels": {"keep": ""}})
        api.call("POST", "/volumes/create", {"Name": "named"})
        unnamed = api.call("POST", "/volumes/create", {})["Name"]
        found = api.call("POST", "/volumes/prune")
        assert unnamed in found["VolumesDeleted"]
        assert not {"named", "spared"} & set(found["VolumesDeleted"])
        kept = json.dumps({"label!": ["keep"]})
        assert "named" in old.call("POST", "/volumes/prune", filters=kept)["VolumesDeleted"]
        everything = json.dumps({"all": ["true"]})
        found = api.call("POST", "/volumes/prune", filters=everything)
        assert "spared" in found["VolumesDeleted"]


def test_the_real_command(engine: Engine) -> None:
    done = engine.docker("volume", "create", "--label", "a=b", "by-command")
    assert done.stdout == "by-command\n"
    try:
        run = ("run", "--rm", "--network", "none", "-v", "by-command:/v", "base")
        engine.docker(*run, "sh", "-c", "echo data > /v/file")
        assert engine.docker(*run, "cat", "/v/file").stdout == "data\n"
        assert "by-command" in engine.docker("volume", "ls").stdout
        shown = json.loads(engine.docker("volume", "inspect", "by-command").stdout)
        assert shown[0]["Labels"] == {"a": "b"}
    finally:
        engine.docker("volume", "rm", "by-command")
