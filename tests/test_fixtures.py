"""The shared fixtures give what they promise."""

import os
import subprocess
from pathlib import Path

import pytest
from needs import needs
from spaces import LoopFs
from treedump import dump


def test_scratch_takes_links_to_the_system(scratch: Path) -> None:
    if os.geteuid() == 0:
        os.link("/usr/bin/env", scratch / "env", follow_symlinks=False)
    assert scratch.stat().st_mode & 0o777 == 0o700


@needs("root")
def test_programs_of_the_small_source_run(source: Path) -> None:
    done = subprocess.run(["chroot", source, "salute"], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"


def test_the_small_source_has_a_bit_of_everything(source: Path) -> None:
    lines = dump(source)
    for sign in ("/tmp dir 1777", "/usr/bin/rise file 4755", "links=[", "caf\\udce9"):
        assert any(sign in line for line in lines), sign


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs"])
def test_loop_file_systems_are_what_they_are_called(loop_fs: LoopFs, kind: str) -> None:
    place = loop_fs(kind)
    assert os.path.ismount(place)
    shown = subprocess.run(["findmnt", "-no", "FSTYPE", place], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == kind
    (place / "file").write_text("x")


@needs("mount")
def test_mounts_of_tests_do_not_reach_the_host(loop_fs: LoopFs) -> None:
    place = loop_fs("ext4")
    with open("/proc/1/mountinfo") as lines:
        assert not any(str(place) in line for line in lines)
