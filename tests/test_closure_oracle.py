"""The judge of the closure is the system's own dynamic linker: every program of /usr/bin and /usr/sbin."""

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from needs import needs

from partialroot.closure import Wanted, closure
from partialroot.closure.elf import Elf, read_elf
from partialroot.errors import SourceError
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

PLACES = ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/libexec", "/usr/lib/git-core")
LISTED = re.compile(r"^\t(?:.*? => )?(/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)
ABSENT = re.compile(r"^\t(.*) => not found$", re.MULTILINE)
OURS = ("wanted", "interpreter", "needed", "filter")

pytestmark = needs("glibc")


def elf(path: str) -> Elf | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_elf(descriptor)
    except SourceError:
        return None
    finally:
        os.close(descriptor)


def programs() -> Iterator[tuple[str, str]]:
    """Yield every program that names a dynamic linker which is there, with that linker."""
    seen = set()
    for place in dict.fromkeys(map(os.path.realpath, filter(os.path.isdir, PLACES))):
        for name in sorted(os.listdir(place)):
            path = os.path.realpath(os.path.join(place, name))
            if path not in seen and os.path.isfile(path):
                seen.add(path)
                read = elf(path)
                if read is not None and read.interpreter and os.path.exists(read.interpreter):
                    yield path, read.interpreter


def listed(path: str, loader: str) -> tuple[set[str], set[str]]:
    """Return what the linker maps for a program, by real path, and the names it does not find."""
    run = subprocess.run(
        [loader, "--list", path], capture_output=True, text=True, env={}, cwd="/", check=False
    )
    if run.returncode:  # it stops at the first thing missing; this way it does not
        trace = {"LD_TRACE_LOADED_OBJECTS": "1"}
        run = subprocess.run([loader, path], capture_output=True, text=True, env=trace, cwd="/", check=False)
    preloaded = Path("/etc/ld.so.preload")
    aside = (
        {os.path.realpath(line) for line in preloaded.read_text().split()} if preloaded.exists() else set()
    )
    objects = {os.path.realpath(found) for found in LISTED.findall(run.stdout)}
    return objects - aside - {os.path.realpath(loader)}, set(ABSENT.findall(run.stdout))


def chosen(tree: Tree, path: str, loader: str) -> tuple[set[str], set[str]]:
    """Return the same of the closure."""
    found = closure(tree, [Wanted(RootPath(path), Reason("wanted", "test"))], notes=False)
    objects = {str(one.real) for one in found.objects if one.rule in OURS and not one.variant}
    assert os.path.realpath(loader) in objects
    return objects - {path, os.path.realpath(loader)}, {one.name for one in found.missing}


def is_glibc(loader: str) -> bool:
    return b"glibc-ld.so.cache" in Path(loader).read_bytes()


def test_every_program_gets_what_its_linker_takes() -> None:
    pairs = [(path, loader) for path, loader in programs() if is_glibc(loader)]
    assert len(pairs) > 100
    tree = Tree(Path("/"))
    with ThreadPoolExecutor(2) as pool:
        expected = list(pool.map(lambda pair: listed(*pair), pairs))
    differing = {
        path: (sorted(wanted[0] ^ got[0]), sorted(wanted[1] ^ got[1]))
        for (path, loader), wanted in zip(pairs, expected, strict=True)
        if (got := chosen(tree, path, loader)) != wanted
    }
    assert differing == {}
