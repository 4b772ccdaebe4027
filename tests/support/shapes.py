"""The shape of a JSON document: which fields it has, and of which kinds."""

from collections.abc import Iterator
from typing import Any


def shape(value: Any) -> Any:
    """Names and types; an empty list has no elements to tell of."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def unlike(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    """What only one of two shapes has, or has as another type."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            here = f"{path}.{name}"
            if name in ours and name in theirs:
                yield from unlike(ours[name], theirs[name], here)
            else:
                yield f"+{here}" if name in ours else f"-{here}"
    elif isinstance(ours, list) and isinstance(theirs, list):
        if ours and theirs:
            yield from unlike(ours[0], theirs[0], f"{path}[]")
    elif ours != theirs:
        yield f"~{path}"
