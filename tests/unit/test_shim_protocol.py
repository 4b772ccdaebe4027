"""A daemon and a shim of different releases understand each other.

`shim_v1.json` is what was released as protocol 1: it is added to, never changed.
"""

import json
import re
from pathlib import Path

import msgspec
import pytest

from aiod.shim import protocol
from aiod.shim.proto.aiod.shim.v1 import StateResponse, Status
from aiod.tasks.shim_client import read_state

PROTO = Path(protocol.__file__).parent / "proto" / "shim.proto"
RELEASED = json.loads(Path(__file__).with_name("shim_v1.json").read_text())
FILES: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        protocol.SpawnRequest, protocol.LogConfig, protocol.ShimState, protocol.InitState,
        protocol.ExitRecord, protocol.ExecState, protocol.ExitNotice, protocol.SpawnReply,
    )
}  # fmt: skip


def described(text: str) -> dict[str, dict[str, str]]:
    """Every message, enum and service of a .proto: member -> its type and number."""
    text = re.sub(r"//.*", "", text)
    found: dict[str, dict[str, str]] = {}
    for kind, name, body in re.findall(
        r"(message|enum|service) (\w+) \{(.*?)\n?\}", text, re.DOTALL
    ):
        members = found[f"{kind} {name}"] = {}
        for line in filter(None, (line.strip() for line in re.split(r"[;\n]", body))):
            if kind == "service":
                matched = re.fullmatch(r"rpc (\w+)\s*(\(.*)", line)
                assert matched, line
                members[matched[1]] = re.sub(r"\s+", " ", matched[2])
            else:
                declaration, number = line.split(" = ")
                *kinds, member = declaration.split()
                members[member] = f"{' '.join(kinds)} {number}".strip()
    return found


@pytest.mark.parametrize("part", RELEASED["proto"])
def test_nothing_of_the_protocol_has_changed(part: str) -> None:
    now = described(PROTO.read_text())[part]
    was = RELEASED["proto"][part]
    assert {member: now.get(member) for member in was} == was


def test_no_number_is_used_twice() -> None:
    for part, members in described(PROTO.read_text()).items():
        if part.startswith("service"):
            continue
        numbers = [text.rpartition(" ")[2] for text in members.values()]
        assert len(set(numbers)) == len(numbers), part


@pytest.mark.parametrize("name", FILES)
def test_files_only_grow_by_fields_with_a_default(name: str) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(FILES[name])}
    released = RELEASED["files"][name]
    assert set(released) <= set(fields)
    for added in set(fields) - set(released):
        assert not fields[added].required, added


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_newer_release_are_read(name: str) -> None:
    """With fields that are not known here, and a protocol number that is higher."""
    kind = FILES[name]
    values = {"int": 7, "str": "x", "bool": True}
    content = {
        field: values[str(of).split(" ")[0]]
        for field, of in RELEASED["files"][name].items()
        if str(of).split(" ")[0] in values
    }
    newer = {**content, "protocol": 99, "added_later": {"x": [1]}}
    found = msgspec.json.decode(msgspec.json.encode(newer), type=kind)
    for field, value in content.items():
        assert getattr(found, field) in (value, 99)


def test_a_daemon_takes_up_a_newer_shim(tmp_path: Path) -> None:
    for file, content in (
        (protocol.SHIM_FILE, {"pid": 5, "start_time": 6, "protocol": 99, "cell": "a"}),
        (protocol.INIT_FILE, {"pid": 7, "start_time": 8, "started_at_ns": 9, "numa": [0]}),
        (protocol.EXIT_FILE, {"exit_code": 3, "signal": None, "usage": {"cpu": 1}}),
    ):
        (tmp_path / file).write_text(json.dumps(content))
    found = read_state(tmp_path)
    assert found.problems == ()
    assert found.shim == protocol.ShimState(5, 6, 99)
    assert found.init == protocol.InitState(7, 8, 9)
    assert found.exit == protocol.ExitRecord(3)


def test_a_message_of_a_newer_shim_is_read() -> None:
    known = StateResponse(protocol=99, id="c", status=Status.RUNNING)
    unknown_field = bytes((15 << 3 | 2, 3)) + b"new"
    found = StateResponse.parse(bytes(known) + unknown_field)
    assert (found.protocol, found.id, found.status) == (99, "c", Status.RUNNING)


def test_an_older_shim_says_less() -> None:
    """What it does not send has the value that means: as before the field existed."""
    assert StateResponse.parse(b"") == StateResponse()
    assert msgspec.json.decode(b'{"exit_code": 1}', type=protocol.ExitRecord).signal is None
    least = b'{"id":"c","directory":"/d","cgroup_path":"/g","shim_cgroup":"/s","exits_socket":"/e"}'
    assert msgspec.json.decode(least, type=protocol.SpawnRequest).log.driver == "none"
