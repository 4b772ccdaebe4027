"""The registry client against Debian's docker-registry: addresses, TLS, authentication."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiod.config import RegistrySettings
from aiod.errors import UnauthorizedError
from aiod.images.config import decode_manifest
from aiod.images.registry import client
from aiod.images.registry.credentials import ANONYMOUS, Credentials
from aiod.images.registry.errors import RegistryError, UnreachableError, UntrustedError
from aiod.images.registry.transport import Transport
from tests.support import rootfs
from tests.support.binaries import require
from tests.support.certificates import Authority, authority
from tests.support.registry import PASSWORD, USER, BasicAuth, Registry, TokenAuth
from tests.support.tokens import IDENTITY, TokenServer

WHO = Credentials(USER, PASSWORD)
WRONG = Credentials(USER, "wrong")


def push(registry: Registry, name: str, source: Path, *options: str) -> None:
    """Have skopeo put the archive there."""
    command = [require("skopeo"), "copy", "-q", "--dest-tls-verify=false", *options]
    target = f"docker://{registry.address}/{name}"
    subprocess.run([*command, f"docker-archive:{source}", target], check=True, timeout=60)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "a.tar"
    path.write_bytes(rootfs.docker_archive("a:1", [rootfs.tar([rootfs.Entry("f", b"content\n")])]))
    return path


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    settings = RegistrySettings(certificates=tmp_path / "certs.d", attempts=2, first_delay=0.01)
    made = Transport(settings)
    yield made
    await made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "plain") as registry:
        yield registry


async def repository(
    transport: Transport, registry: Registry, path: str, who: Credentials = ANONYMOUS
) -> client.Repository:
    return await client.origin(transport, registry.address, who).repository(path)


async def test_manifests_blobs_and_tags(
    transport: Transport, plain: Registry, archive: Path
) -> None:
    push(plain, "one/two:1", archive)
    push(plain, "one/two:2", archive)
    there = await repository(transport, plain, "one/two")
    fetched = await there.manifest("1")
    head = await there.manifest_head("1")
    assert head is not None
    assert (head.digest, head.size) == (fetched.digest, len(fetched.data))
    assert (await there.manifest(fetched.digest)).data == fetched.data
    layer = decode_manifest(fetched.data).layers[0]
    assert await there.blob_size(layer.digest) == layer.size
    whole = await there.small_blob(layer.digest, layer.size)
    async with there.blob(layer.digest, 10) as stream:
        assert stream.offset == 10
        assert b"".join([chunk async for chunk in stream.chunks()]) == whole[10:]
    assert sorted(await there.tags()) == ["1", "2"]
    assert await there.manifest_head("none") is None
    assert await there.blob_size(f"sha256:{'0' * 64}") is None
    assert await there.referrers(fetched.digest) == []
    with pytest.raises(RegistryError, match="manifest unknown: manifest unknown"):
        await there.manifest("none")


async def test_tls_of_an_own_authority(ca: Authority, tmp_path: Path, archive: Path) -> None:
    """A host with an authority of its own is verified; a file put right is read again."""
    with Registry(tmp_path / "tls", tls=ca.issue("server")) as registry:
        push(registry, "x:1", archive)
        directory = tmp_path / "certs.d" / registry.address
        settings = RegistrySettings(certificates=tmp_path / "certs.d", attempts=1)
        unverified = Transport(settings)
        assert (await (await repository(unverified, registry, "x")).manifest("1")).data
        await unverified.close()
        directory.mkdir(parents=True)
        other = authority(tmp_path / "other")
        (directory / "ca.crt").write_bytes(other.certificate.read_bytes())
        verifying = Transport(settings)
        with pytest.raises(UntrustedError, match="certificate verification failed: "):
            await (await repository(verifying, registry, "x")).manifest("1")
        (directory / "ca.crt").write_bytes(ca.certificate.read_bytes())
        assert (await (await repository(verifying, registry, "x")).manifest("1")).data
        await verifying.close()


async def test_password(transport: Transport, tmp_path: Path, archive: Path) -> None:
    with Registry(tmp_path / "basic", auth=BasicAuth()) as registry:
        push(registry, "x:1", archive, "--dest-creds", f"{USER}:{PASSWORD}")
        assert (await (await repository(transport, registry, "x", WHO)).manifest("1")).data
        with pytest.raises(UnauthorizedError, match="no basic auth credentials"):
            await (await repository(transport, registry, "x")).manifest("1")
        with pytest.raises(RegistryError, match="unauthorized: authentication required") as caught:
            await (await repository(transport, registry, "x", WRONG)).manifest("1")
        assert caught.value.status == 401
        assert await client.origin(transport, registry.address, WHO).login() == ""
        with pytest.raises(RegistryError, match="unauthorized"):
            await client.origin(transport, registry.address, WRONG).login()


async def test_tokens(transport: Transport, ca: Authority, tmp_path: Path, archive: Path) -> None:
    with (
        TokenServer(ca.issue("tokens")) as tokens,
        Registry(tmp_path / "token", auth=TokenAuth(tokens)) as registry,
    ):
        for name in ("public/x:1", "secret/x:1"):
            push(registry, name, archive, "--dest-creds", f"{USER}:{PASSWORD}")
        tokens.asked.clear()
        there = await repository(transport, registry, "public/x")
        fetched = await there.manifest("1")
        await there.blob_size(decode_manifest(fetched.data).layers[0].digest)
        assert tokens.asked == [("", "repository:public/x:pull")]  # one for all
        for who in (WHO, Credentials(identity_token=IDENTITY)):
            assert (
                await (await repository(transport, registry, "secret/x", who)).manifest("1")
            ).data
        granted = str(tokens.grant(USER, ["repository:secret/x:pull"])["token"])
        ready = Credentials(registry_token=granted)
        assert (await (await repository(transport, registry, "secret/x", ready)).manifest("1")).data
        with pytest.raises(RegistryError) as caught:
            await (await repository(transport, registry, "secret/x")).manifest("1")
        assert caught.value.message == "denied: requested access to the resource is denied"
        with pytest.raises(RegistryError, match="unauthorized: incorrect username or password"):
            await (await repository(transport, registry, "secret/x", WRONG)).manifest("1")
        assert await client.origin(transport, registry.address, WHO).login() == IDENTITY


async def test_nobody_there(transport: Transport, plain: Registry) -> None:
    plain.stop()
    with pytest.raises(UnreachableError, match=r'Get "http://127.*cannot connect: .*refused'):
        await repository(transport, plain, "x")


async def test_a_name_that_nobody_has(transport: Transport) -> None:
    with pytest.raises(UnreachableError) as caught:
        await client.origin(transport, "registry.invalid", WHO).login()
    assert "cannot connect: " in caught.value.message
    assert "Unknown error" not in caught.value.message
