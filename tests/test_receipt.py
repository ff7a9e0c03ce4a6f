"""Receipts, manifests and reasons survive the disk unchanged, and nothing else is taken for one."""

import base64
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from needs import needs

from partialroot.errors import NoReceiptError
from partialroot.model import Identity, Method, Receipt, Record, Request, Start, Supplier, ZoneSettings
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.zone import receipt

SUM = "ab" * 32
REQUEST = Request(("web",), ("/m",), (("port", "8000"),), "/", "linux", ("auto",), False, "169.254.3.2")


def record(path: str, **changes: Any) -> Record:
    identity = Identity(2049, 77, 5, 10**18, 0o4755)
    reasons = (Reason("needed", "/usr/bin/node"), Reason("wanted", "node.toml:3"))
    xattrs = (("security.capability", b"\0\1"), ("user.a", b""))
    whole = Record(
        RootPath(path), FileType.FILE, 0o4755, 0, 33, 5, 10**18, None, SUM, xattrs, Method.COPY,
        RootPath(path), identity, reasons,
    )  # fmt: skip
    return whole._replace(**changes)


def a_receipt(*entries: Record) -> Receipt:
    start = Start("node.toml:9", ("/usr/bin/node", "a b\n"), setuid=True)
    return Receipt(
        "/zones/web", REQUEST, ("web", "node"), SUM, f"/store/images/{SUM}", "reasons-1.json",
        (RootPath("/usr"),), entries, ZoneSettings(start, "host", True), ("an odd thing",), 1.7e9, "0.1",
        (("base", SUM), ("web", SUM)),
    )  # fmt: skip


# --- any receipt comes back as it was -----------------------------------------------------------------

BYTES = st.binary(min_size=1, max_size=8).filter(
    lambda name: not {0, 47} & {*name} and name not in (b".", b"..")
)
NAMES = BYTES.map(os.fsdecode)
PATHS = st.lists(NAMES, max_size=4).map(lambda names: RootPath("/" + "/".join(names)))
TEXTS = st.binary(max_size=9).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
REASONS = st.lists(st.builds(Reason, TEXTS, TEXTS), max_size=3).map(tuple)
SUPPLIERS = st.builds(Supplier, TEXTS, TEXTS, TEXTS)
BIG = st.integers(0, 2**63 - 1)
MODES = st.integers(0, 0o7777)
IDENTITIES = st.builds(Identity, BIG, BIG, BIG, st.integers(-(2**63) + 1, 2**63 - 1), MODES)
XATTRS = st.lists(st.tuples(TEXTS, st.binary(max_size=5)), max_size=2).map(tuple)


def consistent(one: Record) -> Record:
    return one._replace(
        target=(one.target or "") if one.type is FileType.SYMLINK else None,
        sha256=SUM if one.type is FileType.FILE else None,
    )


RECORDS = st.builds(
    Record,
    path=PATHS,
    type=st.sampled_from(FileType),
    mode=MODES,
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    size=BIG,
    mtime_ns=st.integers(-(2**62), 2**62),
    target=TEXTS,
    sha256=st.none(),
    xattrs=XATTRS,
    method=st.sampled_from(Method),
    source=st.none() | PATHS,
    identity=st.none() | IDENTITIES,
    reasons=REASONS,
    supplier=st.none() | SUPPLIERS,
).map(consistent)
MANY = st.lists(RECORDS, max_size=5, unique_by=lambda one: one.path)


@given(MANY)
def test_any_records_come_back_sorted(records: list[Record]) -> None:
    expected = tuple(sorted(records, key=lambda one: one.path))
    assert receipt.load_manifest(receipt.dump_manifest(records), "manifest") == expected
    whole = a_receipt(*expected)
    assert receipt.load(receipt.dump(whole), "receipt") == whole


@given(st.dictionaries(PATHS, REASONS, max_size=5), st.dictionaries(PATHS, SUPPLIERS, max_size=5))
def test_any_reasons_and_suppliers_come_back(
    reasons: dict[RootPath, tuple[Reason, ...]], suppliers: dict[RootPath, Supplier]
) -> None:
    origins = receipt.Origins(reasons, suppliers)
    assert receipt.load_origins(receipt.dump_origins(origins), "reasons") == origins


