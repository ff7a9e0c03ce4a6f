"""Fix scripts: what they can reach, what they may do, and how what they did comes back."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import needs

import partialroot.host.fixscripts
from partialroot.errors import ConflictError
from partialroot.model import Entry, Fragment, Layer, Selection, ZoneSettings
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.pipeline.fixing import fix
from partialroot.source.tree import Tree

PROFILE = Reason("file", "test.files:1")
TOPS = (RootPath("/usr"), RootPath("/lib"))

pytestmark = [needs("ksh"), needs("userns")]


def entries(tree: Tree) -> Iterator[Entry]:
    for path, node in tree.walk(RootPath("/")):
        layer = Layer.SHARED if path.startswith(("/usr", "/lib")) else Layer.PRIVATE
        is_file = node.type is FileType.FILE
        if path != "/":
            yield Entry(
                path=path,
                type=node.type,
                mode=node.mode,
                uid=node.uid,
                gid=node.gid,
                layer=layer,
                reasons=(PROFILE,),
                size=node.size if is_file else 0,
                target=node.target,
                source=path if is_file else None,
                node=node,
            )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "source"
    for directory in ("etc", "root", "usr/bin", "usr/lib", "lib"):
        (root / directory).mkdir(parents=True)
    (root / "etc/motd").write_text("hello\n")
    (root / "etc/issue").write_text("illumos\n")
    (root / "usr/bin/tool").write_text("a tool")
    (root / "usr/bin/other").write_text("another")
    (root / "usr/lib/libx.so.1").write_text("a library")
    (root / "usr/lib/libx.so").symlink_to("libx.so.1")
    (root / "usr/bin/tool").chmod(0o4555)
    return Tree(root)


def run(tree: Tree, *scripts: str, directory: Path | None = None) -> dict[str, Entry]:
    """Run fix scripts on all that the tree has; return the entries by path."""
    return {str(entry.path): entry for entry in selection(tree, *scripts, directory=directory).entries}


def selection(tree: Tree, *scripts: str, directory: Path | None = None) -> Selection:
    selected = Selection(
        profiles=("test",),
        source=Path(tree.root),
        platform="illumos",
        entries=tuple(entries(tree)),
        missing=(),
        warnings=(),
        tops=TOPS,
        settings=ZoneSettings(),
    )
    where = str(directory or Path(tree.root).parent)
    fragments = [Fragment(f"s{number}", where, fix=text) for number, text in enumerate(scripts)]
    return fix(selected, fragments, tree)


def test_what_is_untouched_stays_the_same_entry(tree: Tree) -> None:
    assert tuple(run(tree, "true").values()) == tuple(entries(tree))


def test_names_are_removed_added_and_changed(tree: Tree) -> None:
    found = run(
        tree, "rm usr/bin/other\nrm -r lib\necho more >> etc/motd\nmkdir -p var/www\nln -s motd etc/m\n"
    )
    assert not {"/usr/bin/other", "/lib"} & found.keys()
    assert found["/etc/motd"].text == b"hello\nmore\n"
    assert found["/etc/motd"].reasons == (Reason("fix script", "s0-fix.sh"), PROFILE)
    assert (found["/var/www"].type, found["/var/www"].mode) == (FileType.DIR, 0o755)
    assert found["/etc/m"].target == "motd"
    assert found["/usr/bin/tool"].source == "/usr/bin/tool"


def test_attributes_of_private_files_change_alone(tree: Tree) -> None:
    motd = run(tree, "chmod 600 etc/motd")["/etc/motd"]
    assert (motd.mode, motd.source, motd.text) == (0o600, "/etc/motd", None)


def test_shared_files_can_move(tree: Tree) -> None:
    found = run(tree, "mv usr/bin/tool usr/bin/renamed; mv usr/lib/libx.so.1 etc/libx")
    assert found["/usr/bin/renamed"].source == "/usr/bin/tool"
    assert found["/usr/bin/renamed"].mode == 0o4555
    assert (found["/etc/libx"].source, found["/etc/libx"].layer) == ("/usr/lib/libx.so.1", Layer.PRIVATE)
    assert not {"/usr/bin/tool", "/usr/lib/libx.so.1"} & found.keys()


def test_shared_files_are_empty_placeholders(tree: Tree) -> None:
    found = run(tree, "cat usr/bin/tool etc/motd > etc/both; ls -l usr/bin/tool | cut -c1-10 > etc/mode")
    assert found["/etc/both"].text == b"hello\n"
    assert found["/etc/mode"].text == b"-r-sr-xr-x\n"


@pytest.mark.parametrize(
    "script",
    [
        "echo x > usr/bin/other",
        "echo x >> usr/bin/other",
        ": > usr/bin/other",
        "sed -i s/a/b/ usr/bin/other",
        "mv usr/bin/other usr/bin/another; echo x > usr/bin/another",
        "echo x > usr/bin/other; rm usr/bin/tool; mv usr/bin/other usr/bin/tool",
        "chmod 700 usr/bin/other",
    ],
)
def test_writing_a_placeholder_names_it(script: str, tree: Tree) -> None:
    with pytest.raises(ConflictError) as caught:
        run(tree, script)
    assert caught.value.path == "/usr/bin/other"
    assert "s0-fix.sh" in caught.value.message


def test_a_shared_file_may_be_made_anew(tree: Tree) -> None:
    found = run(tree, "rm usr/bin/other; echo '#!/bin/sh' > usr/bin/other; ln -sf tool usr/bin/link")
    assert found["/usr/bin/other"].text == b"#!/bin/sh\n"
    assert (found["/usr/bin/link"].layer, found["/usr/bin/link"].target) == (Layer.SHARED, "tool")


def test_an_empty_copy_is_worth_a_warning(tree: Tree) -> None:
    warnings = selection(tree, "cp usr/bin/other usr/bin/copy").warnings
    assert any("/usr/bin/copy is empty" in warning for warning in warnings)


def test_failing_commands_are_ignored_and_what_they_say_is_kept(tree: Tree) -> None:
    done = selection(tree, "rm no-such-file\nfalse\ntouch etc/after")
    assert any(entry.path == "/etc/after" for entry in done.entries)
    assert any("no-such-file" in warning for warning in done.warnings)


def test_scripts_share_a_shell_and_run_in_order(tree: Tree) -> None:
    found = run(
        tree, "SIZE=1; echo $xopt > etc/who", "SIZE=$((SIZE+1))M; echo $xopt $SIZE $PWD $DESTDIR >> etc/who"
    )
    assert found["/etc/who"].text == b"s0\ns1 2M /stage /stage\n"


def test_what_ksh_cannot_parse_it_passes_over(tree: Tree) -> None:
    done = selection(tree, "if then", "touch etc/after")
    assert any(entry.path == "/etc/after" for entry in done.entries)
    assert any("syntax error" in warning for warning in done.warnings)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "s1-fix.sh ended the shell, and no script after it ran: status 0"),
        ("exit 3", "s1-fix.sh ended the shell, and no script after it ran: status 3"),
        ("exec true", "a fix script ended the shell, and no script after it ran: status 0"),
        (
            "export 1X=y",
            "s1-fix.sh ended the shell, and no script after it ran: s1-fix.sh[1]: export: 1X=y: ",
        ),
        ("set -e; echo why; false", "s1-fix.sh ended the shell, and no script after it ran: why"),
    ],
)
def test_a_script_that_ends_the_shell_is_refused_and_named(script: str, message: str, tree: Tree) -> None:
    """As one ends zmvix.sh, too; special built-ins do when they fail (ksh93)."""
    with pytest.raises(ConflictError) as caught:
        run(tree, "true", script, "touch etc/never")
    assert caught.value.message.startswith(message)


def test_a_directory_that_is_not_there_is_no_end(tree: Tree) -> None:
    """The next script begins where that one left the shell, as in zmvix.sh."""
    done = selection(tree, "cd no/such\ntouch etc/here\ncd etc", "touch there")
    assert {"/etc/here", "/etc/there"} <= {entry.path for entry in done.entries}
    assert any(one.startswith("fix scripts: s0-fix.sh[1]: cd: no/such") for one in done.warnings)


def test_scripts_find_the_files_beside_them(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "mvi").mkdir()
    (tmp_path / "mvi/wipe.sh").write_text("wipe")
    found = run(tree, "cp ${MVI_DIR}/wipe.sh root; echo x > ${MVI_DIR}/written", directory=tmp_path / "mvi")
    assert found["/root/wipe.sh"].text == b"wipe"
    assert os.listdir(tmp_path / "mvi") == ["wipe.sh"] or os.geteuid() != 0


def test_that_they_cannot_be_confined_is_not_said_of_a_script(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="could not be confined"):
        run(tree, "true", directory=tmp_path / "gone")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_who_calls(umask: int, tree: Tree) -> None:
    before = os.umask(umask)
    try:
        found = run(tree, "mkdir etc/d; touch etc/f")
    finally:
        os.umask(before)
    assert (found["/etc/d"].mode, found["/etc/f"].mode) == (0o755, 0o644)


def test_source_host_and_network_are_out_of_reach(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    script = f"""
        cat {tree.root}/etc/issue > etc/seen
        rm -rf {tmp_path}/precious {tree.root} /home /etc/passwd /usr/lib/os-release
        cat /sys/class/net/*/operstate /proc/net/dev > etc/net
        mount -t tmpfs none /stage/root && touch etc/mounted
        mknod etc/disk b 8 0
        ls / > etc/top
    """
    found = run(tree, script)
    assert found["/etc/seen"].text == b""
    assert found["/etc/net"].text == b""
    assert not {"/etc/mounted", "/etc/disk"} & found.keys()
    assert b"home" not in (found["/etc/top"].text or b"")
    assert (tmp_path / "precious").exists()
    assert Path(tree.root, "etc/issue").exists()
    assert Path("/etc/passwd").exists()


def test_without_namespaces_they_run_only_when_told(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partialroot.host.fixscripts, "_can_confine", lambda: False)
    with pytest.raises(ConflictError) as caught:
        run(tree, "touch etc/x")
    assert "--run-fix-scripts" in str(caught.value.hint)
    fragment = Fragment("s", tree.root, fix="touch etc/x; cat $THOME/mvi/etc/motd $MVI_DIR/etc/issue > etc/y")
    selected = fix(selection(tree), [fragment], tree, unconfined=True)
    texts = {entry.path: entry.text for entry in selected.entries}
    assert texts[RootPath("/etc/x")] == b""
    assert texts[RootPath("/etc/y")] == b"hello\nillumos\n"


def test_without_ksh_they_are_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", tree.root)
    with pytest.raises(ConflictError, match="need ksh"):
        run(tree, "true")


def test_nothing_is_left_behind(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    run(tree, "mkdir -p a/b; touch a/f; chmod 0 a/b a/f a; sleep 100 &")
    assert os.listdir(place) == []
    mounts = subprocess.run(["cat", "/proc/self/mounts"], capture_output=True, text=True, check=True).stdout
    assert str(place) not in mounts


@needs("root")
def test_owners_of_what_root_gives_away(tree: Tree) -> None:
    found = run(tree, "chown 12:34 etc/motd; touch etc/new; chown 5:6 etc/new")
    assert (found["/etc/motd"].uid, found["/etc/motd"].gid, found["/etc/motd"].source) == (
        12,
        34,
        "/etc/motd",
    )
    assert (found["/etc/new"].uid, found["/etc/new"].gid) == (5, 6)
