"""What `/etc/hosts` and `/etc/resolv.conf` are refused, and what a start does to them."""

from typing import Any

import pytest

from tests.support.engine import Engine

REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"ExtraHosts": ["bad"]}, 400, 'bad format for add-host: "bad"'),
    ({"ExtraHosts": ["a:1.2.3"]}, 400, 'invalid IP address in add-host: "1.2.3"'),
    ({"NetworkMode": "container:other", "ExtraHosts": ["a:1.2.3.4"]}, 400,
     "conflicting options: custom host-to-IP mapping and the network mode"),
    ({"NetworkMode": "container:other", "Dns": ["1.2.3.4"]}, 400,
     "conflicting options: dns and the network mode"),
    ({"NetworkMode": "host", "Links": ["other"]}, 400,
     "conflicting options: host type networking can't be used with links. "
     "This would result in undefined behavior"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "status", "message"), REFUSED)
def test_refused(engine: Engine, host: dict[str, Any], status: int, message: str) -> None:
    asked = {"Image": "base", "Cmd": ["true"], "HostConfig": host}
    with engine.api() as api:
        reply = api.send("POST", "/containers/create", asked)
    assert (reply.status, reply.message) == (status, message)


def test_a_start_writes_them_anew(engine: Engine) -> None:
    """What somebody has written into them holds until then."""
    files = "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"
    script = f"cat {' '.join(files)}; for f in {' '.join(files)}; do echo '# mine' >> $f; done"
    with engine.api() as api:
        made = api.create("edited", Image="base", Cmd=["sh", "-c", script],
                          HostConfig={"NetworkMode": "none"})  # fmt: skip
        try:
            for _ in range(2):
                api.start(made)
                assert api.wait(made) == 0
            logs = engine.docker("logs", "edited").stdout
            assert "mine" not in logs
            assert logs.count("127.0.0.1\tlocalhost\n") == 2
            assert logs.count(made[:12]) == 2  # its name; in none it has no address to have it
        finally:
            api.remove(made)
