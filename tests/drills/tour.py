"""Tours that can be interrupted anywhere and taken up again by another daemon; one of all verbs.

Each step says what it does and which answers are right when it is repeated, because the
daemon died in it and the step may have happened, or not at all, but never half.
"""

import http.client
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.support import rootfs
from tests.support.daemon import AiodDaemon, armed
from tests.support.http import Api, Json

IMAGE = "tour:1"
OBEDIENT = ["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"]


class StepError(AssertionError):
    """A step was answered otherwise than it may be."""


class Stage(Protocol):
    """A part of a tour."""

    @property
    def title(self) -> str:
        """What is done."""
        ...

    def run(self, api: Api, repeated: bool) -> None:
        """Do it, or do it again; AssertionError if it is answered otherwise than it may be."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One call; `first` are the statuses right at first, `again` those right when repeated."""

    title: str
    do: Callable[[Api], int]
    first: frozenset[int]
    again: frozenset[int] = field(default_factory=frozenset)

    def run(self, api: Api, repeated: bool) -> None:
        """Make the call and check its status."""
        status = self.do(api)
        right = self.first | (self.again if repeated else frozenset())
        if status not in right:
            raise StepError(f"{self.title}: {status}, not {sorted(right)} (repeated: {repeated})")


def post(path: str, body: Json = None, **query: str | int) -> Callable[[Api], int]:
    """The status of a POST."""
    return lambda api: api.send("POST", path, body, **query).status


def delete(path: str, **query: str | int) -> Callable[[Api], int]:
    """The status of a DELETE."""
    return lambda api: api.send("DELETE", path, None, **query).status


def _load(api: Api) -> int:
    layers = [rootfs.busybox_tar(), rootfs.tar([rootfs.Entry("second", b"layer\n")])]
    archive = rootfs.docker_archive(IMAGE, layers)
    reply = api.raw("POST", "/images/load", archive, {"Content-Type": "application/x-tar"})
    return 500 if b'"error"' in reply.body else reply.status


def _import(api: Api) -> int:
    path = "/images/create?fromSrc=-&repo=tour-import&tag=1"
    reply = api.raw("POST", path, rootfs.busybox_tar(), {"Content-Type": "application/x-tar"})
    return 500 if b'"error"' in reply.body else reply.status


def _create(name: str, command: list[str], host: Json = None) -> Callable[[Api], int]:
    body = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": "none", **(host or {})}}
    return lambda api: api.send("POST", "/containers/create", body, name=name).status