def test_a_supplier_of_many_files_is_written_once() -> None:
    paths = [RootPath(f"/usr/lib/{number}") for number in range(100)]
    data = receipt.dump_origins(receipt.Origins({}, dict.fromkeys(paths, Supplier("libx", "1", "all"))))
    assert data.count(b"libx") == 1


def test_types_come_back_too() -> None:
    whole = receipt.load(receipt.dump(a_receipt(record("/a"))), "receipt")
    entry = whole.entries[0]
    kinds = (entry.path, entry.type, entry.method, entry.identity, entry.reasons[0], whole.settings.start)
    assert [type(one) for one in kinds] == [RootPath, FileType, Method, Identity, Reason, Start]
    assert isinstance(whole.mounts[0], RootPath)
    assert isinstance(entry.source, RootPath)


def test_what_is_written_is_plain_json_for_people_and_scripts() -> None:
    document = json.loads(receipt.dump(a_receipt(record("/b"), record("/a"))))
    assert document["format"] == 2
    assert [row[0] for row in document["entries"]] == ["/a", "/b"]
    assert document["entries"][0][2] == "4755"
    assert base64.b64decode(document["entries"][0][9][0][1]) == b"\0\1"
    assert list(document) == sorted(document)


# --- nothing else is taken for one --------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], Any]) -> bytes:
    document = json.loads(receipt.dump(a_receipt(record("/a"), record("/b"))))
    change(document)
    return json.dumps(document).encode()


def cell(column: str, value: Any) -> bytes:
    """Return a receipt in which one field of one record is something else."""

    def change(document: dict[str, Any]) -> None:
        document["entries"][1][Record._fields.index(column)] = value

    return edited(change)


WRONG = {
    "empty": b"",
    "no JSON": b"hello",
    "cut off": receipt.dump(a_receipt())[:-5],
    "something after": receipt.dump(a_receipt()) + b"{}",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "long number": b'{"format":' + b"1" * 10_000 + b"}",
    "no number": edited(lambda doc: doc.update(created=float("nan"))),
    "endless": receipt.dump(a_receipt()).replace(b"1700000000.0", b"1e999"),
    "not ASCII": receipt.dump(a_receipt()).replace(b"odd", b"\xc3\xb6d"),
    "UTF-16": receipt.dump(a_receipt()).decode().encode("utf-16"),
    "no format": edited(lambda doc: doc.pop("format")),
    "format of another type": edited(lambda doc: doc.update(format="2")),
    "unknown key": edited(lambda doc: doc.update(colour="red")),
    "missing key": edited(lambda doc: doc.pop("request")),
    "unknown key inside": edited(lambda doc: doc["request"].update(colour="red")),
    "null": edited(lambda doc: doc.update(zonepath=None)),
    "flag": edited(lambda doc: doc["settings"].update(read_only=1)),
    "parameters": edited(lambda doc: doc["request"].update(parameters=[["a", "b", "c"]])),
    "digest": edited(lambda doc: doc.update(digest="../../etc")),
    "mount point": edited(lambda doc: doc.update(mounts=["/usr/../etc"])),
    "start": edited(lambda doc: doc["settings"].update(start=[])),
    "created": edited(lambda doc: doc.update(created="now")),
    "entries": edited(lambda doc: doc.update(entries={})),
    "short row": edited(lambda doc: doc["entries"][0].pop()),
    "row": edited(lambda doc: doc.update(entries=[None])),
    "twice": edited(lambda doc: doc["entries"].append(doc["entries"][-1])),
    "not sorted": edited(lambda doc: doc["entries"].reverse()),
    "relative path": cell("path", "b"),
    "dots": cell("path", "/b/../../etc/shadow"),
    "dot": cell("path", "/b/."),
    "double slash": cell("path", "//b"),
    "trailing slash": cell("path", "/b/"),
    "NUL": cell("path", "/b\0/c"),
    "no file name": cell("path", "/b\ud800"),
    "no text": cell("path", 7),
    "type": cell("type", "door"),
    "type of another type": cell("type", ["file"]),
    "mode": cell("mode", "755"),
    "decimal mode": cell("mode", 493),
    "mode above all": cell("mode", "10755"),
    "uid": cell("uid", -1),
    "large gid": cell("gid", 2**32),
    "true is no number": cell("uid", True),
    "fraction": cell("size", 1.5),
    "size": cell("size", 2**63),
    "target of a file": cell("target", "/a"),
    "sum": cell("sha256", SUM.upper()),
    "no sum": cell("sha256", None),
    "xattrs": cell("xattrs", {"user.a": "AA=="}),
    "base64": cell("xattrs", [["user.a", "A"]]),
    "xattr": cell("xattrs", [["user.a"]]),
    "method": cell("method", "rename"),
    "source": cell("source", "etc"),
    "identity": cell("identity", [1, 2, 3]),
    "identity's mode": cell("identity", [1, 2, 3, 4, 5]),
    "identity's device": cell("identity", [-1, 2, 3, 4, "0644"]),
    "reasons": cell("reasons", "because"),
    "reason": cell("reasons", [["needed"]]),
    "reason's origin": cell("reasons", [["needed", None]]),
}  # fmt: skip


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_where(data: bytes) -> None:
    with pytest.raises(NoReceiptError) as caught:
        receipt.load(data, "/zones/web/receipt.json")
    assert str(caught.value).startswith("/zones/web/receipt.json: is not a receipt of ours: ")
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_receipt_that_is_none_says_what_can_be_done() -> None:
    with pytest.raises(NoReceiptError) as caught:
        receipt.load(b"{", "/zones/web/receipt.json")
    assert "partialroot remove" in str(caught.value.hint)
    with pytest.raises(NoReceiptError) as caught:
        receipt.load_manifest(b"{", "/images/x/manifest.json")
    assert caught.value.hint is None


