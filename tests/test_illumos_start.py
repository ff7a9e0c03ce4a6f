"""The texts that start an illumos zone, and what refuses to be a mount point."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import needs

from partialroot.errors import ConflictError
from partialroot.model import Entry, Layer, Start
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.plan.illumos import (
    refuse_odd_mount_points,
    start_command,
    start_script,
    with_start,
    without_bash,
)
from partialroot.plan.wishes import newest

SHIPPED = """\
ap::sysinit:/sbin/autopush -f /etc/iu.ap
smf::sysinit:/lib/svc/bin/svc.startd	>/dev/msglog 2<>/dev/msglog </dev/console
p3:s1234:powerfail:/usr/sbin/shutdown -y -i5 -g0
"""
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def test_inittab_has_one_smf_entry() -> None:
    assert with_start(SHIPPED, "/etc/zone.rc").splitlines() == [
        "ap::sysinit:/sbin/autopush -f /etc/iu.ap",
        "p3:s1234:powerfail:/usr/sbin/shutdown -y -i5 -g0",
        "smf::sysinit:/etc/zone.rc",
    ]
    assert with_start("", "/etc/zone.rc") == "smf::sysinit:/etc/zone.rc\n"
    assert with_start("a::b:c", "/x") == "a::b:c\nsmf::sysinit:/x\n"
    assert with_start("smf::sysinit:/opt/starter\nsmf2::b:c\n", "/x") == "smf2::b:c\nsmf::sysinit:/x\n"


def test_shells_without_bash() -> None:
    passwd = "root:x:0:0:Super-User:/root:/usr/bin/bash\nbin:x:2:2::/usr/bin:\nb:x:5:5::/bash:/usr/bin/bash\n"
    assert without_bash(passwd) == (
        "root:x:0:0:Super-User:/root:/usr/bin/sh\nbin:x:2:2::/usr/bin:\nb:x:5:5::/sh:/usr/bin/bash\n"
    )


def test_a_pause_sleeps() -> None:
    assert start_command(Start("a.toml:1", pause=True)) == ("/usr/bin/sleep", "Inf")
    assert start_command(Start("a.toml:1", ("node", "x"))) == ("node", "x")


def test_steps_run_in_the_order_of_their_names() -> None:
    steps = [RootPath("/etc/zone.rc.d/20-b"), RootPath("/etc/zone.rc.d/10-a")]
    lines = start_script(["node"], steps).splitlines()
    assert lines[-3:] == ["/etc/zone.rc.d/10-a", "/etc/zone.rc.d/20-b", "exec node"]


@needs("ksh")
@given(st.lists(WORD, min_size=1, max_size=4))
def test_the_command_is_what_was_said(words: list[str]) -> None:
    script = start_script(["printf", "%s\\0", *words], [])
    redirection = "exec </dev/console >/dev/console 2>&1\n"
    assert redirection in script
    there = script.replace(redirection, "")
    done = subprocess.run(["ksh93", "-c", there], capture_output=True, check=True)
    assert done.stdout == "".join(f"{word}\0" for word in words).encode()


def entry(path: str, kind: FileType) -> Entry:
    return Entry(RootPath(path), kind, 0o755, 0, 0, Layer.PRIVATE, (Reason("file", "a.toml:3"),), target="x")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/proc", FileType.SYMLINK),
        ("/system", FileType.SYMLINK),
        ("/etc/svc", FileType.SYMLINK),
        ("/etc/mnttab", FileType.SYMLINK),
        ("/etc/dfs", FileType.FILE),
        ("/dev", FileType.FILE),
    ],
)
def test_what_zoneadmd_could_not_mount_on(path: str, kind: FileType) -> None:
    with pytest.raises(ConflictError) as caught:
        refuse_odd_mount_points([entry(path, kind)])
    assert caught.value.path == path
    assert caught.value.hint == "asked for by a.toml:3"


def test_what_it_can_mount_on() -> None:
    fine = [("/proc", FileType.DIR), ("/etc/mnttab", FileType.FILE), ("/etc/mnttab", FileType.DIR)]
    for one in fine:
        refuse_odd_mount_points([entry(*one)])


def test_the_newest_is_told_by_numbers() -> None:
    versions = ("9", "22", "18", "22.1", "4")
    paths = [RootPath(f"/usr/versions/node-v{version}/bin/node") for version in versions]
    assert newest(paths) == "/usr/versions/node-v22.1/bin/node"
    assert newest(paths[:3]) == "/usr/versions/node-v22/bin/node"
    assert newest([]) is None


def test_scripts_are_shell(tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(start_script(["a b", "'"], [RootPath("/etc/zone.rc.d/10 x")]))
    subprocess.run(["/bin/sh", "-n", tmp_path / "rc"], check=True)
