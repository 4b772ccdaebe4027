"""The image routes of both engines, asked the same: statuses, words, fields and events agree."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import rootfs
from tests.support.engine import Engine
from tests.support.http import Api, Reply
from tests.support.images import TAR, as_of_old, load, remove_all


def imported(api: Api, *changes: str, query: Mapping[str, str] | None = None) -> Reply:
    pairs = [("fromSrc", "-"), *(query or {}).items(), *(("changes", one) for one in changes)]
    tar = rootfs.tar([rootfs.Entry("a", b"x")])
    return api.raw("POST", f"/images/create?{urlencode(pairs)}", tar, TAR)


TWO = [rootfs.tar([rootfs.Entry("a", b"1")]), rootfs.tar([rootfs.Entry("b", b"22")])]
THREE = [*TWO, rootfs.tar([rootfs.Entry("c", b"333")])]

CHANGES = [
    ['CMD ["echo","hi"]'], ["CMD echo hi"], ["CMD"], ["CMD []"], ['ENTRYPOINT ["b"]', "CMD a"],
    ['CMD ["a"]', 'ENTRYPOINT ["b"]'], ['ENV a=b c="d e" f=g\\ h'], ["ENV a b c  d"],
    ["ENV A=1", "ENV B=$A C=${A}x D=${Z:-def} E='$A'"], ["ENV a"], ["ENV a=b c"], ["ENV =b"],
    ["EXPOSE 80 53/udp 8000-8002"], ["EXPOSE abc"], ["EXPOSE 80/foo"], ["EXPOSE"],
    ['LABEL a=b "c d"="e f"'], ["LABEL a"], ["ONBUILD RUN echo hi"], ["ONBUILD FROM x"],
    ["USER me"], ["USER a b"], ["USER"], ["VOLUME /a /b"], ['VOLUME [""]'], ["VOLUME []"],
    ["WORKDIR a", "WORKDIR b/../c"], ["WORKDIR .."], ["WORKDIR"],
    ["HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD curl x"], ["HEALTHCHECK NONE"],
    ['HEALTHCHECK CMD ["a","b"]'], ["HEALTHCHECK NONE x"], ["HEALTHCHECK --foo=5 CMD x"],
    ["HEALTHCHECK --interval=5 CMD x"], ["HEALTHCHECK CMD"], ["RUN x"], ["FROM x"], ["foo bar"],
    ["# comment"], ["CMD [1]"], ['ENV a="b'], ["ENV a=b \\", "c=d"], ["CMD --x y"], ["ENV a=$$"],
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=" | ".join)
def test_import_changes(both: tuple[Api, Api], changes: list[str]) -> None:
    answers = []
    for api in both:
        reply = imported(api, *changes)
        if reply.status != 200:
            answers.append((reply.status, reply.message))
            continue
        image = json.loads(reply.body)["status"]
        answers.append((200, api.call("GET", f"/images/{image}/json")["Config"]))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "query",
    [
        {"repo": "IMP"}, {"repo": "imp", "tag": "!!"}, {"repo": f"imp@sha256:{'a' * 64}"},
        {"platform": "windows"}, {"repo": "imp:1", "message": "why"}, {"repo": "imp", "tag": "7"},
    ],
    ids=str,
)  # fmt: skip
def test_import_parameters(both: tuple[Api, Api], query: dict[str, str]) -> None:
    answers = []
    for api in both:
        reply = imported(api, query=query)
        if reply.status != 200:
            answers.append((reply.status, as_of_old(reply.message)))
            continue
        found = api.call("GET", f"/images/{json.loads(reply.body)['status']}/json")
        shown = [found[k] for k in ("RepoTags", "Comment", "Architecture", "Os")]
        answers.append((200, str(shown)))
    assert answers[0] == answers[1]


_MACHINE_DEPENDENT = {"GraphDriver", "Metadata", "DockerVersion"}


@pytest.mark.parametrize("version", ["1.41", "1.24"])
def test_inspect_field_for_field(both: tuple[Api, Api], version: str) -> None:
    archive = rootfs.docker_archive("same:1", THREE)
    answers = []
    for api in both:
        load(api, archive)
        found = api.raw("GET", "/images/same:1/json").json()
        assert found["GraphDriver"]["Name"] == "overlay2"
        assert found["GraphDriver"]["Data"].keys() == {
            "LowerDir", "MergedDir", "UpperDir", "WorkDir"
        }  # fmt: skip
        answers.append({k: v for k, v in found.items() if k not in _MACHINE_DEPENDENT})
    assert answers[0] == answers[1]


def test_a_newer_version_drops_what_containers_only_have(aiod: Engine) -> None:
    with aiod.api("1.51") as new, aiod.api("1.49") as old:
        load(new, rootfs.docker_archive("same:1", TWO))
        ours, before = (api.call("GET", "/images/same:1/json") for api in (new, old))
        assert before["Config"].keys() - ours["Config"].keys() == {
            "AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image",
            "OpenStdin", "StdinOnce", "Tty",
        }  # fmt: skip
        assert not {"VirtualSize", "Container", "ContainerConfig"} & ours.keys()
        remove_all(new)


FILTERS: list[dict[str, list[str]]] = [
    {}, {"dangling": ["true"]}, {"dangling": ["false"]}, {"dangling": ["x"]}, {"foo": ["x"]},
    {"reference": ["one"]}, {"reference": ["one:*"]}, {"reference": ["*:2"]},
    {"reference": ["none", "two"]}, {"label": ["tag"]}, {"label": ["tag=one:1"]},
    {"label": ["tag=one:1", "nope"]}, {"before": ["two:2"]}, {"since": ["one:1"]},
    {"before": ["nope"]}, {"since": ["two:2"], "dangling": ["true"]},
]  # fmt: skip


@pytest.fixture
def populated(both: tuple[Api, Api]) -> tuple[Api, Api]:
    for api in both:
        load(api, rootfs.docker_archive("one:1", TWO))
        load(api, rootfs.docker_archive("two:2", THREE))
        load(api, rootfs.docker_archive("two:3", TWO))
        load(api, rootfs.docker_archive("two:3", THREE[1:]))  # leaves the one before dangling
    return both


def _rows(api: Api, **query: str) -> Any:
    reply = api.send("GET", "/images/json", None, **query)
    if reply.status != 200:
        return reply.status, reply.message.lower()
    rows = [row for row in reply.json() if "base:latest" not in row["RepoTags"]]
    for row in rows:  # dockerd has null for no digests of a tagged image, newer ones []
        row["RepoDigests"] = row["RepoDigests"] or []
    return sorted(rows, key=lambda row: str(row["Id"]))


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_list_with_filters(populated: tuple[Api, Api], filters: dict[str, list[str]]) -> None:
    ours, theirs = (_rows(api, filters=json.dumps(filters)) for api in populated)
    assert ours == theirs


def test_shared_size(both: tuple[Api, Api], aiod: Engine) -> None:
    ours, _ = both
    load(ours, rootfs.docker_archive("one:1", TWO))
    load(ours, rootfs.docker_archive("two:2", THREE))
    with aiod.api() as api:
        rows = {tuple(r["RepoTags"]): r for r in _rows(api, **{"shared-size": "1"})}
    assert rows[("one:1",)]["SharedSize"] == rows[("two:2",)]["SharedSize"] == 3
    assert rows[("two:2",)]["Size"] == 6


UNKNOWN = ["nope", "NOPE", "sha256:1234", "1" * 64, f"sha256:{'1' * 64}", "a:b:c", "x@sha256:12"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names(both: tuple[Api, Api], name: str) -> None:
    ours, theirs = (api.send("DELETE", f"/images/{name}") for api in both)
    assert (ours.status, as_of_old(ours.message)) == (theirs.status, theirs.message)


def test_names_find_images(populated: tuple[Api, Api]) -> None:
    for api in populated:
        wanted = api.call("GET", "/images/one:1/json")["Id"]
        for name in (wanted, wanted[7:], wanted[7:19], wanted[:19], "docker.io/library/one:1"):
            assert api.call("GET", f"/images/{name}/json")["Id"] == wanted


def _without_ids(text: str, *ids: str) -> str:
    for number, found in enumerate(ids):
        text = text.replace(found, f"<{number}>").replace(found[:12], f"<{number}>")
    return text


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("force", ["0", "1"])
@pytest.mark.parametrize("by", ["reference", "id", "short id"])
def test_removal_of_a_used_image(both: tuple[Api, Api], by: str, force: str, running: bool) -> None:
    archive = rootfs.docker_archive("used:1", [rootfs.busybox_tar()])
    answers = []
    for api in both:
        load(api, archive)
        image = api.call("GET", "/images/used:1/json")["Id"]
        container = api.create(Image="used:1", Cmd=["sleep", "1000"])
        if running:
            api.start(container)
        name = {"reference": "used:1", "id": image, "short id": image[7:19]}[by]
        reply = api.send("DELETE", f"/images/{name}", force=force)
        answers.append((reply.status, _without_ids(reply.body.decode(), container)))
        api.remove(container)
    assert answers[0] == answers[1]


def test_untag_and_delete(both: tuple[Api, Api]) -> None:
    answers = []
    for api in both:
        load(api, rootfs.docker_archive("kept:1", TWO))
        load(api, rootfs.docker_archive("gone:1", THREE))
        found = [api.send("DELETE", f"/images/{name}").body for name in ("gone:1", "kept:1")]
        answers.append([*found, api.send("DELETE", "/images/kept:1").body])
    assert answers[0] == answers[1]


def test_loading_over_a_name(both: tuple[Api, Api]) -> None:
    archives = [rootfs.docker_archive("n:1", layers) for layers in (TWO, THREE, THREE)]
    ours, theirs = ([load(api, archive) for archive in archives] for api in both)
    assert ours == theirs


def test_several_images_in_one_archive(both: tuple[Api, Api], dockerd: Engine) -> None:
    _, theirs = both
    load(theirs, rootfs.docker_archive("one:1", TWO))
    load(theirs, rootfs.docker_archive("two:2", THREE))
    saved = theirs.raw("GET", "/images/get?names=one:1&names=two:2").body
    messages = [load(api, saved) for api in both]
    assert sorted(map(str, messages[0])) == sorted(map(str, messages[1]))
    assert len(messages[0]) == 2


def test_events(both: tuple[Api, Api]) -> None:
    answers = []
    for api in both:
        since = f"{time.time():.9f}"
        load(api, rootfs.docker_archive("e:1", TWO))
        load(api, rootfs.docker_archive("e:1", THREE))
        image = json.loads(imported(api, "LABEL a=b", query={"repo": "i:1"}).body)["status"]
        for name in ("e:1", "i:1"):
            api.call("DELETE", f"/images/{name}")
        query = {"since": since, "until": f"{time.time():.9f}", "filters": '{"type":["image"]}'}
        body = api.raw("GET", f"/events?{urlencode(query)}").body.decode()
        found = [json.loads(_without_ids(line, image)) for line in body.splitlines()]
        answers.append([(e["Action"], e["id"], e["Actor"]) for e in found])
    assert answers[0] == answers[1]