@pytest.mark.parametrize(("form", "age"), [(1, "an earlier"), (3, "a later")])
def test_another_format_says_who_made_it(form: int, age: str) -> None:
    data = edited(lambda doc: doc.update(format=form))
    with pytest.raises(
        NoReceiptError, match=f"was made by {age} partialroot: format {form}, not 2"
    ) as caught:
        receipt.load(data, "x")
    assert caught.value.code == 2
    assert caught.value.hint == "remove the zone with the partialroot that made it, then populate it anew"


def test_the_untouched_one_is_right() -> None:
    """So that the test above fails for the reasons it names."""
    assert receipt.load(edited(lambda doc: None), "x") == a_receipt(record("/a"), record("/b"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data(), ANYTHING)
def test_any_value_anywhere_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    """Replace one value of a good receipt, at any depth."""
    document: Any = json.loads(receipt.dump(a_receipt(record("/a"), record("/b"))))
    here = document
    while True:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.booleans()):
            break
        here = here[key]
    here[key] = value
    try:
        loaded = receipt.load(json.dumps(document).encode(), "x")
    except NoReceiptError:
        return
    assert receipt.load(receipt.dump(loaded), "x") == loaded


@given(st.binary(max_size=200))
@example(b"\xff")
@example(b'{"format":1}')
@example(b'{"format":2}')
def test_any_bytes_are_refused(data: bytes) -> None:
    for load in (receipt.load, receipt.load_manifest, receipt.load_origins):
        with pytest.raises(NoReceiptError):
            load(data, "x")


@pytest.mark.parametrize(
    "column",
    [
        {"runs": []},
        {"runs": [["file", 2]]},
        {"runs": [["file", 10**15]]},
        {"runs": [["file", -1], ["file", 2]]},
        {"runs": [["file", True]]},
        {"runs": [["file"]]},
        {"walks": [["file", 1]]},
        ["file", "file"],
        "file",
    ],
)
def test_columns_as_nobody_wrote_them_are_refused(column: object) -> None:
    document = json.loads(receipt.dump_manifest([record("/a")]))
    assert document["columns"][1] == {"runs": [["file", 1]]}
    document["columns"][1] = column
    with pytest.raises(NoReceiptError, match="not a manifest of ours"):
        receipt.load_manifest(json.dumps(document).encode(), "x")


