"""The images there are, in memory, and which of them a name means.

Must not know records or files. Nothing here awaits.
"""

import re
from collections.abc import Iterable, Iterator

from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images.model import ImageRecord
from aiod.images.reference import check_digest, is_hex64, normalize, parse

_HEX = re.compile(r"[a-f0-9]{1,64}")


class Catalogue:
    """Images by id; `find` as dockerd reads names: reference, digest, then an id's beginning."""

    def __init__(self, images: Iterable[ImageRecord] = ()) -> None:
        self._images = {image.id: image for image in images}

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(tuple(self._images.values()))

    def get(self, image_id: str) -> ImageRecord | None:
        """The image with exactly this id."""
        return self._images.get(image_id)

    def put(self, image: ImageRecord) -> None:
        """Add or replace."""
        self._images[image.id] = image

    def remove(self, image_id: str) -> None:
        """Forget an image that is there."""
        del self._images[image_id]

    def children(self, image_id: str) -> list[ImageRecord]:
        """The images that were built here from this one."""
        return [image for image in self if image.parent == image_id]

    def line_of(self, name: str) -> frozenset[str]:
        """The ids of the image that `name` means and of all built on it; none for no image."""
        try:
            open_ids = [self.find(name).id]
        except (NotFoundError, InvalidParameterError):
            return frozenset()
        found: set[str] = set()
        while open_ids:
            found.add(image_id := open_ids.pop())
            open_ids += [child.id for child in self.children(image_id) if child.id not in found]
        return frozenset(found)

    def named(self, reference: str) -> ImageRecord | None:
        """The image that has this reference, which is in normal form."""
        return next((image for image in self if reference in image.references), None)

    def tagged(self, repository: str) -> dict[str, ImageRecord]:
        """The images of a repository, whose name is in normal form, by tag."""
        found = {
            reference: image
            for image in self
            for reference in map(parse, image.references)
            if reference.name == repository
        }
        return {
            reference.tag: found[reference]
            for reference in sorted(found, key=str)
            if reference.tag is not None and reference.digest is None
        }

    def repositories_with(self, domain: str, blob: str) -> list[str]:
        """Paths of a registry's repositories that an image with this blob came from or went to."""
        found = (
            parse(text) for image in self if blob in image.blobs() for text in image.references
        )
        return list(dict.fromkeys(one.path for one in found if one.domain == domain and one.digest))

    def find(self, name: str) -> ImageRecord:
        """The one image that `name` means.

        Raises NotFoundError, and InvalidParameterError for what no image can be called.
        """
        digest = f"sha256:{name}" if is_hex64(name) else name
        if _is_digest(digest):
            if (exact := self._images.get(digest)) is not None:
                return exact
            raise NotFoundError(f"No such image: {digest}")
        reference = normalize(name)
        if (found := self.named(reference)) is not None:
            return found
        beginning = name.removeprefix("sha256:")
        if _HEX.fullmatch(beginning):
            fitting = [image for image in self if image.id[7:].startswith(beginning)]
            if len(fitting) == 1:
                return fitting[0]
        raise NotFoundError(f"No such image: {parse(reference).familiar}")


def _is_digest(text: str) -> bool:
    try:
        check_digest(text)
    except InvalidParameterError:
        return False
    return True
