"""Device rules: what a list of them comes to, and the instructions for it."""

import struct

import pytest

from aiod.native import devicefilter
from aiod.native.devicefilter import Policy, assemble, policy
from aiod.native.errors import NativeError
from aiod.native.spec import DeviceCgroup as Rule

READ, WRITE, MAKE = 2, 4, 1
NOTHING = Rule(allow=False)


def run(program: bytes, kind: str, access: int, major: int, minor: int) -> bool:
    """What the kernel would answer: the few instructions that a filter is made of."""
    words = {0: access << 16 | {"b": 1, "c": 2}[kind], 4: major, 8: minor}
    registers = [0] * 11
    code = [struct.unpack("=BBhi", program[i : i + 8]) for i in range(0, len(program), 8)]
    position = 0
    for _ in range(10_000):
        operation, both, offset, value = code[position]
        target, source, value = both & 15, both >> 4, value & 0xFFFFFFFF
        position += 1
        match operation:
            case 0x61:
                assert source == 1
                registers[target] = words[offset]
            case 0xBC:
                registers[target] = registers[source]
            case 0xB4:
                registers[target] = value
            case 0x54:
                registers[target] &= value
            case 0x74:
                registers[target] >>= value
            case 0x56:
                position += offset if registers[target] != value else 0
            case 0x46:
                position += offset if registers[target] & value else 0
            case 0x05:
                position += offset
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")
    raise AssertionError("it does not end")


def test_only_what_is_allowed() -> None:
    program = assemble(policy([NOTHING, Rule(True, "c", 1, 3), Rule(True, "c", 1, 5, "r")]))
    assert run(program, "c", READ | WRITE, 1, 3)
    assert run(program, "c", READ, 1, 5)
    assert not run(program, "c", WRITE, 1, 5)
    assert not run(program, "c", READ | WRITE, 1, 5)
    assert not run(program, "b", READ, 1, 3)
    assert not run(program, "c", READ, 2, 3)


def test_wildcards() -> None:
    program = assemble(policy([NOTHING, Rule(True, "b", access="m"), Rule(True, "c", 136)]))
    assert run(program, "b", MAKE, 7, 9)
    assert not run(program, "b", READ, 7, 9)
    assert run(program, "c", WRITE, 136, 12)


def test_everything_but() -> None:
    program = assemble(policy([Rule(True), Rule(False, "c", 1, 5, "w")]))
    assert run(program, "c", READ, 1, 5)
    assert not run(program, "c", WRITE, 1, 5)
    assert not run(program, "c", READ | WRITE, 1, 5)
    assert run(program, "b", WRITE, 1, 5)


def test_rules_one_after_the_other() -> None:
    both = policy([NOTHING, Rule(True, "c", 1, 5, "r"), Rule(True, "c", 1, 5, "w")])
    assert both == Policy(False, {("c", 1, 5): READ | WRITE})
    assert policy([NOTHING, Rule(True, "c", 1, 5), Rule(False, "c", 1, 5, "w")]) == Policy(
        False, {("c", 1, 5): READ | MAKE}
    )
    assert policy([NOTHING, Rule(True, "c", 1, 5), NOTHING]) == Policy(False, {})
    assert policy([]) == Policy(True, {})
    assert policy([NOTHING, Rule(True, "a", 5, 1)]).exceptions == {("b", 5, 1): 7, ("c", 5, 1): 7}


def test_large_numbers() -> None:
    program = assemble(policy([NOTHING, Rule(True, "c", (1 << 32) - 1, 0)]))
    assert run(program, "c", READ, (1 << 32) - 1, 0)


@pytest.mark.parametrize("rule", [Rule(True, "x"), Rule(True, "c", access="q")])
def test_wrong_rules_are_named(rule: Rule) -> None:
    with pytest.raises(NativeError, match="cgroup devices: unknown"):
        devicefilter.policy([rule])
