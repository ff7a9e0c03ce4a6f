"""Receipts, image manifests and reasons as bytes, and back: compact sorted JSON, read strictly.

A receipt is written by us below a directory only we can write, and still read as if it were not:
whatever is wrong with it is one :class:`~partialroot.errors.NoReceiptError` that says what and where.
Records are rows: their fields in the order of :class:`~partialroot.model.Record`.
"""

import base64
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, lt
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeVar

from partialroot.errors import NoReceiptError
from partialroot.model import Identity, Method, Receipt, Record, Request, Start, Supplier, ZoneSettings
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.zone import strict

FORMAT = 2  # 1: no supplier of each file, and receipts of other fields
NAME = "receipt.json"
PER_ROOT = "receipts"  # in a zone of the brand: one for each root, by its dataset
MANIFEST = "manifest.json"
MAX_BYTES = 1 << 28  # a record takes some 300 bytes: room for 800,000 files

_RECEIPT = "receipt"
_WITHOUT = "put it back from a backup; or give the zone up: umount and rm -r it, then partialroot remove it"
_SIZE_MAX = (1 << 63) - 1
_TIME = Record._fields.index("mtime_ns")
_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

T = TypeVar("T")
Reasons = Mapping[RootPath, tuple[Reason, ...]]
Suppliers = Mapping[RootPath, Supplier]


class _Modes(dict[str, int]):
    """Modes by their four octal digits, each from when it is first asked for: few of the 4,096 ever are."""

    def __missing__(self, text: str) -> int:
        if len(text) != 4 or not set(text) <= set("01234567"):
            raise KeyError(text)
        mode = self[text] = int(text, 8)
        return mode


class Origins(NamedTuple):
    """Why each path of an image is there for some zones, and which packages supplied their files."""

    reasons: Reasons = MappingProxyType({})
    suppliers: Suppliers = MappingProxyType({})


# --- writing ----------------------------------------------------------------------------------------


def dump(receipt: Receipt) -> bytes:
    """Return ``receipt`` as a file's content; its entries are written sorted by path.

    Zones of one plan differ in times and places: what they have in common is rendered once.
    """
    entries = ",".join(map(_rendered, sorted(receipt.entries, key=attrgetter("path"))))
    common = receipt._replace(zonepath="", entries=(), created=0)
    parts = {
        **_rendered_common(common),
        "created": _json(receipt.created),
        "entries": f"[{entries}]",
        "zonepath": _json(receipt.zonepath),
    }
    return ("{" + ",".join(f'"{key}":{parts[key]}' for key in sorted(parts)) + "}\n").encode("ascii")


@lru_cache(maxsize=64)
def _rendered_common(receipt: Receipt) -> Mapping[str, str]:
    """Return all of a receipt but its entries as JSON, by key."""
    start = receipt.settings.start
    parts = {
        "request": receipt.request._asdict(),
        "settings": {**receipt.settings._asdict(), "start": start and start._asdict()},
        "format": FORMAT,
    }
    return {key: _json(value) for key, value in {**receipt._asdict(), **parts}.items()}


def _rendered(record: Record) -> str:
    head, tail = _around_time(record[:_TIME], record[_TIME + 1 :])
    return f"{head}{record.mtime_ns}{tail}"


