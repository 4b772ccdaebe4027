"""Propagation of binds is refused where the mount of the source cannot give it."""

import pytest

from aiod.containers.propagation import check
from aiod.errors import InvalidParameterError

MOUNTS = """\
1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 8:2 / /data rw shared:7 - ext4 /dev/sdb rw
3 1 8:3 / /data/in\\040ner rw master:7 - ext4 /dev/sdc rw
4 1 8:4 / /covered rw shared:9 - ext4 /dev/sdd rw
5 4 8:5 / /covered rw - ext4 /dev/sde rw
"""


@pytest.mark.parametrize(
    ("source", "word"),
    [("/x", "rprivate"), ("/x", "ro"), ("/data", "shared"), ("/data/y", "rshared"),
     ("/data/y", "rslave"), ("/data/in ner/z", "slave")],
)  # fmt: skip
def test_what_can_be_had(source: str, word: str) -> None:
    check(source, (word,), MOUNTS)


@pytest.mark.parametrize(
    ("source", "word", "message"),
    [
        ("/x", "shared", "path /x is mounted on / but it is not a shared mount"),
        ("/datax", "rshared", "path /datax is mounted on / but it is not a shared mount"),
        ("/x", "rslave", "path /x is mounted on / but it is not a shared or slave mount"),
        (
            "/data/in ner",
            "rshared",
            "path /data/in ner is mounted on /data/in ner but it is not a shared mount",
        ),
        ("/covered/x", "shared", "path /covered/x is mounted on /covered but it is not a shared"),
    ],
)
def test_what_cannot(source: str, word: str, message: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        check(source, (word,), MOUNTS)
    assert str(caught.value).startswith(message)
