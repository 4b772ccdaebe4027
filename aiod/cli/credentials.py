"""Who the user is at registries: docker's `config.json` and its credential helpers.

Owns reading and changing that file and asking the helpers (their protocol: docker's
documentation of "credential helpers"). No password is ever printed or put on a command line.
Must not know the engine.
"""

import base64
import binascii
import contextlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aiod.cli.errors import CliError

DOCKER_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER_SECONDS = 60.0
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers call the user of an identity token


class Secret(msgspec.Struct, frozen=True):
    """What a credential helper is told, and tells."""

    ServerURL: str = ""
    Username: str = ""
    Secret: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A user of a registry: with a password or an identity token."""

    server: str
    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.server!r}, …)"

    def document(self) -> dict[str, str]:
        """As the Engine API has it ("Authentication"), without what is empty."""
        found = {
            "username": self.username,
            "password": self.password,
            "identitytoken": self.identity_token,
            "serveraddress": self.server,
        }
        return {name: value for name, value in found.items() if value}


def server_of(text: str) -> str:
    """The key of a registry: its host, or the well-known URL of Docker Hub's."""
    host = text.partition("://")[2] or text
    host = host.partition("/")[0]
    return DOCKER_HUB if not host or host in _HUB_NAMES else host


def header(document: object) -> str:
    """The value of `X-Registry-Auth` or `X-Registry-Config`: base64url of JSON."""
    return base64.urlsafe_b64encode(msgspec.json.encode(document)).decode()


class Credentials:
    """The file, as it was when it was read."""

    def __init__(self, directory: Path | None = None) -> None:
        chosen = directory or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        self.path = chosen / "config.json"
        self._document = _read(self.path)

    def login(self, server: str) -> Login | None:
        """Who the user is at a registry. Raises CliError when a helper fails."""
        if helper := self._helper(server):
            return _from_helper(helper, server)
        for key, entry in self._auths().items():
            if key == server or server_of(key) == server:
                return _from_entry(server, entry)
        return None

    def registry_auth(self, server: str) -> dict[str, str]:
        """The header `X-Registry-Auth` for a registry; nobody's, if the user is nobody."""
        found = self.login(server)
        return {"X-Registry-Auth": header(found.document() if found else {})}

    def registry_config(self) -> dict[str, str]:
        """The header `X-Registry-Config`: all of the user's logins."""
        helpers = self._document.get("credHelpers") or {}
        servers = dict.fromkeys([*map(server_of, self._auths()), *helpers])
        found = {server: login.document() for server in servers if (login := self.login(server))}
        return {"X-Registry-Config": header(found)}

    def save(self, login: Login) -> str:
        """Keep a login; returns where it is now."""
        entry: dict[str, str] = {}
        if helper := self._helper(login.server):
            user = _TOKEN_USER if login.identity_token else login.username
            secret = Secret(login.server, user, login.identity_token or login.password)
            _ask_helper(helper, "store", msgspec.json.encode(secret))
        else:
            pair = f"{login.username}:{'' if login.identity_token else login.password}"
            entry["auth"] = base64.b64encode(pair.encode()).decode()
            if login.identity_token:
                entry["identitytoken"] = login.identity_token
        self._document.setdefault("auths", {})[login.server] = entry
        self._write()
        return f"docker-credential-{helper}" if helper else str(self.path)

    def forget(self, server: str) -> bool:
        """Drop a login; whether there was one."""
        known = [key for key in self._auths() if key == server or server_of(key) == server]
        if (helper := self._helper(server)) and self.login(server) is not None:
            _ask_helper(helper, "erase", server.encode())
        for key in known:
            del self._document["auths"][key]
        if known:
            self._write()
        return bool(known)

    def _auths(self) -> dict[str, Any]:
        found = self._document.get("auths") or {}
        return found if isinstance(found, dict) else {}

    def _helper(self, server: str) -> str:
        helpers = self._document.get("credHelpers") or {}
        return str(helpers.get(server) or self._document.get("credsStore") or "")

    def _write(self) -> None:
        """In one step, readable by the user alone; a link is written through."""
        target = Path(os.path.realpath(self.path))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = msgspec.json.format(msgspec.json.encode(self._document), indent=2)
        descriptor, name = tempfile.mkstemp(prefix=".config.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(name, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CliError(f"{path} is not valid JSON") from None


def _from_entry(server: str, entry: object) -> Login | None:
    if not isinstance(entry, dict):
        return None
    try:
        pair = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode().rstrip("\0")
    except (binascii.Error, ValueError):
        raise CliError(f"the login of {server} cannot be read: log in again") from None
    username, _, password = pair.partition(":")
    username = username or str(entry.get("username") or "")
    password = password or str(entry.get("password") or "")
    token = str(entry.get("identitytoken") or "")
    if not (username or token):
        return None
    return Login(server, username, "" if token else password, token)


def _from_helper(helper: str, server: str) -> Login | None:
    answer = _ask_helper(helper, "get", server.encode(), may_know_nothing=True)
    if answer is None:
        return None
    try:
        found = msgspec.json.decode(answer, type=Secret)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CliError(f"docker-credential-{helper}: its answer is not understood") from None
    if found.Username == _TOKEN_USER:
        return Login(server, identity_token=found.Secret)
    return Login(server, found.Username, found.Secret)


def _ask_helper(
    helper: str, verb: str, told: bytes, *, may_know_nothing: bool = False
) -> bytes | None:
    """Run a credential helper; None if it may know nothing, and does."""
    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [name, verb], input=told, capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise CliError(f"{name} is not installed, which the user's logins are kept with") from None
    except subprocess.TimeoutExpired:
        raise CliError(f"{name}: no answer within {_HELPER_SECONDS:.0f} seconds") from None
    if done.returncode == 0:
        return done.stdout
    words = " ".join(done.stdout.decode(errors="replace").split())
    if may_know_nothing and "credentials not found" in words:
        return None
    raise CliError(f"{name} {verb}: {words or f'ended with {done.returncode}'}")
