"""A program made for illumos by somebody else, in the synthetic global zone: esbuild, linked by Go."""

import subprocess
import tarfile
from pathlib import Path

import globalzone
import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment
from spaces import outside

from partialroot.closure import Wanted, closure
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

PROGRAM = RootPath("/opt/esbuild")


def fetched(scratch: Path) -> str:
    """Let npm get esbuild for illumos into a directory; return why it does not, "" if it does."""
    command = [*outside(), "npm", "pack", "--silent", "--ignore-scripts", "@esbuild/sunos-x64@0.25"]
    try:
        run = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (run.stderr or run.stdout).strip().splitlines()
    return "" if run.returncode == 0 else f"npm: {said[0] if said else run.returncode}"


@pytest.fixture(scope="module")
def esbuild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a global zone with esbuild in it.

    What a registry does not give is no lack of the machine, so that not even strict runs fail: no skip.
    """
    scratch = tmp_path_factory.mktemp("esbuild")
    reason = fetched(scratch)
    if reason:
        pytest.xfail(f"no esbuild for illumos: {reason}")
    archives = list(scratch.glob("*.tgz"))
    zone = globalzone.build(scratch / "zone")
    with tarfile.open(archives[-1]) as archive:
        member = archive.extractfile("package/bin/esbuild")
        assert member is not None
        (zone / PROGRAM.relative).write_bytes(member.read())
    (zone / PROGRAM.relative).chmod(0o755)
    return zone


def test_a_real_program_of_another_linker_resolves(esbuild: Path) -> None:
    """Go names libraries without a version, and sets no OS ABI: the links for compilers must come along."""
    with (esbuild / PROGRAM.relative).open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_ident"]["EI_OSABI"] == "ELFOSABI_SYSV"
        segments = list(elf.iter_segments())
        named = next(one.get_interp_name() for one in segments if isinstance(one, InterpSegment))
        dynamic = next(one for one in segments if isinstance(one, DynamicSegment))
        needed = [str(getattr(tag, "needed", "")) for tag in dynamic.iter_tags("DT_NEEDED")]
    found = closure(Tree(esbuild), [Wanted(PROGRAM, Reason("program", "p.toml:1"))])
    assert found.missing == () and found.warnings == ()
    assert found.reasons[RootPath(named)] == (Reason("interpreter", PROGRAM),)
    reals = {one.path: one.real for one in found.objects if one.needed_by == PROGRAM}
    for name in needed:
        assert reals[f"/lib/64/{name}"] == f"/lib/amd64/{name}.1"
        assert RootPath(f"/lib/amd64/{name}") in found.reasons
    assert "libc.so" in needed
