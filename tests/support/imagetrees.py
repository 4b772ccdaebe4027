"""What an image holds, read from its docker-archive: merged file system, config, history.

Must not know engines: two images are compared as values, apart from times of now and from ids.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_RECENT = 1_750_000_000  # seconds: what is later was touched while building
# Of what was copied: dockerd's also tell of the host's users and of how a client made its tar.
_DIGEST = re.compile(r"(?:file:)?[0-9a-f]{64}(?= in )")
_XATTR = "SCHILY.xattr."
_KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory",
          tarfile.SYMTYPE: "link", tarfile.CHRTYPE: "character", tarfile.BLKTYPE: "block",
          tarfile.FIFOTYPE: "fifo"}  # fmt: skip


@dataclass(eq=False, slots=True)
class _Inode:
    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    device: tuple[int, int]
    target: str
    content: str
    xattrs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class File:
    """One path of an image; `mtime` is 0 for the time of the build, `links` all its names."""

    kind: str
    mode: str
    owner: tuple[int, int]
    mtime: int
    device: tuple[int, int]
    target: str
    content: str
    xattrs: tuple[tuple[str, str], ...]
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the history, without its time."""

    created_by: str
    author: str
    comment: str
    empty_layer: bool


@dataclass(frozen=True, slots=True)
class Image:
    """Everything about an image that does not depend on when and where it was built."""

    config: Mapping[str, Any]
    about: Mapping[str, Any]
    history: tuple[Step, ...]
    layers: int
    files: Mapping[str, File] = field(repr=False)

    def differences(self, other: "Image") -> list[str]:
        """One line for each thing that differs, with what it is here and there."""
        return [
            *_differences("config", self.config, other.config),
            *_differences("image", self.about, other.about),
            *_differences("history", dict(enumerate(self.history)), dict(enumerate(other.history))),
            *_differences("layers", {"": self.layers}, {"": other.layers}),
            *_differences("file", self.files, other.files),
        ]


def _differences(what: str, here: Mapping[Any, Any], there: Mapping[Any, Any]) -> Iterator[str]:
    for key in sorted({*here, *there}):
        if here.get(key) != there.get(key):
            yield f"{what} {key}: {here.get(key)} / {there.get(key)}"


def read_image(archive: bytes) -> Image:
    """The one image of a docker-archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (entry,) = json.loads(_member(tar, "manifest.json"))
        config = json.loads(_member(tar, entry["Config"]))
        layers = [_member(tar, name) for name in entry["Layers"]]
    assert len(layers) == len(config["rootfs"]["diff_ids"])
    run = {key: value for key, value in config["config"].items() if value and key != "Image"}
    about = {key: config.get(key) or "" for key in ("architecture", "os", "author", "variant")}
    history = tuple(map(_step, config["history"]))
    return Image(run, about, history, len(layers), _merged(layers))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.getmember(name)
    if member.issym():
        member = tar.getmember(member.linkname.removeprefix("../"))
    file = tar.extractfile(member)
    assert file is not None, name
    return file.read()


def _step(entry: Mapping[str, Any]) -> Step:
    return Step(
        created_by=_DIGEST.sub("<digest>", entry.get("created_by", "")),
        author=entry.get("author", ""),
        comment=entry.get("comment", ""),
        empty_layer=entry.get("empty_layer", False),
    )


def _merged(layers: list[bytes]) -> dict[str, File]:
    tree: dict[str, _Inode] = {}
    for layer in layers:
        _apply(tree, layer)
    names: dict[int, list[str]] = {}
    for path in sorted(tree):
        names.setdefault(id(tree[path]), []).append(path)
    return {path: _file(inode, names[id(inode)]) for path, inode in tree.items()}


def _file(inode: _Inode, names: list[str]) -> File:
    return File(
        kind=inode.kind,
        mode=f"{inode.mode:04o}",
        owner=inode.owner,
        mtime=0 if inode.mtime > _RECENT else inode.mtime,
        device=inode.device,
        target=inode.target,
        content=inode.content,
        xattrs=tuple(sorted(inode.xattrs.items())),
        links=tuple(names) if len(names) > 1 else (),
    )


def _apply(tree: dict[str, _Inode], layer: bytes) -> None:
    """One layer over `tree`, as the OCI image specification's layer.md says."""
    fresh: dict[str, _Inode] = {}
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            path = member.name.removeprefix("./").strip("/")
            directory, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                _remove_below(tree, directory)
            elif name.startswith(".wh."):
                _remove(tree, f"{directory}/{name[4:]}".strip("/"))
            elif path not in ("", "."):
                fresh[path] = _read(tar, member, {**tree, **fresh} if member.islnk() else {})
    for path, inode in fresh.items():
        if path in tree and not (inode.kind == tree[path].kind == "directory"):
            _remove(tree, path)
        tree[path] = inode


def _remove_below(tree: dict[str, _Inode], path: str) -> None:
    for below in [p for p in tree if p.startswith(f"{path}/")]:
        del tree[below]


def _remove(tree: dict[str, _Inode], path: str) -> None:
    _remove_below(tree, path)
    tree.pop(path, None)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, known: Mapping[str, _Inode]) -> _Inode:
    if member.islnk():
        return known[member.linkname.removeprefix("./").strip("/")]
    content = ""
    if member.isreg():
        file = tar.extractfile(member)
        assert file is not None
        content = _shown(file.read())
    device = (member.devmajor, member.devminor) if member.ischr() or member.isblk() else (0, 0)
    return _Inode(
        kind=_KINDS[member.type],
        mode=member.mode & 0o7777,  # some engines write the type into it as well
        owner=(member.uid, member.gid),
        mtime=int(member.mtime),
        device=device,
        target=member.linkname,
        content=content,
        xattrs={k: v for k, v in member.pax_headers.items() if k.startswith(_XATTR)},
    )


def _shown(data: bytes) -> str:
    """Short texts as they are, so that a difference can be read."""
    if len(data) <= 200:
        return data.decode(errors="backslashreplace")
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
