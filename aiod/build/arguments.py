"""Build arguments: which values ARG instructions give, and which reach a stage.

Owns the rules of the Dockerfile reference, "ARG": scope, precedence of ENV, the predefined
arguments. Pure.
"""

from collections.abc import Mapping

_PREDEFINED = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)


class BuildArguments:
    """`given` are the client's values; None stands for one named without a value."""

    def __init__(self, given: Mapping[str, str | None]) -> None:
        self._given = dict(given)
        self._globals: dict[str, str | None] = {}
        self._declared: dict[str, str | None] = {}
        self._used: set[str] = set()

    def declare_global(self, name: str, default: str | None) -> None:
        """An ARG before the first FROM."""
        self._globals[name] = default
        self._used.add(name)

    def begin_stage(self) -> None:
        """What earlier stages declared is out of scope."""
        self._declared = {}

    def declare(self, name: str, default: str | None) -> None:
        """An ARG of a stage."""
        self._declared[name] = default
        self._used.add(name)

    def globals(self) -> dict[str, str]:
        """What FROM may name."""
        values = {name: self._value(name, default) for name, default in self._globals.items()}
        return {name: value for name, value in values.items() if value is not None}

    def in_scope(self, env: Mapping[str, str]) -> dict[str, str]:
        """The arguments that instructions see: those that no variable of the stage hides."""
        names = [*self._declared, *(n for n in _PREDEFINED if self._given.get(n) is not None)]
        found: dict[str, str] = {}
        for name in dict.fromkeys(names):
            value = self._resolved(name)
            if value is not None and name not in env:
                found[name] = value
        return found

    def in_cache_key(self, scope: Mapping[str, str]) -> list[str]:
        """`NAME=value` of those that tell one RUN from another: not undeclared proxies."""
        return sorted(
            f"{name}={value}"
            for name, value in scope.items()
            if name not in _PREDEFINED or name in self._declared or name in self._globals
        )

    def unused(self) -> list[str]:
        """Names the client gave and no ARG declared."""
        return sorted(set(self._given) - self._used - _PREDEFINED)

    def _resolved(self, name: str) -> str | None:
        default = self._declared.get(name)
        if default is None:
            default = self._globals.get(name)
        return self._value(name, default)

    def _value(self, name: str, default: str | None) -> str | None:
        given = self._given.get(name)
        return default if given is None else given