@lru_cache(maxsize=4096)
def _around_time(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[str, str]:
    """Return a record's row as JSON: what is before its time, and what is after it."""
    row = _row(Record._make((*before, 0, *after)))
    return _json(row[:_TIME])[:-1] + ",", "," + _json(row[_TIME + 1 :])[1:]


def dump_manifest(records: Iterable[Record]) -> bytes:
    """Return an image's records as a file's content, sorted by path: columns, of mostly equal values."""
    columns = list(zip(*_rows(records), strict=True)) or [()] * len(_FIELDS)
    return _encode({"columns": strict.packed(columns)})


def dump_origins(origins: Origins) -> bytes:
    """Return what the records of an image leave open as a file's content; each supplier is written once."""
    supplied: dict[Supplier, list[RootPath]] = {}
    for path in sorted(origins.suppliers):
        supplied.setdefault(origins.suppliers[path], []).append(path)
    rows = [(*supplier, paths) for supplier, paths in sorted(supplied.items())]
    return _encode({"reasons": origins.reasons, "suppliers": rows})


def _encode(document: Mapping[str, object]) -> bytes:
    return _json({**document, "format": FORMAT}).encode("ascii") + b"\n"


def _rows(records: Iterable[Record]) -> list[list[object]]:
    return [_row(record) for record in sorted(records, key=attrgetter("path"))]


def _row(record: Record) -> list[object]:
    row: list[object] = list(record)
    row[2] = f"{record.mode:04o}"
    if record.xattrs:
        row[9] = [(name, base64.b64encode(value).decode("ascii")) for name, value in record.xattrs]
    if record.identity:
        row[12] = (*record.identity[:4], f"{record.identity.mode:04o}")
    return row


# --- reading ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)  # who takes a zone's lock reads its receipt, and then who works on it
def load(data: bytes, where: str) -> Receipt:
    """Return the receipt that :func:`dump` wrote; anything else is a NoReceiptError about ``where``."""
    return _decode(data, where, _RECEIPT, _receipt)


def load_manifest(data: bytes, where: str) -> tuple[Record, ...]:
    """Return the records that :func:`dump_manifest` wrote; anything else is a NoReceiptError."""
    return _decode(data, where, "manifest", _manifest)


def load_origins(data: bytes, where: str) -> Origins:
    """Return what :func:`dump_origins` wrote; anything else is a NoReceiptError."""
    return _decode(data, where, "list of reasons", _origins)


def read(zonepath: Path) -> Receipt | None:
    """Return the receipt in ``zonepath``, None when there is none.

    Raises NoReceiptError when somebody else could have written it, or it cannot be read.
    """
    data = read_own(zonepath, NAME)
    return None if data is None else load(data, str(zonepath / NAME))


def read_manifest(image: Path) -> tuple[Record, ...]:
    """Return the records of the image at ``image``; NoReceiptError when they are not there or not ours."""
    return load_manifest(_read_present(image, MANIFEST), str(image / MANIFEST))


def read_origins(receipt: Receipt) -> Origins:
    """Return why each shared path of a zone is there, and who supplied it."""
    if receipt.image is None or receipt.reasons is None:
        return Origins()
    image = Path(receipt.image)
    return load_origins(_read_present(image, receipt.reasons), str(image / receipt.reasons))


def _read_present(directory: Path, name: str) -> bytes:
    data = read_own(directory, name)
    if data is None:
        raise NoReceiptError("is not there", path=str(directory / name))
    return data


def read_own(directory: Path, name: str) -> bytes | None:
    """Return the content of the file ``name`` in ``directory``, None when either does not exist.

    Both must be ours and not writable by others, the file regular and of at most MAX_BYTES, and neither
    a symlink; else NoReceiptError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        parent = os.open(directory, flags | os.O_DIRECTORY)
        try:
            _check_ours(os.fstat(parent), directory)
            with open(os.open(name, flags, dir_fd=parent), "rb") as file:
                return _read_file(file, directory / name)
        finally:
            os.close(parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoReceiptError(f"cannot be read: {error.strerror}", path=str(directory / name)) from error


def _read_file(file: BinaryIO, path: Path) -> bytes:
    found = os.fstat(file.fileno())
    _check_ours(found, path)
    if not stat.S_ISREG(found.st_mode):
        raise NoReceiptError("is not a regular file", path=str(path))
    if found.st_size > MAX_BYTES:
        raise NoReceiptError(f"is larger than {MAX_BYTES} bytes", path=str(path))
    return file.read(found.st_size)  # as much as is asked for would be reserved


def _check_ours(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid():
        raise NoReceiptError(f"belongs to user {found.st_uid}, not to {os.geteuid()}", path=str(path))
    if found.st_mode & 0o022:
        raise NoReceiptError("can be written by others", path=str(path), hint=f"chmod go-w {path}")


def _decode(data: bytes, where: str, what: str, reader: strict.Reader[T]) -> T:
    """Parse ``data`` and hand all but its format number to ``reader``."""
    try:
        document = _parse(data)
        form = document.pop("format", None) if isinstance(document, dict) else None
        if form == FORMAT:
            return reader(document)
        if not isinstance(form, int):
            raise ValueError(f'it has no "format": {FORMAT}')
    except (ValueError, RecursionError) as error:
        hint = _WITHOUT if what == _RECEIPT else None
        raise NoReceiptError(f"is not a {what} of ours: {error}", path=where, hint=hint) from error
    age = "an earlier" if form < FORMAT else "a later"
    hint = "remove the zone with the partialroot that made it, then populate it anew"
    raise NoReceiptError(
        f"was made by {age} partialroot: format {strict.shown(form)}, not {FORMAT}", path=where, hint=hint
    )


def _parse(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return json.loads(data.decode("ascii"), parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


# --- what each document holds -----------------------------------------------------------------------

_ids = strict.numbers(0, (1 << 32) - 1)
_devices = strict.numbers(0, (1 << 64) - 1)
_sizes = strict.numbers(0, _SIZE_MAX)
_times = strict.numbers(-_SIZE_MAX, _SIZE_MAX)
_modes = strict.choices(_Modes())
_identities = strict.table(
    Identity._make, {"dev": _devices, "ino": _devices, "size": _sizes, "mtime_ns": _times, "mode": _modes}
)
_xattrs = strict.table(tuple, {"name": strict.texts, "value": strict.blobs})
_reasons = strict.several(strict.table(Reason._make, {"rule": strict.texts, "origin": strict.texts}))
_pairs = strict.table(tuple, {"key": strict.texts, "value": strict.texts})
_SUPPLIER = {"package": strict.texts, "version": strict.texts, "architecture": strict.texts}
_supplied = strict.table(tuple, {**_SUPPLIER, "paths": strict.several(strict.paths)})
_FIELDS: Mapping[str, strict.ColumnReader[Any]] = {
    "path": strict.paths,
    "type": strict.choices({item.value: item for item in FileType}),
    "mode": _modes,
    "uid": _ids,
    "gid": _ids,
    "size": _sizes,
    "mtime_ns": _times,
    "target": strict.some(strict.texts),
    "sha256": strict.some(strict.sums),
    "xattrs": strict.several(_xattrs),
    "method": strict.choices({item.value: item for item in Method}),
    "source": strict.some(strict.paths),
    "identity": strict.some(_identities),
    "reasons": _reasons,
    "supplier": strict.some(strict.table(Supplier._make, _SUPPLIER)),
}
_rows_read = strict.table(Record._make, _FIELDS)


def _records(value: object) -> tuple[Record, ...]:
    """Return rows as records."""
    return _checked(_rows_read(strict.listed(value)))


def _checked(records: Sequence[Record]) -> tuple[Record, ...]:
    """Return records, which must be in the order of their paths."""
    paths = [record.path for record in records]
    if not all(map(lt, paths, paths[1:])):
        raise ValueError("a path is there twice, or they are not sorted")
    if any((record.type is FileType.SYMLINK) != (record.target is not None) for record in records):
        raise ValueError("symlinks, and only they, have a target")
    if any((record.type is FileType.FILE) != (record.sha256 is not None) for record in records):
        raise ValueError("files, and only they, have a sha256")
    return tuple(records)


def _manifest(value: object) -> tuple[Record, ...]:
    columns = strict.fields(value, {"columns": strict.unpacked})["columns"]
    return _checked(strict.zipped(Record._make, _FIELDS, columns))


def _origins(value: object) -> Origins:
    return Origins(**strict.fields(value, {"reasons": _reasons_by_path, "suppliers": _suppliers_by_path}))


def _suppliers_by_path(value: object) -> Suppliers:
    rows = _supplied(strict.listed(value))
    return {path: Supplier(*supplier) for *supplier, paths in rows for path in paths}


def _reasons_by_path(value: object) -> Reasons:
    if not isinstance(value, dict):
        raise ValueError(f"{strict.shown(value)} is not an object")
    return dict(zip(strict.paths(list(value)), _reasons(list(value.values())), strict=True))


_texts = strict.items(strict.texts)
_text = strict.one(strict.texts)
_start = strict.record(Start, where=_text, command=_texts, setuid=strict.flag, pause=strict.flag)
_receipt = strict.record(
    Receipt,
    zonepath=_text,
    request=strict.record(
        Request,
        profiles=_texts,
        manifests=_texts,
        parameters=strict.items(_pairs),
        source=_text,
        platform=_text,
        share=_texts,
        trust_zone=strict.flag,
        address=strict.optional(_text),
        keep_going=strict.flag,
        add_closure=strict.flag,
        run_fix_scripts=strict.flag,
        overlays=_texts,
        hostname=strict.optional(_text),
    ),
    profiles=_texts,
    digest=strict.optional(strict.one(strict.sums)),
    image=strict.optional(_text),
    reasons=strict.optional(_text),
    mounts=strict.items(strict.paths),
    entries=_records,
    settings=strict.record(ZoneSettings, start=strict.optional(_start), network=_text, read_only=strict.flag),
    warnings=_texts,
    created=strict.seconds,
    version=_text,
    definitions=strict.items(_pairs),
)
