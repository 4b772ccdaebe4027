"""Routes of image builds.

Owns how the parameters of `POST /build` are read and how a build's output is streamed. Must
not know how images are built.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.history import conduct
from aiod.api.progress import ErrorDetail, ErrorLine
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.build.errors import CommandFailedError
from aiod.build.options import BuildOptions
from aiod.errors import AiodError, InvalidParameterError, UnsupportedError
from aiod.images.model import ProgressMessage
from aiod.images.reference import normalize, parse
from aiod.images.registry.credentials import by_registry
from aiod.store.models import HostConfig, Ulimit

T = TypeVar("T")
_REFUSED = ("cachefrom", "cgroupparent", "isolation", "outputs", "securityopt", "session")
_NOTHING = ("", "[]", "{}", "null", "default")


class CodeDetail(msgspec.Struct, frozen=True):
    """The reason, and the exit code of the command that failed."""

    code: int
    message: str


class CodeLine(msgspec.Struct, frozen=True, rename="camel"):
    """The last line of a build whose command failed."""

    error_detail: CodeDetail
    error: str


class BuiltId(msgspec.Struct, frozen=True, rename={"id": "ID"}):
    """The id of an image that a stage ended with."""

    id: str


class AuxLine(msgspec.Struct, frozen=True):
    """A line for programs."""

    aux: BuiltId


class _Stream:
    """The answer: begun with the first line, so that what fails before has its own status.

    `quiet` keeps the lines back, until the build fails.
    """

    def __init__(self, call: Call, *, quiet: bool) -> None:
        self._lines = replies.JsonLines(call)
        self._tells_ids = conduct.IDS.holds(call.version)
        self._begun = False
        self._quiet = quiet
        self._kept: list[object] = []

    @property
    def begun(self) -> bool:
        """Whether the header is sent."""
        return self._begun

    async def tell(self, text: str) -> None:
        """Text for a person."""
        if text:
            await self._send(ProgressMessage(stream=text))

    async def complain(self, text: str) -> None:
        """Text in red, as dockerd colours what commands write to standard error."""
        if text:
            await self._send(ProgressMessage(stream=f"\x1b[91m{text}\x1b[0m"))

    async def progress(self, message: ProgressMessage) -> None:
        """A line of a pull's."""
        await self._send(message)

    async def image(self, image_id: str) -> None:
        """An id for programs, as far as the version has it."""
        if self._tells_ids:
            await self._send(AuxLine(BuiltId(image_id)))

    async def _send(self, line: object) -> None:
        if self._quiet:
            self._kept.append(line)
            return
        if not self._begun:
            self._begun = True
            await self._lines.__aenter__()
        await self._lines.send(line)

    async def succeed(self, image_id: str) -> web.StreamResponse:
        """The end of a build that went well."""
        if self._quiet:
            self._quiet = False
            await self.tell(f"{image_id}\n")
        await self._lines.__aexit__(None, None, None)
        return self._lines.response

    async def fail(self, error: AiodError) -> web.StreamResponse:
        """The end of one that did not. Raises `error` if nothing was sent yet."""
        self._quiet = False
        for line in self._kept:
            await self._send(line)
        if not self._begun:
            raise error
        await self._lines.send(_error_line(error))
        await self._lines.__aexit__(None, None, None)
        return self._lines.response


def _error_line(error: AiodError) -> object:
    if isinstance(error, CommandFailedError):
        return CodeLine(CodeDetail(error.code, error.message), error.message)
    return ErrorLine(ErrorDetail(error.message), error.message)


class BuildRoutes:
    """`POST /build`."""

    def __init__(self, services: Services) -> None:
        self._builds = services.builds

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("POST", "/build", self._build, interruptible=True)]

    async def _build(self, call: Call) -> web.StreamResponse:
        query = call.query()
        options = _options(call, query)
        stream = _Stream(call, quiet=params.boolean(query, "q"))
        try:
            image = await self._builds.build(call.request.content.iter_any(), options, stream)
        except AiodError as error:
            return await stream.fail(error)
        return await stream.succeed(image.id)


def _options(call: Call, query: dict[str, str]) -> BuildOptions:
    _refuse(query)
    return BuildOptions(
        dockerfile=query.get("dockerfile", ""),
        tags=tuple(dict.fromkeys(_tag(text) for text in call.values("t") if text)),
        target=query.get("target", ""),
        platform=query.get("platform", ""),
        no_cache=params.boolean(query, "nocache"),
        pull=params.boolean(query, "pull"),
        remove=params.boolean(query, "rm", default=True),
        arguments=_json(query, "buildargs", dict[str, str | None], {}),
        labels=_json(query, "labels", dict[str, str], {}),
        host=_host(call, query),
        credentials=by_registry(call.request.headers.get("X-Registry-Config", "")),
    )


def _refuse(query: Mapping[str, str]) -> None:
    if query.get("version", "1") not in ("", "1"):
        raise UnsupportedError(
            "build: version 2 (BuildKit) is not supported by aiod: set DOCKER_BUILDKIT=0"
        )
    if params.boolean(query, "squash"):
        raise InvalidParameterError("build: squash is only supported with experimental mode")
    if query.get("remote"):
        raise UnsupportedError("build: remote is not supported by aiod yet; send the context")
    for name in _REFUSED:
        if query.get(name, "") not in _NOTHING:
            raise UnsupportedError(f"build: {name} is not supported by aiod yet")


def _tag(text: str) -> str:
    reference = parse(text)
    if reference.digest is not None:
        raise InvalidParameterError("build tag cannot contain a digest")
    return normalize(text)


def _json(query: Mapping[str, str], name: str, kind: type[T], default: T) -> T:
    text = query.get(name, "")
    if text in ("", "null"):
        return default
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InvalidParameterError(f"error reading {name}: {error}") from None


def _host(call: Call, query: Mapping[str, str]) -> HostConfig:
    """The limits of the containers that RUN makes."""
    mode = query.get("networkmode", "")
    return HostConfig(
        Memory=params.integer(query, "memory"),
        MemorySwap=params.integer(query, "memswap"),
        CpuShares=params.integer(query, "cpushares"),
        CpuPeriod=params.integer(query, "cpuperiod"),
        CpuQuota=params.integer(query, "cpuquota"),
        CpusetCpus=query.get("cpusetcpus", ""),
        CpusetMems=query.get("cpusetmems", ""),
        ShmSize=params.integer(query, "shmsize"),
        NetworkMode="" if mode == "bridge" else mode,
        ExtraHosts=call.values("extrahosts") or None,
        Ulimits=_json(query, "ulimits", list[Ulimit], []) or None,
    )
