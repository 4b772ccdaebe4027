"""JSON bodies decoded as Go's encoding/json decodes them, on which clients rely.

Source: https://pkg.go.dev/encoding/json#Unmarshal: null leaves the default, a member's name
matches whatever its case, unknown members are ignored, integers have 64 bits. Pure; must
not know any body's meaning.
"""

import functools
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_LEAST, _LARGEST = -(1 << 63), (1 << 63) - 1


class RangeError(Exception):
    """A number that no 64 bit integer holds; the message names it and its place."""


@dataclass(frozen=True, slots=True)
class _Object:
    """A struct's members: from the lower-case name to the true one and its value's shape."""

    members: dict[str, tuple[str, "_Shape"]]


@dataclass(frozen=True, slots=True)
class _Each:
    """A list or a map: the shape of what is in it, and what null in it stands for."""

    inner: "_Shape"
    zero: Any


_Shape = _Object | _Each | None


@functools.cache
def _shape(kind: Any) -> _Shape:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return _Object(
            {
                field.encode_name.lower(): (field.encode_name, _shape(hints[field.name]))
                for field in msgspec.structs.fields(kind)
            }
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return next((found for part in arguments if (found := _shape(part)) is not None), None)
    if origin in (list, dict, tuple):
        inner = arguments[-1] if arguments[-1] is not Ellipsis else arguments[0]
        return _Each(_shape(inner), _zero(inner))
    return None


def _zero(kind: Any) -> Any:
    """What null stands for within a list or a map."""
    if kind in (str, int, bool):
        return kind()
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return {} if is_struct or typing.get_origin(kind) is dict else None


def _fitted(value: Any, shape: _Shape, place: str) -> Any:
    """`value` with the true names and without nulls. Raises RangeError."""
    if isinstance(value, int) and not _LEAST <= value <= _LARGEST:
        raise RangeError(f"number {value} does not fit into 64 bits - at `{place}`")
    if isinstance(value, list):
        each = shape if isinstance(shape, _Each) else _Each(None, None)
        return [
            each.zero if item is None else _fitted(item, each.inner, f"{place}[{index}]")
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if isinstance(shape, _Object):
        return _members(value, shape, place)
    each = shape if isinstance(shape, _Each) else _Each(None, None)
    return {
        key: each.zero if item is None else _fitted(item, each.inner, f"{place}.{key}")
        for key, item in value.items()
    }


def _members(value: dict[str, Any], shape: _Object, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        member = shape.members.get(key.lower())
        if item is not None and member is not None:
            name, inner = member
            found[name] = _fitted(item, inner, f"{place}.{name}")
    return found


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a body. Raises RangeError, RecursionError or msgspec's errors."""
    value = msgspec.json.decode(data)
    if value is None:
        value = {}
    return msgspec.convert(_fitted(value, _shape(typing.cast("Any", kind)), "$"), kind)
