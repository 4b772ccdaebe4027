"""Names, history and pruning of images, asked of both engines: the answers agree."""

import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import layertars, rootfs
from tests.support.http import Api, Reply
from tests.support.images import TAR, load, refused

TWO = [rootfs.tar([rootfs.Entry("a", b"1")]), rootfs.tar([rootfs.Entry("b", b"22")])]
THREE = [*TWO, rootfs.tar([rootfs.Entry("c", b"333")])]

TAGS: list[dict[str, str]] = [
    {"repo": "two", "tag": "2"}, {"repo": "two"}, {"repo": "two:3"}, {"repo": "two:3", "tag": "4"},
    {"repo": "localhost:5000/a/b", "tag": "x"}, {"repo": "docker.io/library/two"},
    {"repo": "TWO"}, {"repo": "two", "tag": "!"}, {"tag": "2"}, {},
    {"repo": "two", "tag": "a" * 129},
    {"repo": f"two@sha256:{'1' * 64}"}, {"repo": "1" * 64}, {"repo": "one:1"}, {"repo": "a//b"},
]  # fmt: skip


@pytest.mark.parametrize("query", TAGS, ids=str)
def test_tag(both: tuple[Api, Api], query: dict[str, str]) -> None:
    answers = []
    for api in both:
        load(api, rootfs.docker_archive("one:1", TWO))
        reply = api.send("POST", "/images/one:1/tag", None, **query)
        names = api.call("GET", "/images/one:1/json")["RepoTags"]
        answers.append((refused(reply), names))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["nope", "one:2", "1" * 64, "ONE"])
def test_tag_of_what_is_not_there(both: tuple[Api, Api], name: str) -> None:
    ours, theirs = (api.send("POST", f"/images/{name}/tag", repo="x") for api in both)
    assert refused(ours) == refused(theirs)


def test_a_tag_moves(both: tuple[Api, Api]) -> None:
    answers = []
    for api in both:
        load(api, rootfs.docker_archive("one:1", TWO))
        load(api, rootfs.docker_archive("two:1", THREE))
        first, second = (api.call("GET", f"/images/{n}/json")["Id"] for n in ("one:1", "two:1"))
        since = f"{time.time():.9f}"
        api.call("POST", f"/images/{first[:19]}/tag", repo="two", tag="1")
        shown = [api.call("GET", f"/images/{i}/json")["RepoTags"] for i in (first, second)]
        answers.append([shown, _events(api, since)])
    assert answers[0] == answers[1]


def _events(api: Api, since: str) -> list[Any]:
    query = {"since": since, "until": f"{time.time():.9f}", "filters": '{"type":["image"]}'}
    body = api.raw("GET", f"/events?{urlencode(query)}").body
    found = [json.loads(line) for line in body.splitlines()]
    return [(event["Action"], json.dumps(event["Actor"], sort_keys=True)) for event in found]


