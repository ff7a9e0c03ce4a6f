"""What both systems are asked: who lives in a zone, what can be linked; illumos' answers from text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing import make_source, nothing_changed, selection
from sunos import LINUX_ONLY

from partialroot.errors import ApplyError, ConflictError
from partialroot.host import local
from partialroot.host.facts import existing
from partialroot.host.illumos import mnttab, processes
from partialroot.host.illumos.facts import probe
from partialroot.host.process import Process
from partialroot.nodes import FileType
from partialroot.pipeline.planning import refuse_shared_datasets
from partialroot.plan.planner import Sharing, plan
from partialroot.source.content import measure
from partialroot.source.tree import Tree
from partialroot.zone.image import ensure_image
from partialroot.zone.receipt import read_manifest
from partialroot.zone.state import why_changed
from partialroot.zone.store import Store

ZONES = """\
0:global:running:/::ipkg:shared
3:web:running:/z/web:u1:partial-root:excl
5:w2:ready:/z/w\\:2:u2:x:excl
"""
PS = "  1203 zsched\n 31337 /sbin/init\n  1999 /usr/bin/node /srv/a b\nlies 7 of a process\n"


class Commands:
    """Answers prepared by the first words of a command; an exception is raised."""

    def __init__(self, **answers: str | ApplyError) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._answers = answers

    def __call__(self, *words: str) -> str:
        self.asked.append(words)
        answer = self._answers[Path(words[0]).name]
        if isinstance(answer, ApplyError):
            raise answer
        return answer


# --- who lives in a zone ------------------------------------------------------------------------------


def test_the_processes_of_a_zone_are_what_ps_prints() -> None:
    run = Commands(zoneadm=ZONES, ps=PS)
    assert processes.zone_processes(Path("/z/web/root"), run) == (
        Process(1203, "zsched"),
        Process(31337, "/sbin/init"),
        Process(1999, "/usr/bin/node /srv/a b"),
    )
    assert run.asked == [
        ("/usr/sbin/zoneadm", "list", "-p"),
        ("/usr/bin/ps", "-z", "web", "-o", "pid=", "-o", "args="),
    ]


def test_a_zone_that_the_kernel_does_not_know_has_none() -> None:
    assert processes.zone_processes(Path("/z/other/root"), Commands(zoneadm=ZONES)) == ()


def test_colons_in_a_zonepath() -> None:
    run = Commands(zoneadm=ZONES, ps=PS)
    assert processes.zone_processes(Path("/z/w:2/root"), run)
    assert run.asked[1][2] == "w2"


def test_a_zone_that_ends_meanwhile_has_none() -> None:
    listed = [ZONES, "0:global:running:/::ipkg:shared\n"]

    def run(*words: str) -> str:
        if words[0].endswith("ps"):
            raise ApplyError("ps: unknown zone")
        return listed.pop(0)

    assert processes.zone_processes(Path("/z/web/root"), run) == ()


def test_what_ps_cannot_tell_is_an_error() -> None:
    with pytest.raises(ApplyError, match="denied"):
        processes.zone_processes(Path("/z/web/root"), Commands(zoneadm=ZONES, ps=ApplyError("denied")))


@given(st.text())
def test_any_text_is_processes(text: str) -> None:
    assert all(one.pid >= 0 for one in processes.parse(text))


# --- what the host offers -----------------------------------------------------------------------------


def test_links_are_tried_with_what_illumos_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = mnttab.parse("rpool/ROOT/be\t/\tzfs\trw,dev=1\t1\nrpool/export\t/export\tzfs\trw,dev=2\t2\n")
    monkeypatch.setattr(mnttab, "read", lambda: table)
    source, store, zone = make_source(tmp_path / "source"), tmp_path / "store", tmp_path / "zone"
    with nothing_changed(source, existing(store)), monkeypatch.context() as patch:
        for name in LINUX_ONLY:
            patch.delattr(os, name, raising=False)
        found = probe(selection(source), store, [zone])
    assert found.links == {"/": ""}
    assert found.clones == found.root_clones == {"/": "no reflinks on illumos"}
    assert (found.image_home, found.link_max, found.no_mount) == (store / "images", 2**31 - 1, "")


def test_views_are_tried_where_they_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, view = make_source(tmp_path / "source"), tmp_path / "view"
    view.write_text("hidden")
    table = mnttab.parse(f"r\t/\tzfs\trw\t1\n/\t{tmp_path}/view\tlofs\tro\t2\n")
    monkeypatch.setattr(mnttab, "read", lambda: table)
    chosen = selection(source)._replace(views={"/usr/bin/tool": str(view)})
    assert probe(chosen, tmp_path / "store", []).links == {"/": "", str(view): ""}


@pytest.mark.parametrize("share", [("auto",), ("mount", "copy")])
def test_a_hidden_file_is_linked_or_copied_from_where_it_is_seen(
    share: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, place, digest and record are those of the source: nothing tells of the view."""
    source, view = make_source(tmp_path / "source"), tmp_path / "view"
    (source / "usr/bin/tool").rename(view)
    (source / "usr/bin/tool").write_text("what is shown instead")
    monkeypatch.setattr(mnttab, "read", lambda: mnttab.parse("r\t/\tzfs\trw\t1\n"))
    tree = Tree(source, views={"/usr/bin/tool": str(view)})
    chosen = selection(source)
    entries = [
        one._replace(node=node, size=node.size, mode=node.mode)
        for one in chosen.entries
        if (node := tree.lstat(one.path))
    ]
    chosen = chosen._replace(entries=tuple(entries), views=tree.views)
    files = [(one.path, one.node) for one in entries if one.type is FileType.FILE and one.node]
    facts = probe(chosen, tmp_path / "store", [])
    sharing = Sharing.parse(share, trust_zone=False, read_only=False)
    made = plan(chosen, facts, measure(tree, files), sharing)
    image = ensure_image(made, Store(tmp_path / "store")).path / "usr/bin/tool"
    assert image.read_bytes() == view.read_bytes() == b"x" * 3000
    assert image.samefile(view) == (share == ("auto",))
    record = next(one for one in read_manifest(image.parents[2]) if one.path == "/usr/bin/tool")
    assert record.source == "/usr/bin/tool"
    assert record.identity and record.identity.ino == view.stat().st_ino
    assert why_changed(record, tree) == ""
    assert why_changed(record, Tree(source)) != ""


def test_images_and_zones_lie_apart(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="same dataset"):
        refuse_shared_datasets([tmp_path / "zones/web"], tmp_path / "store/images")
    refuse_shared_datasets([Path("/dev/shm/web")], tmp_path / "store/images")


# --- which system it is -------------------------------------------------------------------------------


def test_this_is_linux(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    assert not local.is_illumos()
    assert local.zone_processes(tmp_path / "root") == ()
    assert not local.is_shown(tmp_path)


IMPORTS = """
import sys
sys.path[:0] = {path!r}
import sunos
sunos.become()
from importlib import import_module
for name in {modules!r}:
    import_module(name)
"""


def test_all_that_illumos_needs_is_imported_without_linux() -> None:
    """Every module but those of Linux' own part: imports inside of functions are another test's (lives)."""
    package = Path(local.__file__).parent.parent
    names = [
        ".".join(["partialroot", *path.relative_to(package).with_suffix("").parts])
        for path in sorted(package.rglob("*.py"))
        if "linux" not in path.relative_to(package).parts and not path.name.startswith("__")
    ]
    code = IMPORTS.format(path=[str(package.parent), str(Path(__file__).parent)], modules=names)
    done = subprocess.run([sys.executable, "-IBc", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