def _exec(name: str) -> Callable[[Api], int]:
    def do(api: Api) -> int:
        reply = api.send("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})
        if reply.status != 201:
            return reply.status
        path = f"/exec/{reply.json()['Id']}/start"
        return api.send("POST", path, {"Detach": True}).status

    return do


def _ends_with(name: str, code: int) -> Callable[[Api], int]:
    def do(api: Api) -> int:
        reply = api.send("POST", f"/containers/{name}/wait")
        if reply.status == 200 and reply.json()["StatusCode"] != code:
            raise StepError(f"{name} ended with {reply.json()}, not {code}")
        return reply.status

    return do


def one_step(title: str, do: Callable[[Api], int], first: int, *again: int) -> Step:
    """Answered with `first`, or when it is repeated with `again`."""
    return Step(title, do, frozenset({first}), frozenset(again))


STEPS = [
    one_step("load", _load, 200),
    one_step("import", _import, 200),
    one_step("create", _create("one", OBEDIENT), 201, 409),
    one_step("start", post("/containers/one/start"), 204, 304),
    one_step("pause", post("/containers/one/pause"), 204, 409),
    one_step("unpause", post("/containers/one/unpause"), 204, 500, 409),
    one_step("exec", _exec("one"), 200),
    one_step("update", post("/containers/one/update", {"PidsLimit": 200}), 200),
    one_step("commit", post("/commit", container="one", repo="tour-commit", tag="1"), 201),
    one_step("rename", post("/containers/one/rename", name="uno"), 204, 404),
    one_step("stop", post("/containers/uno/stop"), 204, 304),
    one_step("stopped with its code", _ends_with("uno", 3), 200),
    one_step("start again", post("/containers/uno/start"), 204, 304),
    one_step("restart", post("/containers/uno/restart"), 204),
    one_step("create stubborn", _create("two", ["sleep", "1000"]), 201, 409),
    one_step("start stubborn", post("/containers/two/start"), 204, 304),
    one_step("stop stubborn", post("/containers/two/stop", t=0), 204, 304),
    one_step("killed", _ends_with("two", 137), 200),
    one_step("start to be killed", post("/containers/two/start"), 204, 304),
    one_step("kill", post("/containers/two/kill"), 204, 409),
    one_step("create failing", _create("three", ["no-such"]), 201, 409),
    one_step("start failing", post("/containers/three/start"), 400),
    one_step("create short", _create("four", ["sh", "-c", "exit 5"]), 201, 409),
    one_step("start short", post("/containers/four/start"), 204, 304),
    one_step("short ends", _ends_with("four", 5), 200),
    one_step("create passing", _create("five", ["true"], {"AutoRemove": True}), 201, 409),
    one_step("start passing", post("/containers/five/start"), 204, 304, 404, 409),
    one_step("passing goes", post("/containers/five/wait", condition="removed"), 200, 404),
    one_step(
        "create retrying",
        _create(
            "six", ["false"], {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}
        ),
        201,
        409,
    ),
    one_step("start retrying", post("/containers/six/start"), 204, 304),
    one_step("retrying ends", _ends_with("six", 1), 200),
    one_step("remove", delete("/containers/two"), 204, 404),
    one_step("remove running", delete("/containers/uno", force=1), 204, 404),
    one_step("remove failing", delete("/containers/three"), 204, 404),
    one_step("remove short", delete("/containers/four", v=1), 204, 404),
    one_step("remove retrying", delete("/containers/six", force=1), 204, 404),
    one_step("remove imported", delete("/images/tour-import:1"), 200, 404),
    one_step("remove committed", delete("/images/tour-commit:1"), 200, 404),
    one_step("remove image", delete(f"/images/{IMAGE}"), 200, 404),
]
# "passing goes" may be asked after it went; "start passing" too.
_MAY_BE_GONE = {"passing goes"}


def passes(daemon: AiodDaemon, first: int, repeated: bool, steps: Sequence[Stage] = STEPS) -> int:
    """Take the steps from `first`; returns the index of the one in which the daemon died.

    len(steps) when it never did. `repeated` says that `first` was begun before.
    """
    for index in range(first, len(steps)):
        step = steps[index]
        again = (repeated and index == first) or step.title in _MAY_BE_GONE
        try:
            with daemon.api() as api:
                step.run(api, again)
                api.raw("GET", "/_ping")
        except (http.client.HTTPException, OSError):
            daemon.wait_death(10)
            return index
    return len(steps)


class Walk:
    """A tour that goes round, each daemon going on with the step in which the last one died.

    `settled` is to hold whenever a daemon has begun. So one daemon's death is the next one's
    recovery, and a drill costs hardly more than one start.
    """

    def __init__(
        self, daemon: AiodDaemon, steps: Sequence[Stage], settled: Callable[[], None]
    ) -> None:
        self._daemon, self._steps, self._settled = daemon, steps, settled
        self._index, self._repeated = 0, False
        daemon.sigkill()

    def die_at(self, point: str) -> None:
        """Have a daemon die at `point`: in a step of the tour, if it is not in its start.

        If that is what has to be settled after the death before, it is settled first.
        """
        if self._daemon.running:  # the drill before has failed
            self._daemon.sigkill()
        if not self._begin(point):
            self._settle()
            self._daemon.sigkill()
            if not self._begin(point):
                return
        self._go_on(point)
        assert self._daemon.wait_death() == -signal.SIGKILL, self._daemon.log_tail()

    def complete(self) -> None:
        """Start a daemon that does not die, and come to the tour's end."""
        if self._daemon.running:
            self._daemon.sigkill()
        self._settle()
        assert self._pass(len(self._steps)) == len(self._steps), self._daemon.log_tail()

    def _begin(self, point: str) -> bool:
        """Whether an armed daemon has begun; in what goes on behind its start it may die, too."""
        if self._daemon.launch(armed(point)):
            try:
                self._settled()
            except (http.client.HTTPException, OSError):
                pass
            else:
                return True
        assert self._daemon.wait_death() == -signal.SIGKILL, self._daemon.log_tail()
        return False

    def _settle(self) -> None:
        """With a daemon that does not die, to the end of the step in which the last one died."""
        self._daemon.restart()
        self._settled()
        if self._repeated:
            end = self._index + 1
            assert self._pass(end) == end, self._daemon.log_tail()

    def _pass(self, end: int) -> int:
        """Take the steps before `end`; the index that `passes` returns."""
        self._index = passes(self._daemon, self._index, self._repeated, self._steps[:end])
        self._repeated = self._index < end
        return self._index

    def _go_on(self, point: str) -> None:
        for _ in range(2):
            if self._pass(len(self._steps)) < len(self._steps):
                return
            self._index = 0
        raise AssertionError(f"no step of the tour reaches {point}")
