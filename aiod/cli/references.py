"""Image references as a user types them. Must not know which images exist."""

from dataclasses import replace

from aiod.cli.errors import CliError
from aiod.errors import InvalidParameterError
from aiod.images.reference import DEFAULT_TAG, Reference, parse


def parsed(text: str) -> Reference:
    """Read one; CliError for what is none."""
    try:
        return parse(text)
    except InvalidParameterError as error:
        raise CliError(f"{text!r}: {error.message}") from None


def repository(text: str) -> Reference:
    """Read one that must have neither tag nor digest."""
    found = parsed(text)
    if found.tag is not None or found.digest is not None:
        raise CliError("a tag can't be used with --all-tags")
    return found


def tagged(text: str) -> Reference:
    """Read one; without tag and digest it is the tag `latest`."""
    found = parsed(text)
    if found.tag is None and found.digest is None:
        return replace(found, tag=DEFAULT_TAG)
    return found
