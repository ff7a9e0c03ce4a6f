"""export: a zone as others take it: a tarball, an OCI image, a list for auditors."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

from partialroot.accounting.listing import WRITERS, Listed, Names
from partialroot.errors import ConflictError, UsageError
from partialroot.model import PAUSE, Layer, Receipt
from partialroot.nodes import FileType
from partialroot.paths import STANDARD_PATH, TARBALLS, RootPath, is_tarball
from partialroot.pipeline.zones import looked_at, need_receipt
from partialroot.source.accounts import parse_group, parse_passwd
from partialroot.zone.contents import Contents, Member, contents
from partialroot.zone.fs import failed

_LEVEL = 6  # zlib's own default; said so that the bytes are the same everywhere
_TYPES = {FileType.FILE: tarfile.REGTYPE, FileType.DIR: tarfile.DIRTYPE, FileType.SYMLINK: tarfile.SYMTYPE}
_MACHINES = {"x86_64": "amd64", "i86pc": "amd64", "aarch64": "arm64"}  # as OCI (Go) calls them
_MEDIA = "application/vnd.oci.image"
_MOST_ACCOUNTS = 1 << 20  # bytes of a passwd or group file that is read


class Exported(NamedTuple):
    """What was written: how many files, their bytes, and the lines of the list that was asked for."""

    files: int
    bytes: int
    lines: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def export(
    store: Path, zonepath: Path, file: Path | None, oci: Path | None, manifest: str | None
) -> Exported:
    """Write a zone as it is now, edits of its tenant included.

    ``file`` becomes a tarball, ``oci`` a directory with an OCI image layout; ``manifest`` names a list.
    Each is there in full or not at all. Raises UsageError, ConflictError, ApplyError.
    """
    _check(file, oci, manifest)
    with looked_at(store, zonepath) as notes:
        receipt = need_receipt(zonepath)
        with contents(zonepath, receipt) as found:
            if file:
                with _beside(file) as new:
                    _write_tarball(new, found, found.members, is_packed=file.suffix != ".tar")
            if oci:
                _write_layout(oci, found, receipt)
            lines = _lines(found, manifest) if manifest else ()
            files = [one.node.size for one in found.members if one.node.type is FileType.FILE]
            return Exported(len(files), sum(files), tuple(lines), found.left_out, notes)


def _check(file: Path | None, oci: Path | None, manifest: str | None) -> None:
    if not (file or oci or manifest):
        raise UsageError(
            "nothing to write is named", hint="export ZONEPATH FILE.tar.gz, --oci DIR, or --manifest"
        )
    if file and not is_tarball(file.name):
        raise UsageError("is no name of a tarball", path=str(file), hint=f"end it in {', '.join(TARBALLS)}")
    if oci and os.path.lexists(oci) and not (oci.is_dir() and not any(oci.iterdir())):
        raise ConflictError("is there already", path=str(oci), hint="name a new or an empty directory")


@contextmanager
def _beside(file: Path) -> Iterator[IO[bytes]]:
    """Yield a new file that takes a name once it is complete."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
            try:
                yield new
                new.flush()
                os.fchmod(new.fileno(), 0o600)  # it may hold the zone's secrets
                os.fsync(new.fileno())
                os.replace(new.name, file)
            except BaseException:
                os.unlink(new.name)
                raise
    except OSError as error:
        raise failed(error, str(file)) from error


# --- tarballs ---------------------------------------------------------------------------------------


def _write_tarball(out: IO[bytes], found: Contents, members: Iterable[Member], *, is_packed: bool) -> None:
    """Write members as zmvix.sh's tarballs have them: names relative to the root, owners as numbers."""
    packed = gzip.GzipFile("", "wb", _LEVEL, out, mtime=0) if is_packed else nullcontext(out)
    with packed as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            header = _header(member)
            if header.isreg():
                content = _Content(found.read(member))
                tar.addfile(header, content)  # type: ignore[arg-type]  # all it does is read
                content.finish()
            else:
                tar.addfile(header)


def _header(member: Member) -> tarfile.TarInfo:
    node = member.node
    header = tarfile.TarInfo(member.path.relative)
    header.type, header.mode, header.uid, header.gid = _TYPES[node.type], node.mode, node.uid, node.gid
    header.mtime, nanoseconds = divmod(member.mtime_ns, 10**9)
    if member.twin:
        header.type, header.linkname = tarfile.LNKTYPE, member.twin.relative
    elif node.type is FileType.FILE:
        header.size = node.size
    elif node.target is not None:
        header.linkname = node.target
    exact = {"mtime": f"{header.mtime}.{nanoseconds:09}"} if nanoseconds else {}
    xattrs = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in member.xattrs
    }
    header.pax_headers = exact | xattrs
    return header


