"""What a probe is and what it finds.

Owns the rule that a probe never raises: what goes wrong is its finding.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiod.config import DEFAULT_HOST, Paths


class Verdict(enum.StrEnum):
    """What a finding means for aiod."""

    OK = "ok"
    NOTE = "note"  # it runs, with less
    MISSING = "missing"  # it does not run


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: a daemon's directories and address on this machine."""

    paths: Paths = field(default_factory=Paths)
    host: str = DEFAULT_HOST

    @property
    def home(self) -> Path:
        """The nearest directory above or at the root that exists already."""
        place = self.paths.root.absolute()
        while not place.is_dir():
            place = place.parent
        return place


class AbsentError(Exception):
    """The thing is not there; the message says what was seen."""


class LessError(Exception):
    """It is there with less than it could be; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `remedy` is empty when all is well."""

    topic: str
    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to look at.

    `look` returns what it saw, or raises AbsentError, LessError or OSError; `needed` tells
    whether aiod can do without; `remedy` what to do then.
    """

    topic: str
    name: str
    look: Callable[[Subject], str]
    remedy: str
    needed: bool = True

    def run(self, subject: Subject) -> Finding:
        """Look, and turn whatever happens into a finding."""
        try:
            return Finding(self.topic, self.name, Verdict.OK, self.look(subject))
        except LessError as error:
            verdict, detail = Verdict.NOTE, str(error)
        except (AbsentError, OSError) as error:
            verdict = Verdict.MISSING if self.needed else Verdict.NOTE
            detail = _words(error)
        return Finding(self.topic, self.name, verdict, detail, self.remedy)


def _words(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    said = error.strerror or str(error)
    return f"{said}: {error.filename}" if error.filename else said
