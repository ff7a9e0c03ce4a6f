"""The synthetic global zone is what its tables say, and its objects are what other tools read of them."""

import io
import os
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import globalzone
import zone_files
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment
from needs import needs


def objects() -> Iterator[tuple[zone_files.Line, ELFFile]]:
    for path, line in zone_files.objects().items():
        yield line, ELFFile(io.BytesIO(zone_files.content(path, 0o755)))


def dynamic(elf: ELFFile) -> DynamicSegment:
    return next(one for one in elf.iter_segments() if isinstance(one, DynamicSegment))


def texts(elf: ELFFile, tag: str) -> list[str]:
    """Return the strings of the dynamic entries with a tag, as pyelftools names them."""
    name = tag.removeprefix("DT_").lower()
    return [getattr(one, name) for one in dynamic(elf).iter_tags(tag)]


def listed(column: str) -> list[str]:
    return [one for one in column.split(",") if one != "-"]


def test_objects_are_what_pyelftools_reads() -> None:
    for line, elf in objects():
        assert elf.elfclass == int(line.bits)
        assert elf["e_machine"] == {"32": "EM_386", "64": "EM_X86_64"}[line.bits]
        assert elf["e_ident"]["EI_OSABI"] == "ELFOSABI_SOLARIS"
        interpreters = [
            one.get_interp_name() for one in elf.iter_segments() if isinstance(one, InterpSegment)
        ]
        assert interpreters == listed(line.interpreter)
        assert texts(elf, "DT_NEEDED") == listed(line.needed)
        assert texts(elf, "DT_SONAME") == listed(line.soname)
        assert texts(elf, "DT_RUNPATH") == texts(elf, "DT_RPATH") == listed(line.runpath)
        symbols = [one.name for one in dynamic(elf).iter_symbols() if one.name]
        assert symbols == zone_files.imports().get(line.path, [])


def test_every_need_but_libc_is_lazy() -> None:
    elf = ELFFile(io.BytesIO(zone_files.content("/usr/bin/login", 0o4555)))
    tags = [(one.entry.d_tag, getattr(one, "needed", "")) for one in dynamic(elf).iter_tags()]
    lazy = [name for (tag, _), (_, name) in pairwise(tags) if tag == 0x6FFFFDFD]
    assert lazy == ["libbsm.so.1", "libpam.so.1", "libdevinfo.so.1"]
    assert texts(elf, "DT_NEEDED") == [*lazy, "libc.so.1"]


def test_filters_are_named_in_the_string_table() -> None:
    elf = ELFFile(io.BytesIO(zone_files.content("/lib/libc.so.1", 0o755)))
    assert texts(elf, "DT_SUNW_FILTER") == ["/usr/lib/ld.so.1", "libm.so.2"]


@needs("root")
def test_a_zone_has_types_modes_owners_and_links_of_the_table(global_zone: Path) -> None:
    kinds = {"d": stat.S_ISDIR, "s": stat.S_ISLNK, "f": stat.S_ISREG, "e": stat.S_ISREG, "l": stat.S_ISREG}
    owners = zone_files.owners()
    seen = 0
    for row in globalzone.rows():
        place = str(global_zone) + row.path
        if not os.path.lexists(place):
            continue
        seen += 1
        found = os.lstat(place)
        assert kinds[row.kind](found.st_mode), row
        if row.kind == "s":
            assert os.readlink(place) == row.target
        if row.kind in "dfe":
            assert stat.S_IMODE(found.st_mode) == row.mode, row
            assert (found.st_uid, found.st_gid) == (owners.uids[row.owner], owners.gids[row.group]), row
    assert seen > 2000


def test_hard_links_are_one_inode(global_zone: Path) -> None:
    assert (global_zone / "usr/lib/isaexec").samefile(global_zone / "usr/bin/mdb")
    assert (global_zone / "usr/bin/ksh").samefile(global_zone / "usr/bin/ksh93")


def test_the_contents_file_names_every_path_and_its_packages(global_zone: Path) -> None:
    lines = (global_zone / "var/sadm/install/contents").read_text().splitlines()
    assert "/bin=./usr/bin s none SUNWcs" in lines
    login = next(line for line in lines if line.startswith("/usr/bin/login "))
    size = (global_zone / "usr/bin/login").stat().st_size
    assert login.split()[1:7] == ["f", "none", "4555", "root", "bin", str(size)]
    assert (global_zone / "var/sadm/pkg/SUNWcs/save/pspool/SUNWcs/reloc/etc/passwd").is_file()
    assert (global_zone / "var/sadm/overlays/base.pkgs").is_file()


def test_building_again_gives_the_same_and_without_extras_less(tmp_path: Path, global_zone: Path) -> None:
    again = globalzone.build(tmp_path / "root")
    lines = (again / "var/sadm/install/contents").read_text().splitlines()
    assert set(lines) < set((global_zone / "var/sadm/install/contents").read_text().splitlines())
    assert not (again / "usr/bin/mdb").exists()
