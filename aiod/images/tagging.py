"""Names given to images: which are allowed, and who loses one that another gets. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images.model import ImageRecord
from aiod.images.reference import Reference, check_tag, parse

_ALGORITHM = "sha256"  # a name `sha256:...` would read as a digest


def target(repository: str, tag: str) -> Reference:
    """The name that `POST /images/{name}/tag` asks for. Raises InvalidParameterError."""
    reference = parse(repository)
    if tag:
        reference = Reference(reference.domain, reference.path, check_tag(tag))
    if reference.digest is not None:
        raise InvalidParameterError("refusing to create a tag with a digest reference")
    if reference.familiar_name == _ALGORITHM:
        raise InvalidParameterError(
            "refusing to create an ambiguous tag using digest algorithm as name"
        )
    return reference.with_default_tag()


def losing(
    images: Iterable[ImageRecord], keeper: str, references: Sequence[str]
) -> list[ImageRecord]:
    """The images other than `keeper` that have one of `references`, without them."""
    return [
        msgspec.structs.replace(image, references=kept)
        for image in images
        if image.id != keeper
        and (kept := without(image.references, references)) != image.references
    ]


def without(references: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """`references` but those that are `taken`."""
    return tuple(reference for reference in references if reference not in taken)