class _Content:
    """A file to read, for tarfile, from its blocks."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, less at the end."""
        while len(self._rest) < size and (block := next(self._blocks, b"")):
            self._rest += block
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def finish(self) -> None:
        """See that there is no more: the file would have grown meanwhile."""
        next(self._blocks, b"")


# --- OCI image layouts ------------------------------------------------------------------------------


def _write_layout(place: Path, found: Contents, receipt: Receipt) -> None:
    """Write an image layout: the shared layer, the same for all zones of an image, and the private one."""
    from tempfile import mkdtemp

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(mkdtemp(dir=place.parent, prefix=f".{place.name}."))
        try:
            (new / "blobs/sha256").mkdir(parents=True)
            _write_image(new, found, receipt)
            new.rename(place)
        except BaseException:
            shutil.rmtree(new)
            raise
    except OSError as error:
        raise failed(error, str(place)) from error


def _write_image(place: Path, found: Contents, receipt: Receipt) -> None:
    layers, contained = [], []
    for layer in (Layer.SHARED, Layer.PRIVATE):
        members = [one for one in found.members if one.layer is layer]
        if members:
            described, unpacked = _layer_blob(place, found, members)
            layers.append(described)
            contained.append(unpacked)
    config = _blob(place, _image_config(receipt, contained), "config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": config,
        "layers": layers,
    }
    index = {"schemaVersion": 2, "manifests": [_blob(place, manifest, "manifest.v1+json")]}
    (place / "oci-layout").write_bytes(_encoded({"imageLayoutVersion": "1.0.0"}))
    (place / "index.json").write_bytes(_encoded(index))


def _layer_blob(place: Path, found: Contents, members: Iterable[Member]) -> tuple[dict[str, Any], str]:
    """Write a layer; return its description, and the digest of what it is unpacked."""
    file = place / "layer"
    with file.open("wb") as out:
        unpacked = _Hashed(gzip.GzipFile("", "wb", _LEVEL, out, mtime=0))
        _write_tarball(unpacked, found, members, is_packed=False)  # type: ignore[arg-type]  # it only writes
        unpacked.close()
    with file.open("rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
    size = file.stat().st_size
    file.rename(place / "blobs/sha256" / digest)
    return _described(digest, size, "layer.v1.tar+gzip"), f"sha256:{unpacked.digest}"


class _Hashed:
    """A stream that is hashed as it is written."""

    def __init__(self, out: gzip.GzipFile) -> None:
        self._out = out
        self._sum = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Pass it on."""
        self._sum.update(data)
        return self._out.write(data)

    def tell(self) -> int:
        """Return how much was written."""
        return self._out.tell()

    def close(self) -> None:
        """End the packed stream."""
        self._out.close()

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written, as hex digits."""
        return self._sum.hexdigest()


def _image_config(receipt: Receipt, layers: Iterable[str]) -> dict[str, Any]:
    start = receipt.settings.start
    command = [PAUSE] if start and start.pause else list(start.command if start else ())
    machine = os.uname().machine
    return {
        "architecture": _MACHINES.get(machine, machine),
        "os": receipt.request.platform,
        "config": {"Cmd": command, "WorkingDir": "/", "Env": ["PATH=" + ":".join(STANDARD_PATH)]},
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
    }


def _blob(place: Path, document: dict[str, Any], kind: str) -> dict[str, Any]:
    data = _encoded(document)
    digest = hashlib.sha256(data).hexdigest()
    (place / "blobs/sha256" / digest).write_bytes(data)
    return _described(digest, len(data), kind)


def _described(digest: str, size: int, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": size}


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


# --- lists ------------------------------------------------------------------------------------------


def _lines(found: Contents, manifest: str) -> Iterator[str]:
    listed = [_listed(found, member) for member in found.members]
    return WRITERS[manifest](listed, _names(found))


def _listed(found: Contents, member: Member) -> Listed:
    node = member.node
    is_file = node.type is FileType.FILE
    digest = hashlib.sha256(b"") if is_file else None
    if digest:
        for block in found.read(member):
            digest.update(block)
    return Listed(
        *(member.path, node.type, node.mode, node.uid, node.gid),
        size=node.size if is_file else 0,
        target=node.target,
        sha256=digest.hexdigest() if digest else None,
        twin=member.twin,
    )


def _names(found: Contents) -> Names:
    """Return the names that the zone's own accounts have."""
    passwd, group = (_text(found, RootPath(path)) for path in ("/etc/passwd", "/etc/group"))
    return Names(
        {user.uid: user.name for user in reversed(parse_passwd(passwd).values())},
        {one.gid: one.name for one in reversed(parse_group(group).values())},
    )


def _text(found: Contents, path: RootPath) -> str:
    member = next((one for one in found.members if one.path == path), None)
    if member is None or member.node.type is not FileType.FILE or member.node.size > _MOST_ACCOUNTS:
        return ""
    return b"".join(found.read(member)).decode("utf-8", "surrogateescape")
