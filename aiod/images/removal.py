"""What `DELETE /images/{name}` does to an image, decided before anything is done.

Owns dockerd's rules of untagging and deleting, and its words for conflicts. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiod.errors import ConflictError
from aiod.images.model import ContainerUse, ImageRecord
from aiod.images.reference import Reference, normalize, parse


@dataclass(frozen=True, slots=True)
class Removal:
    """References to take away, those that stay, and whether the image itself goes.

    `announced` are those of `untagged` that get an event.
    """

    untagged: tuple[str, ...]
    announced: tuple[str, ...]
    kept: tuple[str, ...]
    deleted: bool


def decide(
    image: ImageRecord, name: str, uses: Iterable[ContainerUse], force: bool, children: bool
) -> Removal:
    """What removing `name`, which means `image`, does. Raises ConflictError.

    `children` says whether images that were built from it are there.
    """
    containers = list(uses)
    if image.id.startswith(name) or image.id[7:].startswith(name):
        return _by_id(image, containers, force, children)
    return _by_reference(image, name, containers, force, children)


def _by_id(
    image: ImageRecord, uses: Sequence[ContainerUse], force: bool, children: bool
) -> Removal:
    if children:
        raise _refusal(image, "cannot be forced", "image has dependent child images")
    shared = bool(image.references) and not _is_single(image.references)
    if conflict := _conflict(image, uses, force, shared=shared):
        raise conflict
    return Removal(image.references, image.references, (), deleted=True)


def _by_reference(
    image: ImageRecord, name: str, uses: Sequence[ContainerUse], force: bool, children: bool
) -> Removal:
    if uses and not force and _is_single(image.references):
        raise ConflictError(
            f'conflict: unable to remove repository reference "{name}" (must force) - container '
            f"{uses[0].container_id[:12]} is using its referenced image {_short(image)}"
        )
    gone = normalize(name)
    untagged = (gone, *_orphaned(image.references, parse(gone)))
    kept = tuple(text for text in image.references if text not in untagged)
    # Without a name but needed it stays, as Docker keeps it.
    deleted = not kept and not children and not _conflict(image, uses, force, shared=False)
    return Removal(untagged, (gone,), kept, deleted)


def _orphaned(references: Sequence[str], gone: Reference) -> tuple[str, ...]:
    """Digest references of a repository that loses its last tag here."""
    others = [parse(text) for text in references if text != str(gone)]
    same = [other for other in others if other.name == gone.name]
    if gone.digest is not None or any(other.digest is None for other in same):
        return ()
    return tuple(str(other) for other in same)


def _is_single(references: Sequence[str]) -> bool:
    """One tag at most, and every digest reference of its repository."""
    parsed = [parse(text) for text in references]
    tags = [reference for reference in parsed if reference.digest is None]
    return len(tags) <= 1 and len({reference.name for reference in parsed}) == 1


def _conflict(
    image: ImageRecord, uses: Sequence[ContainerUse], force: bool, *, shared: bool
) -> ConflictError | None:
    running = next((use for use in uses if use.running), None)
    if running is not None:
        return _refusal(image, "cannot be forced", "image is being used by running container "
                        + running.container_id[:12])  # fmt: skip
    if shared and not force:
        return _refusal(image, "must be forced", "image is referenced in multiple repositories")
    if uses and not force:
        return _refusal(image, "must be forced", "image is being used by stopped container "
                        + uses[0].container_id[:12])  # fmt: skip
    return None


def _refusal(image: ImageRecord, force: str, reason: str) -> ConflictError:
    return ConflictError(f"conflict: unable to delete {_short(image)} ({force}) - {reason}")


def _short(image: ImageRecord) -> str:
    return image.id[7:19]
