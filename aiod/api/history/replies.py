"""Answers as versions differ in them: each rule makes of an answer what the version before had.

The newest come first, so that an old version is reached step by step. Pure; must not know
where answers come from.
"""

from typing import Any

import msgspec

from aiod.api.history.change import GATE, Rules
from aiod.api.render import HostSummary, Summary
from aiod.api.versions import Version
from aiod.wire.times import ZERO

Document = dict[str, Any]

CONTAINER = Rules[Document]("GET /containers/{id}/json")
CONTAINERS = Rules[Summary]("GET /containers/json")  # a struct still: there are thousands
IMAGE = Rules[Document]("GET /images/{name}/json")
IMAGES = Rules[Document]("GET /images/json")
USAGE = Rules[Document]("GET /system/df")
IMAGE_USAGE = Rules[Document]("GET /system/df: Images[]")
INFO = Rules[Document]("GET /info")
ALL: tuple[Rules[Any], ...] = (
    CONTAINER, CONTAINERS, IMAGE, IMAGES, USAGE, IMAGE_USAGE, INFO,
)  # fmt: skip

# What an image's `Config` had of a container's; never set.
_OF_CONTAINERS: Document = {
    "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Domainname": "",
    "Hostname": "", "Image": "", "OpenStdin": False, "StdinOnce": False, "Tty": False,
}  # fmt: skip
_NEVER_LEFT_OUT: Document = {
    "Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "",
    "Volumes": None, "WorkingDir": "",
}  # fmt: skip
_COMMITS = ("ContainerdCommit", "InitCommit", "RuncCommit")
_UNKNOWN = "<unknown>"


def shown(rules: Rules[Document], value: object, version: Version) -> object:
    """`value`, a struct or a dict, as that version has it."""
    if not rules.concern(version):
        return value
    return rules.applied(msgspec.to_builtins(value), version)


@CONTAINER.before((1, 45))
def _short_ids(document: Document) -> Document:
    """`Aliases` are those asked for, the rest is `DNSNames`; before, they had all but the name."""
    for end in document["NetworkSettings"]["Networks"].values():
        if end["DNSNames"]:
            names = dict.fromkeys((*(end["Aliases"] or ()), *end["DNSNames"][1:]))
            end["Aliases"] = list(names)
    return document


@CONTAINERS.before((1, 46))
def _no_annotations(row: Summary) -> Summary:
    """`HostConfig.Annotations` are there."""
    if not row.HostConfig.Annotations:
        return row
    return msgspec.structs.replace(row, HostConfig=HostSummary(row.HostConfig.NetworkMode))


@IMAGE.before((1, 50))
def _of_a_container(document: Document) -> Document:
    """`Config` has an image's fields alone; before, a container's too, all empty."""
    document["Config"] = {**_OF_CONTAINERS, **document["Config"]}
    return document


@IMAGE.before((1, 45))
def _container_config(document: Document) -> Document:
    """`Container` and `ContainerConfig` are gone; before, they were there, empty here."""
    document["Container"] = ""
    document["ContainerConfig"] = {**_NEVER_LEFT_OUT, **_OF_CONTAINERS}
    return document


@IMAGE.before((1, 44))
def _created_at_zero(document: Document) -> Document:
    """`Created` is left out where an image does not tell; before, it was Go's zero time."""
    document["Created"] = document.get("Created") or ZERO
    return document


@IMAGES.before((1, 51))
def _not_counted(document: Document) -> Document:
    """`Containers` counts those made from an image; before, it was -1."""
    document["Containers"] = -1
    return document


@IMAGE.before((1, 44))
@IMAGES.before((1, 44))
@IMAGE_USAGE.before((1, 44))
def _virtual_size(document: Document) -> Document:
    """`VirtualSize` is gone; before, it was the same as `Size`."""
    document["VirtualSize"] = document["Size"]
    return document


@IMAGES.before((1, 43))
@IMAGE_USAGE.before((1, 43))
def _none(document: Document) -> Document:
    """`RepoTags` and `RepoDigests` of a nameless image are empty; before, they had `<none>`."""
    if not document["RepoTags"] and not document["RepoDigests"]:
        document["RepoTags"], document["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]
    return document


@USAGE.before((1, 42))
def _builder_size(document: Document) -> Document:
    """`BuilderSize` is gone; before, it was there, 0 here."""
    document["BuilderSize"] = 0
    return document


@INFO.before((1, 50))
def _bridged_packets(document: Document) -> Document:
    """`BridgeNfIptables` and `BridgeNfIp6tables` are gone; before, they were always false."""
    return {**document, "BridgeNfIptables": False, "BridgeNfIp6tables": False}


@INFO.before((1, 49), GATE)
def _no_firewall(document: Document) -> Document:
    """`FirewallBackend` is there."""
    document.pop("FirewallBackend", None)
    return document


@INFO.before((1, 49))
def _expected(document: Document) -> Document:
    """`Expected` of `ContainerdCommit` and the like is gone; before, it was the same as `ID`."""
    for name in _COMMITS:
        document[name]["Expected"] = document[name]["ID"]
    return document


@INFO.before((1, 49))
def _nondistributable(document: Document) -> Document:
    """`RegistryConfig` has no `AllowNondistributableArtifacts…`; before, both were null."""
    for what in ("CIDRs", "Hostnames"):
        document["RegistryConfig"][f"AllowNondistributableArtifacts{what}"] = None
    return document


@INFO.before((1, 39))
def _unknown(document: Document) -> Document:
    """`KernelVersion` and `OperatingSystem` are empty where unknown; before, `<unknown>`."""
    for name in ("KernelVersion", "OperatingSystem"):
        document[name] = document[name] or _UNKNOWN
    return document


@INFO.before((1, 25))
def _execution_driver(document: Document) -> Document:
    """`ExecutionDriver` is gone; before, it was there, `<not supported>` at last."""
    document["ExecutionDriver"] = "<not supported>"
    return document


@INFO.before((1, 25))
def _names_alone(document: Document) -> Document:
    """`SecurityOptions` are `name=…,key=…`; before, names alone."""
    document["SecurityOptions"] = [_name(option) for option in document["SecurityOptions"]]
    return document


def _name(option: str) -> str:
    fields = dict(field.partition("=")[::2] for field in option.split(","))
    return fields.get("name") or option