def test_values_that_repeat_are_written_once() -> None:
    many = [record(f"/{number:04}") for number in range(1000)]
    data = receipt.dump_manifest(many)
    assert receipt.load_manifest(data, "x") == tuple(many)
    assert data.count(b'"file"') == 1


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_flipped_byte_is_read_or_refused(place: int, byte: int) -> None:
    data = bytearray(receipt.dump(a_receipt(record("/a"))))
    data[place % len(data)] = byte
    with suppress(NoReceiptError):
        receipt.load(bytes(data), "x")


def test_too_much_is_refused_unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(receipt, "MAX_BYTES", 100)
    data = receipt.dump(a_receipt())
    with pytest.raises(NoReceiptError, match="larger than 100 bytes"):
        receipt.load(data, "x")
    written(tmp_path, data)
    with pytest.raises(NoReceiptError, match="larger than 100 bytes"):
        receipt.read(tmp_path)


# --- reading it from a zonepath -----------------------------------------------------------------------


def written(zonepath: Path, data: bytes | None = None) -> Path:
    zonepath.chmod(0o700)
    file = zonepath / receipt.NAME
    file.write_bytes(data if data is not None else receipt.dump(a_receipt(record("/a"))))
    file.chmod(0o600)
    return file


def test_read(tmp_path: Path) -> None:
    assert receipt.read(tmp_path / "nothing") is None
    assert receipt.read(tmp_path) is None
    written(tmp_path)
    assert receipt.read(tmp_path) == a_receipt(record("/a"))


def test_the_file_is_named(tmp_path: Path) -> None:
    written(tmp_path, b"{")
    with pytest.raises(NoReceiptError) as caught:
        receipt.read(tmp_path)
    assert caught.value.path == str(tmp_path / "receipt.json")
    assert caught.value.code == 2


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_others_may_not_have_written_it(tmp_path: Path, mode: int) -> None:
    written(tmp_path).chmod(mode)
    with pytest.raises(NoReceiptError, match="can be written by others"):
        receipt.read(tmp_path)


def test_others_may_not_have_put_it_there(tmp_path: Path) -> None:
    written(tmp_path)
    tmp_path.chmod(0o770)
    with pytest.raises(NoReceiptError, match="can be written by others"):
        receipt.read(tmp_path)


@needs("root")
@pytest.mark.parametrize("name", [".", receipt.NAME])
def test_it_must_be_ours(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    os.chown(tmp_path / name, 12345, -1)
    with pytest.raises(NoReceiptError, match="belongs to user 12345"):
        receipt.read(tmp_path)


@pytest.mark.hostile
def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to("elsewhere")
    with pytest.raises(NoReceiptError):
        receipt.read(tmp_path)


@pytest.mark.hostile
def test_a_symlinked_zonepath_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "zone").mkdir()
    written(tmp_path / "zone")
    (tmp_path / "link").symlink_to("zone")
    with pytest.raises(NoReceiptError):
        receipt.read(tmp_path / "link")


@pytest.mark.hostile
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path, int], None]
) -> None:
    tmp_path.chmod(0o700)
    make(tmp_path / receipt.NAME, 0o600)
    with pytest.raises(NoReceiptError):
        receipt.read(tmp_path)


def test_manifest_and_reasons_of_an_image(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(NoReceiptError, match="is not there"):
        receipt.read_manifest(tmp_path)
    origins = receipt.Origins({RootPath("/usr"): (Reason("wanted", "a.toml:1"),)})
    for name, data in (
        (receipt.MANIFEST, receipt.dump_manifest([record("/usr")])),
        ("reasons-1.json", receipt.dump_origins(origins)),
    ):
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    assert receipt.read_manifest(tmp_path) == (record("/usr"),)
    zone = a_receipt()._replace(image=str(tmp_path))
    assert receipt.read_origins(zone) == origins
    assert receipt.read_origins(zone._replace(image=None, reasons=None)) == receipt.Origins()
