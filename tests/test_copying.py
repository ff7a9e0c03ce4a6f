"""Tests of copies with what Python on illumos cannot set, ACLs and extended attributes: by cpio and ls."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifecycle import copies
from needs import needs

from partialroot.errors import ApplyError
from partialroot.host import local
from partialroot.host.illumos import commands, copying
from partialroot.host.illumos.copying import CPIO, LS, cpio_names, cpio_words, ls_words, permissions
from partialroot.model import Action, Entry, Layer, Method, Plan, ZoneSettings
from partialroot.nodes import Content, FileType, Node
from partialroot.paths import RootPath
from partialroot.zone.layer import COPIES, LayerBuilder

LISTED = """\
-rw-r--r--   1 root     sys         1234 Nov 23 03:00 /etc/motd
                 owner@:rw-p--aARWcCos:-------:allow
                 group@:r-----a-R-c--s:-------:allow
-rwsr-xr-x+  1 root     bin        99999 Nov 23 03:00 /usr/bin/su
            user:webservd:r-x---a-R-c--s:-------:allow
-r--r--r--@  1 root     sys            0 Nov 23 03:00 /etc/empty
"""


def test_the_words_of_the_commands() -> None:
    assert cpio_words("/z/root/x") == ("/usr/bin/cpio", "-pdmP@", "/z/root/x")
    assert ls_words(["/a", "/b c"]) == ("/usr/bin/ls", "-dV@", "/a", "/b c")


@given(st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1)))
def test_every_name_is_a_line(names: list[str]) -> None:
    assert cpio_names(f"/{name}" for name in names).split("\n") == [*names, ""]


def test_a_name_of_two_lines_is_refused() -> None:
    with pytest.raises(ApplyError, match="line end"):
        cpio_names(["/etc/motd", "/etc/pass\nwd"])


def test_what_ls_prints() -> None:
    assert permissions(LISTED) == [
        ("-rw-r--r--", "owner@:rw-p--aARWcCos:-------:allow", "group@:r-----a-R-c--s:-------:allow"),
        ("-rwsr-xr-x+", "user:webservd:r-x---a-R-c--s:-------:allow"),
        ("-r--r--r--@",),
    ]


def test_many_files_are_listed_in_parts() -> None:
    asked: list[tuple[str, ...]] = []

    def run(*words: str) -> str:
        asked.append(words)
        return "".join(f"-rw-r--r--  1 {path}\n" for path in words[2:])

    def feed(text: str, *words: str) -> str:
        assert text == "".join(f"{path[1:]}\n" for path in paths)
        return ""

    paths = [f"/etc/{number:04}" for number in range(1000)]
    assert copying.copy([*paths, *paths], "/z", run, feed) == frozenset()
    for top in ("/etc", "/z/etc"):
        listed = [words[2:] for words in asked if words[2].startswith(top)]
        assert [len(words) for words in listed] == [400, 400, 200]


# --- a layer built that way ---------------------------------------------------------------------------


@pytest.fixture
def illumos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies are made by stand-ins of cpio and ls; return the source."""

    def start(text: str, *words: str) -> str:
        main = {CPIO: "main_cpio", LS: "main_ls"}[words[0]]
        code = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.dirname(copies.__file__))!r}); "
        code += f"from lifecycle import copies; sys.exit(copies.{main}(sys.argv[1:]))"
        return commands.feed(text, "/usr/bin/python3", "-ISc", code, *words[1:])

    def copy(paths: object, into: str) -> frozenset[str]:
        return copying.copy(paths, into, lambda *words: start("", *words), start)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "copy_at_once", lambda: copy)
    source = tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    return source


def action(source: Path, path: str, of: str | None = None, method: Method = Method.COPY) -> Action:
    real = RootPath(of or path)
    file = Path(f"{source}{real}")
    node = Node.of(file.lstat())
    data = file.read_bytes()
    from hashlib import sha256

    entry = Entry(
        RootPath(path), FileType.FILE, node.mode, node.uid, node.gid, Layer.PRIVATE, (),
        size=len(data), mtime_ns=node.mtime_ns, source=real, node=node,
    )  # fmt: skip
    return Action(entry, method, "", Content(sha256(data).hexdigest()))


def build(source: Path, root: Path, actions: list[Action]) -> LayerBuilder:
    etc = Entry(RootPath("/etc"), FileType.DIR, 0o755, os.geteuid(), os.getegid(), Layer.PRIVATE, ())
    every = (Action(etc, Method.MKDIR, ""), *actions)
    plan = Plan((), source, "illumos", (), every, None, root, (), (), (), ZoneSettings())
    root.mkdir()
    top = os.open(root, os.O_RDONLY)
    try:
        builder = LayerBuilder(top, plan, Path("/where/it/will/be"), frozenset())
        builder.build(plan.private)
    finally:
        os.close(top)
    return builder


@needs("acl", "xattr")
def test_copies_keep_what_python_cannot_set(illumos: Path, tmp_path: Path) -> None:
    motd, other = illumos / "etc/motd", illumos / "etc/other"
    for path, mode in ((motd, 0o640), (other, 0o4711)):
        path.write_text(path.name)
        path.chmod(mode)
        os.utime(path, ns=(10**18 + 123, 10**18 + 123))
    subprocess.run(["setfacl", "-m", "u:7:r", motd], check=True)
    os.setxattr(motd, "user.note", b"kept")
    root = tmp_path / "root"
    actions = [
        action(illumos, "/etc/copy", "/etc/motd"),
        action(illumos, "/etc/motd"),
        action(illumos, "/etc/other"),
    ]
    built = build(illumos, root, actions)
    assert built.lost == [] and not (root / COPIES).exists()
    for name, source in (("copy", motd), ("motd", motd), ("other", other)):
        file, was = root / "etc" / name, source.stat()
        found = file.stat()
        assert file.read_bytes() == source.read_bytes()
        assert (found.st_mode, found.st_uid, found.st_mtime_ns) == (was.st_mode, was.st_uid, was.st_mtime_ns)
        assert found.st_nlink == 1
        assert {key: os.getxattr(file, key) for key in os.listxattr(file)} == {
            key: os.getxattr(source, key) for key in os.listxattr(source)
        }
    records = {record.path: record for record in built.records}
    assert records[RootPath("/etc/other")].mode == 0o4711
    assert sorted(file.name for file in root.iterdir()) == ["etc"]


def test_what_is_lost_is_said(illumos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    motd = illumos / "etc/motd"
    motd.write_text("hello")
    make = local.copy_at_once()
    assert make

    def losing(paths: object, into: str) -> frozenset[str]:
        make(paths, into)  # type: ignore[arg-type]
        return frozenset(map(str, [motd]))

    monkeypatch.setattr(local, "copy_at_once", lambda: losing)
    built = build(illumos, tmp_path / "root", [action(illumos, "/etc/motd")])
    assert built.lost == ["/etc/motd: could not be kept here: its ACL or extended attributes"]


def test_a_source_that_changes_is_noticed(illumos: Path, tmp_path: Path) -> None:
    motd = illumos / "etc/motd"
    motd.write_text("hello")
    wanted = action(illumos, "/etc/motd")
    motd.write_text("hello again")
    with pytest.raises(ApplyError, match="changed in the source"):
        build(illumos, tmp_path / "root", [wanted])


def test_cpio_that_fails_is_told(illumos: Path, tmp_path: Path) -> None:
    (illumos / "etc/motd").write_text("hello")
    wanted = action(illumos, "/etc/motd")
    (illumos / "etc/motd").unlink()
    with pytest.raises(ApplyError, match="cpio"):
        build(illumos, tmp_path / "root", [wanted])