STEPS = [
    {"created": "2020-01-02T03:04:05.6Z", "created_by": "/bin/sh -c #(nop) ADD x", "author": "me"},
    {"created": "2021-01-02T03:04:05Z", "created_by": "ENV a=b", "empty_layer": True},
    {"created": "2022-01-02T03:04:05+01:00", "comment": "why"},
]
HISTORIES = {
    "of steps": STEPS,
    "none": [],
    "of one too few": STEPS[:2],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_history(both: tuple[Api, Api], name: str) -> None:
    archive = layertars.docker_archive(TWO, config={"history": HISTORIES[name]})
    answers = []
    for api in both:
        load(api, archive)
        api.call("POST", "/images/h:1/tag", repo="also")
        reply = api.send("GET", "/images/h:1/history")
        body = reply.json()
        for item in body if reply.status == 200 else ():
            item["Tags"] = item["Tags"] and sorted(item["Tags"])
        answers.append((reply.status, body))
    assert answers[0] == answers[1]


def test_a_history_of_more_layers_than_there_are(both: tuple[Api, Api]) -> None:
    history = [*STEPS, {"created_by": "one more"}]
    archive = layertars.docker_archive(TWO, config={"history": history})
    ours, theirs = both
    reply = ours.raw("POST", "/images/load", archive, TAR)
    assert (reply.status, reply.message) == (400, load(theirs, archive)[-1]["error"])


@pytest.mark.parametrize("name", ["nope", "1" * 64, "NOPE"])
def test_history_of_what_is_not_there(both: tuple[Api, Api], name: str) -> None:
    ours, theirs = (api.send("GET", f"/images/{name}/history") for api in both)
    assert refused(ours) == refused(theirs)


PRUNES: list[dict[str, list[str]]] = [
    {}, {"dangling": ["true"]}, {"dangling": ["false"]}, {"dangling": ["x"]},
    {"dangling": ["false"], "label": ["tag=one:1"]}, {"dangling": ["false"], "label": ["tag"]},
    {"dangling": ["false"], "label!": ["tag=one:1"]}, {"dangling": ["false"], "label": ["nope"]},
    {"dangling": ["false"], "until": ["2020-01-01"]}, {"dangling": ["false"], "until": ["24h"]},
    {"dangling": ["false"], "until": ["1", "2"]}, {"dangling": ["false"], "until": ["soon"]},
    {"foo": ["x"]}, {"dangling": ["false"], "label!": ["tag=one:1", "tag=two:2"]},
    {"label": ["tag=three:3"]}, {"until": ["1h"]},
]  # fmt: skip


@pytest.mark.parametrize("filters", PRUNES, ids=str)
def test_prune(both: tuple[Api, Api], filters: dict[str, list[str]]) -> None:
    answers = []
    for api in both:
        holding = api.create(Image="base", Cmd=["x"])
        load(api, rootfs.docker_archive("one:1", TWO))
        load(api, rootfs.docker_archive("two:2", THREE))
        load(api, rootfs.docker_archive("three:3", THREE[1:]))
        load(api, rootfs.docker_archive("three:3", THREE[:1], ["other"]))
        api.call("POST", "/images/one:1/tag", repo="more")
        using = api.create(Image="two:2", Cmd=["x"])
        since = f"{time.time():.9f}"
        reply = api.send("POST", "/images/prune", None, filters=json.dumps(filters))
        kept = sorted(str(row["RepoTags"]) for row in api.call("GET", "/images/json"))
        happened = sorted(_events(api, since))
        for container in (using, holding):
            api.remove(container)
        answers.append([_outcome(reply), kept, happened])
    assert answers[0] == answers[1]


def _outcome(reply: Reply) -> Any:
    if reply.status != 200:
        return [str(part).lower() for part in refused(reply)]
    answer = reply.json()
    return sorted(map(str, answer["ImagesDeleted"] or [])), answer["SpaceReclaimed"]


DOCKERFILE = b"FROM scratch\nCOPY a /\nENV b=c\nLABEL d=e\n"


def built(api: Api, name: str) -> str:
    context = rootfs.tar([rootfs.Entry("Dockerfile", DOCKERFILE), rootfs.Entry("a", b"content")])
    reply = api.raw("POST", f"/build?t={name}", context, TAR)
    assert b"Successfully tagged" in reply.body, reply.body
    return str(api.call("GET", f"/images/{name}/json")["Id"])


@pytest.fixture
def family(both: tuple[Api, Api]) -> tuple[Api, Api]:
    """Each engine has built an image of three steps: two nameless ones are its forebears."""
    for api in both:
        built(api, "built:1")
        rows = api.call("GET", "/images/json", all="1")
        assert sum(row["RepoTags"] in (None, [], ["<none>:<none>"]) for row in rows) == 2
    return both


def test_history_of_a_built_image(family: tuple[Api, Api]) -> None:
    answers = []
    for api in family:
        items = api.call("GET", "/images/built:1/history")
        parent = api.call("GET", "/images/built:1/json")["Parent"]
        assert items[1]["Id"] == parent
        answers.append([(i["CreatedBy"], i["Size"], i["Tags"], len(i["Id"])) for i in items])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("query", [{}, {"noprune": "1"}], ids=str)
def test_removal_of_a_built_image(family: tuple[Api, Api], query: dict[str, str]) -> None:
    answers: list[Any] = []
    for api in family:
        items = api.call("DELETE", "/images/built:1", None, **query)
        left = api.call("GET", "/images/json", all="1")
        kinds = [next(iter(item)) for item in items]
        answers.append([kinds, len(left), sum("base:latest" in row["RepoTags"] for row in left)])
    assert answers[0][0] == answers[1][0]
    assert answers[0][1] - answers[0][2] == answers[1][1] - answers[1][2]


@pytest.mark.parametrize("force", ["0", "1"])
def test_removal_of_an_image_that_another_was_built_from(
    family: tuple[Api, Api], force: str
) -> None:
    answers = []
    for api in family:
        parent = api.call("GET", "/images/built:1/json")["Parent"]
        reply = api.send("DELETE", f"/images/{parent}", force=force)
        answers.append((reply.status, reply.message.replace(parent[7:19], "<parent>")))
    assert answers[0] == answers[1]


def test_a_named_image_that_another_was_built_from_only_loses_its_name(
    family: tuple[Api, Api],
) -> None:
    answers = []
    for api in family:
        parent = api.call("GET", "/images/built:1/json")["Parent"]
        api.call("POST", f"/images/{parent}/tag", repo="named", tag="1")
        answers.append(api.call("DELETE", "/images/named:1"))
        assert api.call("GET", f"/images/{parent}/json")["RepoTags"] == []
    assert answers[0] == answers[1] == [{"Untagged": "named:1"}]


@pytest.mark.parametrize("dangling", ["true", "false"])
def test_prune_of_built_images(family: tuple[Api, Api], dangling: str) -> None:
    answers = []
    for api in family:
        holding = api.create(Image="base", Cmd=["x"])
        before = api.call("GET", "/images/json", all="1")
        reply = api.send("POST", "/images/prune", None, filters=f'{{"dangling":["{dangling}"]}}')
        after = api.call("GET", "/images/json", all="1")
        items = [next(iter(item)) for item in reply.json()["ImagesDeleted"] or ()]
        answers.append([items, reply.json()["SpaceReclaimed"], len(before) - len(after)])
        api.remove(holding)
    assert answers[0] == answers[1]
