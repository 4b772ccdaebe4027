"""A token server of the suite's own, as Docker's token specification describes it.

Signs with a certificate that the registry trusts. Everybody may pull from `public/…`; USER
may do everything. Remembers the secrets' forms it was asked with, not for production.
"""

import base64
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import Certificate
from tests.support.loopback import Loopback

USER = "somebody"
PASSWORD = "secret"
IDENTITY = "an-identity-token"


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class TokenServer(Loopback):
    """Runs inside `with`; `asked` are the grants so far, as (who, scope)."""

    service = "registry of the suite"
    issuer = "the suite"

    def __init__(self, certificate: Certificate, life: int = 300) -> None:
        self.certificate = certificate
        self._life = life
        self.asked: list[tuple[str, str]] = []
        self._chain = base64.b64encode(certificate.der()).decode()
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), self._handler()))

    @property
    def url(self) -> str:
        """The realm."""
        return f"http://127.0.0.1:{self.port}/token"

    def grant(self, who: str, scopes: list[str]) -> dict[str, Any]:
        """The answer for somebody (or nobody) who asks for these scopes."""
        self.asked.append((who, " ".join(scopes)))
        access = [granted for scope in scopes for granted in _access(who, scope)]
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": who, "aud": self.service, "jti": str(time.time_ns()),
            "iat": now, "nbf": now - 10, "exp": now + self._life, "access": access,
        }  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._chain]}
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        token = signed + b"." + _encoded(self.certificate.sign(signed))
        return {"token": token.decode(), "expires_in": self._life}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                who = _basic(self.headers.get("Authorization", ""))
                if who is None:
                    self._refuse()
                    return
                found = server.grant(who, " ".join(query.get("scope", [])).split())
                if who and query.get("offline_token") == ["true"]:
                    found["refresh_token"] = IDENTITY
                self._reply(200, found)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                form = parse_qs(self.rfile.read(length).decode())
                if form.get("refresh_token") != [IDENTITY]:
                    self._refuse()
                    return
                granted = server.grant(USER, " ".join(form.get("scope", [])).split())
                granted["access_token"] = granted.pop("token")
                self._reply(200, granted)

            def _refuse(self) -> None:
                self._reply(401, {"details": "incorrect username or password"})

            def _reply(self, status: int, value: dict[str, Any]) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


def _basic(header: str) -> str | None:
    """The user of a Basic header: "" for none, None for a wrong password."""
    if not header:
        return ""
    given = base64.b64decode(header.removeprefix("Basic ")).decode()
    return USER if given == f"{USER}:{PASSWORD}" else None


def _access(who: str, scope: str) -> list[dict[str, Any]]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    wanted = actions.split(",")
    if not who:
        wanted = [action for action in wanted if action == "pull" and name.startswith("public/")]
    return [{"type": kind, "name": name, "actions": wanted}] if wanted else []
