"""What is copied has the source's modes, owners, times, xattrs, ACLs, capabilities and links (P9)."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from spaces import LoopFs
from treedump import differences, dump
from zones import REQUEST, content_of, node_of, site_at, whole_plan, with_actions

from partialroot.model import Method, Plan, Receipt, Record
from partialroot.nodes import FileType
from partialroot.zone import apply, receipt
from partialroot.zone.verify import verify

pytestmark = needs("root")

ODD_MODES = (0o0000, 0o0001, 0o0444, 0o1644, 0o2711, 0o4755, 0o6755, 0o7777)


@pytest.fixture
def rich(scratch: Path) -> Path:
    """A source of files with everything that can be lost in a copy."""
    root = scratch / "rich"
    (root / "etc/deep/er").mkdir(parents=True)
    root.chmod(0o751)
    for mode in ODD_MODES:
        path = root / f"etc/{mode:04o}"
        path.write_text(f"{mode:o}")
        os.chown(path, 33, 50)
        path.chmod(mode)
    for number, name in enumerate(("empty", "one byte", "caf\udce9", "new\nline", "-rf")):
        (root / "etc" / name).write_bytes(b"x" * number)
        os.utime(root / "etc" / name, ns=(1, 1_234_567_890_123_456_789 + number))
    os.link(root / "etc/one byte", root / "etc/deep/er/twin")
    os.link(root / "etc/one byte", root / "z-twin")
    (root / "etc/symlink").symlink_to("../../../../etc/shadow")
    os.chown(root / "etc/symlink", 33, 33, follow_symlinks=False)
    os.utime(root / "etc/symlink", ns=(1, 10**18), follow_symlinks=False)
    for name, mode in (("etc/deep/er", 0o2770), ("etc/deep", 0o1777), ("etc", 0o711)):
        os.chown(root / name, 33, 50)
        (root / name).chmod(mode)
        os.utime(root / name, ns=(1, 10**18 + mode))
    return root


def private(source: Path, store: Path) -> Plan:
    return whole_plan(source, store, shared=())


def made(plan: Plan, store: Path, zonepath: Path) -> Receipt:
    return apply.create(plan, site_at(store, zonepath, mount=False), REQUEST, None)


def check_measured(root: Path, records: tuple[Record, ...]) -> None:
    """Compare every record with the disk, and the disk with the records."""
    for record in records:
        host = Path(f"{root}{record.path}")
        node = node_of(host)
        assert record[:5] == (record.path, node.type, node.mode, node.uid, node.gid)
        assert (record.size, record.mtime_ns, record.target) == (node.size, node.mtime_ns, node.target)
        if node.type is FileType.FILE:
            assert (record.sha256, record.xattrs) == content_of(host)[:2]
    assert len(records) == 1 + len(list(root.rglob("*")))


def test_everything_is_kept(rich: Path, store: Path, scratch: Path) -> None:
    before = dump(rich)
    result = made(private(rich, store), store, scratch / "zone")
    assert differences(before, dump(scratch / "zone/root")) == []
    assert differences(before, dump(rich)) == []
    check_measured(scratch / "zone/root", result.entries)
    assert receipt.read(scratch / "zone") == result
    assert verify(scratch / "zone", result) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_whatever_the_umask(rich: Path, store: Path, scratch: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        made(private(rich, store), store, scratch / "zone")
    finally:
        os.umask(old)
    assert differences(dump(rich), dump(scratch / "zone/root")) == []
    assert os.stat(scratch / "zone").st_mode & 0o7777 == 0o700


@needs("acl", "capability", "xattr")
def test_acls_capabilities_and_xattrs_are_kept(rich: Path, store: Path, scratch: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:33:rw,g:50:---,m:rx", rich / "etc/one byte"], check=True)
    subprocess.run(["setcap", "cap_net_raw+ep", rich / "etc/empty"], check=True)
    os.setxattr(rich / "etc/empty", "user.binary", bytes(range(256)))
    os.setxattr(rich / "etc/4755", "trusted.secret", b"")
    plan = private(rich, store)
    result = made(plan, store, scratch / "zone")
    assert differences(dump(rich), dump(scratch / "zone/root")) == []
    check_measured(scratch / "zone/root", result.entries)
    assert len([one for one in result.entries if one.xattrs]) == 3 + 2  # the ACL's inode has three names
    acl = subprocess.run(
        ["getfacl", "-cn", scratch / "zone/root/etc/one byte"], capture_output=True, text=True
    )
    assert "user:33:rw-" in acl.stdout


@needs("acl")
def test_a_default_acl_above_is_not_inherited(rich: Path, scratch: Path) -> None:
    (scratch / "parent").mkdir()
    subprocess.run(["setfacl", "-m", "d:u:33:rwx,d:g::rwx", scratch / "parent"], check=True)
    store, zonepath = scratch / "parent/store", scratch / "parent/zone"
    result = made(private(rich, store), store, zonepath)
    assert differences(dump(rich), dump(zonepath / "root")) == []
    assert os.listxattr(zonepath) == []
    assert os.stat(zonepath).st_mode & 0o7777 == 0o700
    assert verify(zonepath, result) == []


def test_a_setgid_parent_gives_its_group_to_nothing(rich: Path, scratch: Path) -> None:
    (scratch / "parent").mkdir()
    os.chown(scratch / "parent", 0, 50)
    (scratch / "parent").chmod(0o2755)
    made(private(rich, scratch / "store"), scratch / "store", scratch / "parent/zone")
    assert differences(dump(rich), dump(scratch / "parent/zone/root")) == []
    assert os.stat(scratch / "parent/zone").st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
@needs("mount")
def test_clones_are_as_good_as_copies(rich: Path, loop_fs: LoopFs, kind: str) -> None:
    top = loop_fs(kind)
    subprocess.run(["cp", "-a", rich, top / "rich"], check=True)
    store = top / "store"
    plan = private(top / "rich", store)
    cloning = with_actions(
        plan,
        (
            action._replace(method=Method.CLONE) if action.method is Method.COPY else action
            for action in plan.actions
        ),
    )
    result = made(cloning, store, top / "zone")
    assert differences(dump(top / "rich"), dump(top / "zone/root")) == []
    check_measured(top / "zone/root", result.entries)
    assert Method.CLONE in {one.method for one in result.entries}


@needs("mount")
def test_no_inode_of_the_root_has_a_name_outside(
    rich: Path, store: Path, scratch: Path, mounted: Callable[[Path], Path]
) -> None:
    made(private(rich, store), store, scratch / "zone")
    names: dict[int, int] = {}
    for path in (scratch / "zone/root").rglob("*"):
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            names[found.st_ino] = names.get(found.st_ino, 0) + 1
            assert found.st_ino != os.lstat(rich / path.relative_to(scratch / "zone/root")).st_ino
    for path in (scratch / "zone/root").rglob("*"):
        found = os.lstat(path)
        assert stat.S_ISDIR(found.st_mode) or found.st_nlink == names[found.st_ino]


@needs("xattr", "mount")
def test_an_xattr_the_file_system_cannot_hold_is_a_warning(
    rich: Path, scratch: Path, loop_fs: LoopFs
) -> None:
    os.setxattr(rich / "etc/empty", "user.x", b"x" * 100)
    plan = private(rich, scratch / "store")
    lost = [
        action._replace(content=action.content._replace(xattrs=(("nonsense.x", b"1"),)))
        if action.entry.path == "/etc/empty" and action.content
        else action
        for action in plan.actions
    ]
    plan = with_actions(plan, lost)
    site = site_at(scratch / "store", scratch / "zone", mount=False)
    result = apply.create(plan, site, REQUEST, None)
    assert result.warnings == ("/etc/empty: could not be kept here: its nonsense.x",)
    assert not apply.update(plan, site, REQUEST, None, result)
