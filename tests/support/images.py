"""Images of an engine over its API, the same for every engine."""

import json
import re
from typing import Any

from tests.support.http import Api, Reply

TAR = {"Content-Type": "application/x-tar"}


def load(api: Api, archive: bytes) -> list[Any]:
    """Load an archive; every message of the answer."""
    reply = api.raw("POST", "/images/load", archive, TAR)
    assert reply.status == 200, reply.message
    return [json.loads(line) for line in reply.body.splitlines()]


def remove_all(api: Api) -> None:
    """Every image but `base` goes."""
    for row in api.call("GET", "/images/json"):
        if "base:latest" not in row["RepoTags"]:
            api.send("DELETE", f"/images/{row['Id']}", force="1")


def as_of_old(message: str) -> str:
    """Newer references say which name is not in lower case; dockerd 20.10 does not."""
    return re.sub(r"repository name \(\S+\) must", "repository name must", message)


def refused(reply: Reply) -> tuple[int, str]:
    """Status and words of an answer; where dockerd 20.10 has 500 for bad input, newer have 400."""
    return 400 if reply.status == 500 else reply.status, as_of_old(reply.message)
