"""What `--mount` means."""

from pathlib import Path

import click
import pytest

from aiod.cli.mountspecs import mount
from aiod.store.models import BindSettings, DriverSettings, Mount, TmpfsSettings, VolumeSettings

_HERE = Path("/work")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("target=/a", Mount("volume", "", "/a")),
        ("type=bind,src=/s,dst=/a,ro", Mount("bind", "/s", "/a", ReadOnly=True)),
        ("type=bind,source=./s,destination=/a,readonly=false", Mount("bind", "/work/s", "/a")),
        (
            "type=bind,src=/s,dst=/a,bind-propagation=rslave,bind-recursive=disabled",
            Mount("bind", "/s", "/a", BindOptions=BindSettings("rslave", NonRecursive=True)),
        ),
        (
            "src=v,dst=/a,volume-nocopy,volume-subpath=x,volume-label=a=b,"
            "volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs",
            Mount(
                "volume",
                "v",
                "/a",
                VolumeOptions=VolumeSettings(
                    NoCopy=True,
                    Labels={"a": "b"},
                    DriverConfig=DriverSettings("local", {"type": "tmpfs", "device": "tmpfs"}),
                    Subpath="x",
                ),
            ),
        ),
        (
            "type=tmpfs,dst=/a,tmpfs-size=1m,tmpfs-mode=1770",
            Mount("tmpfs", "", "/a", TmpfsOptions=TmpfsSettings(1 << 20, 0o1770)),
        ),
        ('type=bind,"src=/a,b",dst=/c', Mount("bind", "/a,b", "/c")),
    ],
)
def test_mounts(given: str, meant: Mount) -> None:
    assert mount(given, _HERE) == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "target is required"),
        ("type=bind,src=/s", "target is required"),
        ("type=bind,src,dst=/a", "invalid field 'src' must be a key=value pair"),
        ("dst=/a,colour=red", "unexpected key 'colour' in 'colour=red'"),
        ("type=bind,src=/s,dst=/a,volume-nocopy", r"cannot mix 'volume-\*' options"),
        ("dst=/a,readonly=perhaps", "invalid value for readonly: perhaps"),
        ("type=bind,src=/s,dst=/a,bind-recursive=x", "invalid value for bind-recursive: x"),
        ("type=bind,src=/s,dst=/a,bind-recursive=writable", "requires 'readonly'"),
        ("type=bind,src=/s,dst=/a,ro,bind-recursive=readonly", "bind-propagation=rprivate"),
        ("type=tmpfs,dst=/a,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=tmpfs,dst=/a,tmpfs-size=x", "invalid size 'x'"),
    ],
)
def test_mounts_that_cannot_be_meant(given: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        mount(given, _HERE)
