"""Debian's docker-registry on a loopback port: in clear, with TLS, with passwords, with tokens.

Owns the processes and their scratch directory; must not know engines. `BasicAuth` and
`TokenAuth` know one user, USER with PASSWORD.
"""

import json
import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tests.support.binaries import require
from tests.support.certificates import Certificate
from tests.support.processes import mortal
from tests.support.tokens import PASSWORD, USER, TokenServer

__all__ = ["PASSWORD", "USER", "BasicAuth", "Registry", "TokenAuth"]

# bcrypt of PASSWORD
_HASH = "$2b$04$CNjg7ou0i87utsmtxT/MJuIhN6zvCAj/nco7gMSPuusdlSWOtYF2O"
_LISTENING = re.compile(rb"listening on 127\.0\.0\.1:(\d+)\D")


class Auth(Protocol):
    """One way to keep strangers out."""

    def settings(self, base: Path) -> dict[str, Any]:
        """The `auth` part of the registry's configuration."""
        ...


class BasicAuth:
    """User and password, in a file."""

    def settings(self, base: Path) -> dict[str, Any]:
        """Write the file."""
        (base / "htpasswd").write_text(f"{USER}:{_HASH}\n")
        return {"htpasswd": {"realm": "the suite", "path": str(base / "htpasswd")}}


class TokenAuth:
    """Tokens of a token server that is already running."""

    def __init__(self, server: TokenServer) -> None:
        self.server = server

    def settings(self, base: Path) -> dict[str, Any]:
        """Trust the server's certificate."""
        return {
            "token": {
                "realm": self.server.url,
                "service": self.server.service,
                "issuer": self.server.issuer,
                "rootcertbundle": str(self.server.certificate.certificate),
            }
        }


class Registry:
    """A registry that runs inside `with`; `proxy_of` makes it a pull-through cache."""

    def __init__(
        self,
        base: Path,
        *,
        tls: Certificate | None = None,
        auth: Auth | None = None,
        proxy_of: str = "",
    ) -> None:
        self.base = base
        self._tls = tls
        self._auth = auth
        self._proxy_of = proxy_of
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """`host:port`, as references begin with."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    @property
    def log(self) -> Path:
        """What the registry has logged, its requests included."""
        return self.base / "registry.log"

    def requests(self) -> list[str]:
        """The requests so far, as `GET /v2/…`."""
        pattern = rb'"((?:GET|HEAD|PUT|POST|PATCH|DELETE) \S+) HTTP/'
        return [found.decode() for found in re.findall(pattern, self.log.read_bytes())]

    def _settings(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": f"127.0.0.1:{self.port}", "secret": "of the suite"}
        if self._tls is not None:
            http["tls"] = {
                "certificate": str(self._tls.certificate),
                "key": str(self._tls.key),
            }
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "text"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.base / "data")},
                "delete": {"enabled": True},
            },
            "http": http,
        }
        if self._auth is not None:
            settings["auth"] = self._auth.settings(self.base)
        if self._proxy_of:
            settings["proxy"] = {"remoteurl": self._proxy_of}
        return settings

    def __enter__(self) -> "Registry":
        self.base.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def start(self) -> None:
        """Start, also again on the same port and data after `stop`."""
        file = self.base / "config.json"  # JSON is YAML
        file.write_text(json.dumps(self._settings()))
        begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                mortal([require("docker-registry"), "serve", str(file)]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.base,
            )  # fmt: skip
        self.port = self._listening(begun)

    def _listening(self, begun: int) -> int:
        """The port, from the log: the registry has no other way to say that it is ready."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if found := _LISTENING.search(self.log.read_bytes()[begun:]):
                return int(found[1])
            assert self._process is not None
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"docker-registry: {self.log.read_text()}")

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
