"""Files that ADD fetches over HTTP.

Owns the time-outs and the limit of such a download, and the file's name. Must not know where
it is copied to.
"""

import asyncio
import hashlib
import os
import posixpath
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp

from aiod.errors import InvalidParameterError
from aiod.images.content import CHUNK
from aiod.images.files import write_all

_TOLD = 1000  # bytes of a refusal's own words
_CONNECT_SECONDS, _SILENT_SECONDS = 30.0, 60.0


def is_url(word: str) -> bool:
    """Whether a source is to be fetched."""
    return word.startswith(("http://", "https://"))


def file_name(url: str, target: str) -> str:
    """What the copy is called in a directory. Raises InvalidParameterError if that is needed
    and the URL does not say it."""
    name = posixpath.basename(unquote(urlsplit(url).path))
    if name in ("", ".", ".."):
        if target.endswith("/"):
            raise InvalidParameterError(f"cannot determine filename for source {url}")
        return "__unnamed__"
    return name


async def fetch(url: str, place: Path, limit: int, checksum: str) -> None:
    """Write what `url` gives to `place`, readable by its owner alone, with the server's time.

    Raises InvalidParameterError for a failed or too large answer, and for one that does not
    have `checksum` (`sha256:...`) if that is not empty.
    """
    if checksum and not checksum.startswith("sha256:"):
        raise InvalidParameterError(f"unsupported digest algorithm of checksum {checksum}")
    timeout = aiohttp.ClientTimeout(connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
    hashed = hashlib.sha256()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url) as answer,
        ):
            if answer.status >= 400:
                raise InvalidParameterError(
                    f"failed to GET {url} with status {answer.status} {answer.reason}: "
                    + (await answer.content.read(_TOLD)).decode(errors="replace").strip()
                )
            await _write(answer, place, limit, hashed)
            modified = answer.headers.get("Last-Modified", "")
            await asyncio.to_thread(_set_time, place, modified)
    except (aiohttp.ClientError, TimeoutError, ValueError, UnicodeError) as error:
        raise InvalidParameterError(f'Get "{url}": {error or type(error).__name__}') from error
    found = f"sha256:{hashed.hexdigest()}"
    if checksum and found != checksum:
        raise InvalidParameterError(f"digest mismatch {found}: {checksum}")


async def _write(
    answer: aiohttp.ClientResponse, place: Path, limit: int, hashed: "hashlib._Hash"
) -> None:
    size = 0
    with await asyncio.to_thread(place.open, "xb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)
        async for data in answer.content.iter_chunked(CHUNK):
            size += len(data)
            if size > limit:
                raise InvalidParameterError(f"the file is larger than {limit} bytes")
            hashed.update(data)
            await asyncio.to_thread(write_all, file, data)


def _set_time(place: Path, text: str) -> None:
    try:
        moment = int(parsedate_to_datetime(text).timestamp()) if text else 0
    except (ValueError, TypeError):
        moment = 0
    os.utime(place, (moment, moment))
