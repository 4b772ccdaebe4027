"""Clients that people have beside docker's own: aiodocker and testcontainers, unmodified."""

import sys
from typing import Any

import aiodocker
import pytest

from tests.support.playground import Playground

_TESTCONTAINERS = """
import sys, urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

script = "httpd -p 80 -h /etc && echo ready; exec sleep 1000000"
with Network() as network:
    web = DockerContainer("base").with_command(["sh", "-c", script]).with_exposed_ports(80)
    web = web.with_network(network).with_network_aliases("web")
    web = web.waiting_for(LogMessageWaitStrategy("ready"))
    with web:
        address = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/hostname"
        told = urllib.request.urlopen(address, timeout=20).read().decode().strip()
        assert web.get_wrapped_container().id.startswith(told), told
        with DockerContainer("base").with_command("sleep 1000").with_network(network) as other:
            code, output = other.exec(["wget", "-qO-", "http://web/hostname"])
            assert (code, output.decode().strip()) == (0, told), (code, output)
print("done")
"""


@pytest.mark.asyncio
async def test_aiodocker(ground: Playground) -> None:
    names = [ground.name(kind) for kind in ("net", "volume", "served", "asking")]
    network_name, volume_name, served_name, asking_name = names
    docker: Any = aiodocker.Docker(url=ground.engine.host)
    made: list[Any] = []
    try:
        assert "base:latest" in (await docker.images.inspect("base"))["RepoTags"]
        network = await docker.networks.create({"Name": network_name})
        made.append(network)
        volume = await docker.volumes.create({"Name": volume_name})
        made.insert(0, volume)
        # It leaves for the background once it listens.
        script = "echo kept >/data/file; httpd -p 80 -h /data && echo started; exec sleep 1000000"
        host = {"NetworkMode": network_name, "Binds": [f"{volume_name}:/data"]}
        served = await docker.containers.create_or_replace(
            served_name, {"Image": "base", "Cmd": ["sh", "-c", script], "HostConfig": host}
        )
        made.insert(0, served)
        await served.start()
        async for line in served.log(stdout=True, follow=True):
            assert line == "started\n"
            break
        asking = await docker.containers.run(
            {
                "Image": "base",
                "Cmd": ["wget", "-qO-", f"http://{served_name}/file"],
                "HostConfig": {"NetworkMode": network_name},
            },
            name=asking_name,
        )
        made.insert(0, asking)
        assert (await asking.wait())["StatusCode"] == 0
        assert await asking.log(stdout=True) == ["kept\n"]
        exec_ = await served.exec(["cat", "/data/file"])
        async with exec_.start() as stream:
            message = await stream.read_out()
            assert message is not None
            assert message.data == b"kept\n"
            assert await stream.read_out() is None
        assert (await exec_.inspect())["ExitCode"] == 0
        assert (await served.show())["State"]["Running"]
        await served.kill()
    finally:
        for one in made:
            await one.delete(**({"force": True} if hasattr(one, "start") else {}))
        await docker.close()


def test_testcontainers(ground: Playground) -> None:
    environment = {**ground.engine.environment(), "TESTCONTAINERS_RYUK_DISABLED": "true"}
    assignments = [f"{name}={value}" for name, value in environment.items()]
    told = ground.machine.run("env", "-i", *assignments, sys.executable, "-c", _TESTCONTAINERS)
    assert told.splitlines()[-1] == "done"
