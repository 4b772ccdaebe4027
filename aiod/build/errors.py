"""Failures that only builds have."""

from aiod.errors import InvalidParameterError


class CommandFailedError(InvalidParameterError):
    """A RUN's command ended with another exit code than 0."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"The command '{command}' returned a non-zero code: {code}")
        self.code = code


class CopyError(InvalidParameterError):
    """Something cannot be put where COPY or ADD was told to put it."""
