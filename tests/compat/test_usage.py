"""What is held on disk: `system df`, beside dockerd."""

from typing import Any

from tests.support.engine import Engine


def usage(engine: Engine, version: str = "", query: str = "") -> Any:
    with engine.api(version) as api:
        return api.call("GET", f"/system/df{query}")


def test_what_things_hold(engine: Engine, dockerd: Engine) -> None:
    rows = []
    for each in (engine, dockerd):
        with each.api() as api:
            volume = api.call("POST", "/volumes/create", {"Name": "held"})["Name"]
            host = {"NetworkMode": "none", "Binds": [f"{volume}:/v"]}
            script = "head -c 5000 /dev/zero >/file; head -c 7000 /dev/zero >/v/file"
            made = api.run("sh", "-c", script, HostConfig=host)
            api.wait(made)
            found = usage(each, "1.41")
            container = next(row for row in found["Containers"] if row["Id"] == made)
            image = next(row for row in found["Images"] if row["Id"] == container["ImageID"])
            kept = next(row for row in found["Volumes"] if row["Name"] == volume)
            assert found["LayersSize"] >= image["Size"] > 0
            assert image["Containers"] >= 1
            rows.append((container["SizeRw"], kept["UsageData"], found["BuilderSize"]))
            assert container["SizeRootFs"] == container["SizeRw"] + image["Size"]
            api.remove(made)
            api.call("DELETE", f"/volumes/{volume}")
    ours, theirs = rows
    assert 5000 <= ours[0] < 6000
    assert ours[1]["RefCount"] == theirs[1]["RefCount"] == 1
    assert 7000 <= ours[1]["Size"] < 16384
    assert ours[2] == theirs[2] == 0


def test_only_some_of_them(engine: Engine) -> None:
    if engine.name == "dockerd":
        return  # its version does not know the parameter
    found = usage(engine, query="?type=volume")
    assert found["Images"] is None
    assert found["Containers"] is None
    assert found["Volumes"] is not None
    assert "BuilderSize" not in found
    with engine.api() as api:
        assert api.send("GET", "/system/df", type="nonsense").status == 400


def test_the_command_shows_it(engine: Engine) -> None:
    shown = engine.docker("system", "df").stdout
    assert "Images" in shown
    assert "Local Volumes" in shown
    assert engine.docker("system", "df", "-v").stdout
