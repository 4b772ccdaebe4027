"""Image references: parsing, normal form and the short form that people read.

Follows the grammar of github.com/distribution/reference, which every Docker client shares.
Sans-I/O: must not know which images exist.
"""

import re
from dataclasses import dataclass

from aiod.errors import InvalidParameterError
from aiod.wire import goglob

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_PATH_MAX = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = rf"(?:(?P<domain>{_HOST}(?::[0-9]+)?)/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"{_NAME}(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_TAG_ALONE = re.compile(_TAG)
_HEX64 = re.compile(r"[a-f0-9]{64}")
_DIGEST_SIZES = {"sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository with an optional tag and digest, always with its domain spelt out."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The repository alone, such as `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as people write it: without what is the default."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return short if "/" not in short else self.path

    @property
    def familiar(self) -> str:
        """The whole reference as people write it, such as `busybox:latest`."""
        return self.familiar_name + self._suffix()

    def with_default_tag(self) -> "Reference":
        """This reference, with `latest` when it has neither tag nor digest."""
        if self.tag is not None or self.digest is not None:
            return self
        return Reference(self.domain, self.path, DEFAULT_TAG)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return tag + (f"@{self.digest}" if self.digest is not None else "")

    def __str__(self) -> str:
        """The normal form, such as `docker.io/library/busybox:latest`."""
        return self.name + self._suffix()


def parse(text: str) -> Reference:
    """Read a reference as Docker does, filling in the domain but not the tag.

    Raises InvalidParameterError with Docker's wording.
    """
    if _HEX64.fullmatch(text):
        raise InvalidParameterError(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, remainder = _split_domain(text)
    remote = remainder.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidParameterError(
            f"invalid reference format: repository name ({remote}) must be lowercase"
        )
    match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if match is None or match["domain"] is None:
        raise InvalidParameterError("invalid reference format")
    if len(match["path"]) > _PATH_MAX:
        raise InvalidParameterError(f"repository name must not be more than {_PATH_MAX} characters")
    if match["digest"] is not None:
        check_digest(match["digest"])
    return Reference(match["domain"], match["path"], match["tag"], match["digest"])


def normalize(text: str) -> str:
    """The normal form with a tag or digest: `busybox` is `docker.io/library/busybox:latest`."""
    return str(parse(text).with_default_tag())


def check_tag(tag: str) -> str:
    """Return `tag` if it may follow a colon; raises InvalidParameterError otherwise."""
    if not _TAG_ALONE.fullmatch(tag):
        raise InvalidParameterError("invalid tag format")
    return tag


def check_digest(digest: str) -> str:
    """Return `digest` if it is `algorithm:hex` of a known algorithm.

    Raises InvalidParameterError with the wording of opencontainers/go-digest.
    """
    algorithm, separator, encoded = digest.partition(":")
    if not separator or not encoded or not re.fullmatch(_DIGEST, digest):
        raise InvalidParameterError("invalid checksum digest format")
    if algorithm not in _DIGEST_SIZES:
        raise InvalidParameterError("unsupported digest algorithm")
    if len(encoded) != _DIGEST_SIZES[algorithm]:
        raise InvalidParameterError("invalid checksum digest length")
    if encoded.lower() != encoded:
        raise InvalidParameterError("invalid checksum digest format")
    return digest


def is_sha256(text: str) -> bool:
    """Whether this is exactly `sha256:` and 64 lower-case hex digits, safe as a file name."""
    return text.startswith("sha256:") and _HEX64.fullmatch(text[7:]) is not None


def is_hex64(text: str) -> bool:
    """Whether this is a whole image id without its algorithm."""
    return _HEX64.fullmatch(text) is not None


def matches_pattern(reference: Reference, pattern: str) -> bool:
    """Whether a `reference=` filter selects this image: a glob over its familiar forms.

    Raises InvalidParameterError for a malformed pattern.
    """
    matches = goglob.matcher(pattern)
    return matches(reference.familiar) or matches(reference.familiar_name)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        domain, remainder = DEFAULT_DOMAIN, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remainder = first, rest
    else:
        domain, remainder = DEFAULT_DOMAIN, text
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder
