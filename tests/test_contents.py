"""Lines of the SVR4 contents file: all types, states of packages, and what is no line."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.errors import SourceError
from partialroot.source.packages.contents import Entry, index, merge, parse
from partialroot.source.packages.sysv import SysvSum


def entry(path: str, kind: str, *packages: str, mode: int | None = 0o755) -> Entry:
    return Entry(path, kind, packages, mode=mode, owner="root", group="bin")


def file(path: str, kind: str, category: str) -> Entry:
    return entry(path, kind, "A")._replace(category=category, size=12, checksum=1126, mtime=1700000000)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/usr/ls f none 0755 root bin 12 1126 1700000000 A", file("/usr/ls", "f", "none")),
        ("/etc/motd e preserve 0755 root bin 12 1126 1700000000 A", file("/etc/motd", "e", "preserve")),
        ("/var/adm/log v none 0755 root bin ? ? ? A", entry("/var/adm/log", "v", "A")),
        ("/etc d none 0755 root bin A *Ba:none ~Bb\\ -Bc\\:all", entry("/etc", "d", "A", "Ba", "Bb", "Bc")),
        ("/etc d none 0755 root bin !A +B %C @D #E", entry("/etc", "d", "A", "B", "C", "D", "E")),
        ("/opt/own x none 0755 root bin A", entry("/opt/own", "x", "A")),
        ("/etc/pipe p none ? root bin A", entry("/etc/pipe", "p", "A", mode=None)),
        ("/bin=./usr/bin s none A", Entry("/bin", "s", ("A",), target="./usr/bin")),
        ("/usr/bin/ksh=ksh93 l none A", Entry("/usr/bin/ksh", "l", ("A",), target="ksh93")),
        ("/usr/a=b=c s none A", Entry("/usr/a", "s", ("A",), target="b=c")),
        ("/usr/bin/ksh l none A", Entry("/usr/bin/ksh", "l", ("A",))),
        ("/dev/null c none 13 2 0755 root bin A", entry("/dev/null", "c", "A")),
        ("/dev/sd b none ? ? 0755 root bin A", entry("/dev/sd", "b", "A")),
        ("/what ? A B", Entry("/what", "?", ("A", "B"))),
        ("/etc\td  none 0755 root bin", entry("/etc", "d")),
    ],
)  # fmt: skip
def test_every_type(line: str, expected: Entry) -> None:
    assert parse(line, "contents") == expected


@pytest.mark.parametrize(
    "line",
    [
        "/path",
        "/path ",
        "/path f",
        "/path q none A",
        "/path i none A",
        "/path fe none A",
        "/path f none 0755 root bin 12 1126",
        "/path f none 0755 root bin twelve 1126 1 A",
        "/path f none 0755 root bin -1 1126 1 A",
        "/path f none 0799 root bin 1 1126 1 A",
        "/path f none 0755 root bin 999999999999999999999 1 1 A",
        "/path=target f none 0755 root bin 1 1 1 A",
        "/path d none 0755 root bin A/../B",
        "/path d none 0755 root bin :class",
    ],
)
def test_what_is_no_line(line: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(line, "/var/sadm/install/contents")
    assert caught.value.path == "/var/sadm/install/contents"


def test_lines_are_found_by_their_path() -> None:
    text = (
        "# a comment\n\n/bin=./usr/bin s none A\n/etc\td none 0755 root sys A\n/etc d none 0755 root sys B\n"
    )
    assert index(text, "contents") == {
        "/bin": "/bin=./usr/bin s none A",
        "/etc": "/etc\td none 0755 root sys A",
    }


@pytest.mark.parametrize("text", ["f none /path A", " /etc d none A", "/ok ? A\nnot a path\n"])
def test_a_line_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="has no path"):
        index(text, "contents")


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "ab"),
        ("-/a\n", "ab"),
        ("-/a\n###Marker", "ab"),
        ("-/a\n###Marker\n", "b"),
        ("###Marker\n-/a\n", "ab"),
        ("-/x\n-/a ? A\n###Marker\n", "b"),
        ("+/c ? A\n=/a ? B\n###Marker\n###Marker\nrest", "abc"),
        ("+/c ###Marker\n###Marker\n", "abc"),
    ],
)
def test_changes_are_made_up_to_the_last_marker(log: str, expected: str) -> None:
    lines = index("/a ? A\n/b ? A\n", "contents")
    merge(lines, log, "pkglog")
    assert "".join(sorted(path[1:] for path in lines)) == expected
    assert lines.get("/a") in (None, "/a ? B" if "=" in log else "/a ? A")


@pytest.mark.parametrize("line", ["/a ? A", "*/a ? A", "+a", "+", "+ /a"])
def test_what_is_no_change(line: str) -> None:
    with pytest.raises(SourceError):
        merge({}, f"{line}\n###Marker\n", "pkglog")


@given(st.text())
def test_any_text_is_a_log_or_refused(text: str) -> None:
    lines = {"/a": "/a ? A"}
    try:
        merge(lines, f"{text}\n###Marker\n", "pkglog")
    except SourceError:
        return
    assert all(line.startswith(path) for path, line in lines.items())


@given(st.text())
def test_any_text_is_lines_or_refused(text: str) -> None:
    try:
        entries = [parse(line, "contents") for line in index(text, "contents").values()]
    except SourceError:
        return
    assert all(entry.path.startswith("/") for entry in entries)


WORDS = ["f", "e", "d", "s", "l", "c", "none", "0755", "root", "?", "1", "-1", "A", "*B", "C:x", "é"]


@given(st.lists(st.sampled_from(WORDS)))
def test_any_words_are_a_line_or_refused(words: list[str]) -> None:
    try:
        found = parse(" ".join(["/path", *words]), "contents")
    except SourceError:
        return
    assert found.kind == words[0]
    assert {f"*{one}" if one == "B" else one.replace("C", "C:x") for one in found.packages} <= {*WORDS, "1"}


@pytest.mark.parametrize("data", [b"", b"hello world\n", b"\xff" * 70_000, bytes(range(256)) * 5000])
def test_the_checksum_is_that_of_sum(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    judged = subprocess.run(["sum", "-s", tmp_path / "file"], capture_output=True, check=True).stdout.split()
    ours = SysvSum()
    for at in range(0, len(data), 1000):
        ours.update(data[at : at + 1000])
    assert ours.value() == int(judged[0])
    assert ours.hexdigest() == f"{int(judged[0]):04x}"
