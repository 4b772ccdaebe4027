"""How a command fails: one line for the user, and the status to leave with.

Must not know which command it was.
"""


class CliError(Exception):
    """What to say on standard error (one line, without a prefix) and the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class EngineError(CliError):
    """The engine refused: its own words and HTTP status."""

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class UnreachableError(CliError):
    """There is no engine to ask, or it went away in the middle."""


class OutputGoneError(Exception):
    """Nobody reads our standard output any more."""


class HangupError(Exception):
    """The user's terminal is gone."""
