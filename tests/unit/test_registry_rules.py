"""Registries: what needs no registry to be right."""

import base64
import json

import pytest
from yarl import URL

from aiod.config import RegistryHost, RegistrySettings
from aiod.errors import InvalidParameterError
from aiod.images.registry import challenge, credentials, errors, hosts
from aiod.images.registry.proxies import proxy_for

CHALLENGES = {
    'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"': [
        ("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})
    ],
    'Basic realm="a \\"b\\", c", Bearer realm=x': [
        ("basic", {"realm": 'a "b", c'}),
        ("bearer", {"realm": "x"}),
    ],
    "Negotiate, basic REALM=a": [("negotiate", {}), ("basic", {"realm": "a"})],
    "": [],
    '="': [],
}


@pytest.mark.parametrize("header", CHALLENGES)
def test_challenges(header: str) -> None:
    found = challenge.parse([header])
    assert [(one.scheme, one.parameters) for one in found] == CHALLENGES[header]


def encoded(**fields: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def test_credentials_are_read_and_never_shown() -> None:
    found = credentials.from_header(encoded(username="u", password="p?>~", serveraddress="h"))
    assert (found.username, found.password, found.server) == ("u", "p?>~", "h")
    assert found.basic == "Basic " + base64.b64encode(b"u:p?>~").decode()
    assert "p?>~" not in f"{found!r} {found}"
    pair = base64.b64encode(b"u:p:q").decode()
    assert credentials.from_header(encoded(auth=pair)).password == "p:q"
    assert credentials.from_header(encoded(identitytoken="t")).identity_token == "t"
    assert not credentials.from_header("e30=")
    assert not credentials.from_header("")


@pytest.mark.parametrize("text", ["%%%", "bm90IGpzb24=", "WzFd", "x" * 100_000])
def test_a_bad_header_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="invalid X-Registry-Auth header") as caught:
        credentials.from_header(text)
    assert text not in caught.value.message


PROXIES = {
    ("https://r.lan/v2/", "", "http://p:1"): True,
    ("https://r.lan/v2/", "r.lan", "http://p:1"): False,
    ("https://a.r.lan/v2/", "r.lan", "p:1"): False,
    ("https://r.lan/v2/", ".r.lan", "p:1"): True,
    ("https://r.lan:5000/v2/", "r.lan:5001", "p:1"): True,
    ("https://r.lan:5000/v2/", "x, r.lan:5000", "p:1"): False,
    ("https://10.1.2.3/v2/", "10.0.0.0/8", "p:1"): False,
    ("https://10.1.2.3/v2/", "10.1.2.4", "p:1"): True,
    ("https://[fd00::1]/v2/", "fd00::/8", "p:1"): False,
    ("https://r.lan/v2/", "*", "p:1"): False,
    ("https://localhost:5000/v2/", "", "p:1"): False,
    ("https://127.0.0.1:5000/v2/", "", "p:1"): False,
}


@pytest.mark.parametrize("case", PROXIES)
def test_proxies_of_the_environment(case: tuple[str, str, str]) -> None:
    url, excepted, proxy = case
    found = proxy_for(URL(url), {"HTTPS_PROXY": proxy, "NO_PROXY": excepted})
    assert found == (URL("http://p:1") if PROXIES[case] else None)
    assert proxy_for(URL("http://r.lan"), {"HTTPS_PROXY": proxy}) is None


def test_hosts() -> None:
    settings = RegistrySettings(
        insecure=("10.0.0.0/8", "r.lan:5000"),
        mirrors=("https://m.lan/",),
        hosts={"x.lan": RegistryHost(mirrors=("http://a.lan:1",), insecure=True)},
    )
    insecure = ("127.0.0.1:5000", "localhost:1", "[::1]:5", "10.9.9.9:5", "r.lan:5000", "x.lan")
    assert all(hosts.is_insecure(host, settings) for host in insecure)
    assert not any(hosts.is_insecure(host, settings) for host in ("r.lan", "11.0.0.1", "docker.io"))
    assert hosts.origin("docker.io", settings).bases == (URL("https://registry-1.docker.io"),)
    assert hosts.origin("x.lan", settings).bases == (URL("https://x.lan"), URL("http://x.lan"))
    assert hosts.mirrors("docker.io", settings)[0].bases == (URL("https://m.lan"),)
    assert hosts.mirrors("x.lan", settings)[0].domain == "a.lan:1"
    assert hosts.mirrors("r.lan:5000", settings) == []


REFUSALS = {
    (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'):
        (404, "manifest unknown: manifest unknown"),
    (401, b'{"details":"incorrect username or password"}'):
        (401, "unauthorized: incorrect username or password"),
    (403, b"no\r\nway\x1b[31m"): (403, "denied: no  way [31m"),
    (500, b""): (500, "unknown: the registry answered 500"),
    (404, b'{"errors":[]}'): (404, 'manifest unknown: {"errors":[]}'),
}  # fmt: skip


@pytest.mark.parametrize("answer", REFUSALS)
def test_refusals_in_docker_s_words(answer: tuple[int, bytes]) -> None:
    error = errors.from_answer(*answer, unknown=errors.MANIFEST_UNKNOWN)
    assert (error.status, error.message) == REFUSALS[answer]
