"""What the host offers to those with fewer rights, and where it does not let them mount."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from children import (
    NOBODY,
    as_nobody,
    in_child,
    in_user_and_mount_namespace,
    in_user_namespace,
    without_sys_admin,
    without_syscall,
)
from needs import needs
from probing import facts, make_source, selection

from partialroot.host.linux import syscalls
from partialroot.host.linux.facts import probe
from partialroot.host.linux.mountinfo import parse

Mounter = Callable[..., Path]


def open_to_all(place: Path) -> tuple[Path, Path]:
    """Return a source of root's, and a directory of nobody's beside it."""
    place.chmod(0o755)
    source, home = make_source(place / "source"), place / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    return source, home


@needs("root")
def test_who_is_nobody_cannot_link_files_of_root(scratch: Path) -> None:
    source, home = open_to_all(scratch)
    found = in_child(as_nobody, lambda: facts(source, home / "store", home / "zone"))
    (reason,) = found.links.values()
    assert "fs.protected_hardlinks" in reason
    assert found.image_home == home / "store/images"
    assert found.lost_owners == {(0, 0)}
    assert "may not mount" in found.no_mount


@needs("root")
def test_who_is_nobody_can_link_its_own_files(scratch: Path) -> None:
    _, home = open_to_all(scratch)
    source = make_source(home / "source")
    for file in source.rglob("*"):
        os.chown(file, NOBODY, NOBODY)
    found = in_child(as_nobody, lambda: facts(source, home / "store", home / "zone"))
    assert set(found.links.values()) == {""}
    assert not found.lost_owners


@needs("root")
def test_one_file_of_root_among_ones_own_forbids_links(scratch: Path) -> None:
    _, home = open_to_all(scratch)
    source = make_source(home / "source")
    for file in source.rglob("*"):
        os.chown(file, NOBODY, NOBODY)
    os.chown(source / "usr/bin/big", 0, 0)
    found = in_child(as_nobody, lambda: facts(source, home / "store", home / "zone"))
    assert set(found.links.values()) != {""}
    assert found.lost_owners == {(0, 0)}


@needs("root")
def test_where_nothing_can_be_written_every_answer_says_so(scratch: Path) -> None:
    source, home = open_to_all(scratch)
    found = in_child(as_nobody, lambda: facts(source, scratch / "store", home / "zone"))
    for reason in (*found.links.values(), *found.clones.values(), found.no_mount):
        assert reason == f"nothing can be written in {scratch}: Permission denied"
    assert "cannot be written" not in " ".join(found.root_clones.values())
    assert found.lost_owners == {(0, 0)}


@needs("root")
def test_unreadable_files_are_not_cloned(scratch: Path) -> None:
    source, home = open_to_all(scratch)
    for file in source.rglob("usr/bin/*"):
        file.chmod(0o711)
    chosen = selection(source)
    found = in_child(as_nobody, lambda: probe(chosen, home / "store", [home / "zone"]))
    assert set(found.clones.values()) == {"its files cannot be read"}


@needs("root", "userns")
def test_root_of_a_user_namespace(scratch: Path) -> None:
    source = make_source(scratch / "source")
    os.chown(source / "etc/conf", 0, 42)
    found = in_child(in_user_namespace, lambda: facts(source, scratch / "store", scratch / "zone"))
    assert set(found.links.values()) == {""}
    assert "may not mount" in found.no_mount
    assert found.lost_owners == {(0, NOBODY)}


@needs("root", "userns")
def test_root_of_a_user_namespace_with_its_own_mounts(scratch: Path) -> None:
    source = make_source(scratch / "source")
    found = in_child(in_user_and_mount_namespace, lambda: facts(source, scratch / "store", scratch / "zone"))
    assert found.no_mount == ""
    assert set(found.links.values()) == {""}


@needs("root", "mount")
def test_without_cap_sys_admin_all_but_mounts(scratch: Path) -> None:
    source = make_source(scratch / "source")
    os.chown(source / "etc/conf", 12, 42)
    found = in_child(without_sys_admin, lambda: facts(source, scratch / "store", scratch / "zone"))
    assert "may not mount" in found.no_mount
    assert set(found.links.values()) == {""}
    assert not found.lost_owners


# --- mounts -----------------------------------------------------------------------------------------


@needs("root", "mount")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "remount,exec"], ""),
        (["-o", "remount,noexec"], "mounted noexec"),
        (["--make-unbindable"], "must not be bound"),
    ],
)
def test_a_store_that_cannot_be_mounted_from(
    scratch: Path, mounted: Mounter, options: list[str], reason: str
) -> None:
    source = make_source(scratch / "source")
    (scratch / "place").mkdir()
    place = mounted(scratch / "place")
    subprocess.run(["mount", *options, place], check=True)
    found = probe(selection(source)._replace(tops=()), place / "store", [])
    assert reason in found.no_mount and bool(reason) == bool(found.no_mount)


@needs("root", "mount")
@pytest.mark.parametrize("call", ["openat2", "open_tree", "mount_setattr", "move_mount"])
@pytest.mark.parametrize(
    ("error", "reason"), [(errno.EPERM, "may not mount"), (errno.ENOSYS, "lacks the system calls")]
)
def test_a_container_that_forbids_one_of_the_calls(scratch: Path, call: str, error: int, reason: str) -> None:
    source, number = make_source(scratch / "source"), getattr(syscalls, call.upper())
    found = in_child(
        lambda: without_syscall(number, error), lambda: facts(source, scratch / "store", scratch / "zone")
    )
    assert reason in found.no_mount
    assert set(found.links.values()) == {""}


def test_in_a_chroot_there_are_no_mounts(scratch: Path) -> None:
    source = make_source(scratch / "source")
    chrooted = parse("40 27 0:5 / /proc rw - proc proc rw")
    found = probe(selection(source), scratch / "store", [], chrooted)
    assert "chroot" in found.no_mount
    assert found.mount_points == ("/",) and found.links == {"/": ""}
