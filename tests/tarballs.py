"""Tarballs to read: honest ones, and each kind of hostile one."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more: Any) -> tuple[Any, bytes]:
    """Return an entry of a tarball with its content."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **more: Any) -> tuple[Any, bytes]:
    """Return the entry of a directory."""
    return member(name, tarfile.DIRTYPE, **more)


def symlink(name: str, target: str, **more: Any) -> tuple[Any, bytes]:
    """Return the entry of a symlink."""
    return member(name, tarfile.SYMTYPE, linkname=target, **more)


def link(name: str, target: str) -> tuple[Any, bytes]:
    """Return the entry of a hard link."""
    return member(name, tarfile.LNKTYPE, linkname=target)


def tarball(path: Path, members: Iterable[tuple[Any, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tarball with these entries, whatever they are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    data = file.getvalue()
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith("gz") else data)
    return path


HOSTILE: dict[str, tuple[list[tuple[Any, bytes]], str]] = {
    "leads out": ([member("../../etc/passwd", data=b"x")], "'..'"),
    "leads out deeper": ([member("usr/../../etc/passwd", data=b"x")], "'..'"),
    "absolute": ([member("/etc/passwd", data=b"x")], "absolute"),
    "through a symlink": ([symlink("etc", "/etc"), member("etc/passwd", data=b"x")], "below a symlink"),
    "through a later symlink": ([member("etc/passwd", data=b"x"), symlink("etc", "/etc")], "below a symlink"),
    "below a file": ([member("etc", data=b"x"), member("etc/passwd", data=b"x")], "below a file"),
    "a directory becomes a symlink": ([directory("etc"), symlink("etc", "/etc")], "twice"),
    "a symlink becomes a file": ([symlink("passwd", "/etc/passwd"), member("passwd", data=b"x")], "twice"),
    "a block device": ([member("dev/sda", tarfile.BLKTYPE, devmajor=8)], "a device"),
    "a character device": ([member("dev/mem", tarfile.CHRTYPE, devmajor=1, devminor=1)], "a device"),
    "a pipe": ([member("pipe", tarfile.FIFOTYPE)], "a device"),
    "a link to outside": ([link("mine", "../../etc/shadow")], "'..'"),
    "a link to an absolute path": ([link("mine", "/etc/shadow")], "absolute"),
    "a link to nothing": ([link("mine", "etc/shadow")], "no file before it"),
    "a link to a symlink": ([symlink("s", "/etc/shadow"), link("mine", "s")], "no file before it"),
    "a link to what comes later": ([link("mine", "f"), member("f", data=b"x")], "no file before it"),
    "an unknown kind": ([member("x", b"Z", data=b"x")], "type b'Z'"),
    "an ACL of its own kind": ([member("x", b"A", data=b"x")], "type b'A'"),
    "a sparse file": ([member("x", tarfile.GNUTYPE_SPARSE)], "sparse"),
    "nobody's": ([member("x", uid=(1 << 32) - 1)], "owner"),
    "an owner below zero": ([member("x", uid=-5)], "owner"),
    "a symlink to nowhere": ([symlink("x", "")], "leads nowhere"),
    "deep": ([directory("d/" * 300)], "deeper"),
    "our own directory": ([member("usr/.partialroot/images/x", data=b"x")], "a name of ours"),
    "a NUL": ([member("a", pax_headers={"path": "a\0b"})], "NUL"),
}
"""What is refused, with a word of why."""
