"""Other tools that put the same files into a new root, on the same file system: their time, what they skip.

jk_cp and dracut-install look for everything below ``/``: they run in a chroot(2) of the workshop, which is
the source of all the others, too.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.ground import PROFILE, Ground, Measured, copy_with_parents, ratio, timed

VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
# What jk_cp and dracut-install need to run at all, beside what a zone of the profile needs.
TOOLS = """
summary  = "The peers that find what a program needs"
programs = ["/usr/sbin/jk_cp", "/usr/lib/dracut/dracut-install", "ldd", "bash", "env"]
packages = ["jailkit", "python3-minimal", @python@]
"""


class Peer(NamedTuple):
    """A way to make a root: ``make`` fills an empty directory; what it does not do is in words."""

    make: Callable[[Ground, Path], object]
    needs: tuple[str, ...]
    closure: str
    metadata: str
    safety: str


def tar(ground: Ground, root: Path) -> None:
    """Copy to a stage, pack, unpack: zmvix.sh's way."""
    stage, archive = ground.fresh("stage"), ground.fresh("archive")
    stage.mkdir()
    copy_with_parents(ground.source, ground.listed, stage)
    run("tar", "-C", stage, "-czf", archive, ".")
    run("tar", "-C", root, "-xf", archive)
    shutil.rmtree(stage)
    archive.unlink()


def cp(*words: str) -> Callable[[Ground, Path], object]:
    """Return cp(1) of a finished root."""
    return lambda ground, root: run("cp", "-a", *words, f"{finished(ground)}/.", root)


def rsync(ground: Ground, root: Path) -> None:
    """Hard links to a finished root, each compared with it first."""
    run("rsync", "-aHAX", "--link-dest", finished(ground), f"{finished(ground)}/", f"{root}/")


def ostree(ground: Ground, root: Path) -> None:
    """Hard links to the objects of a repository that a finished root was committed to."""
    run("ostree", f"--repo={repository(ground)}", "checkout", "-H", "--union", "zone", root)


def jk_cp(*words: str) -> Callable[[Ground, Path], object]:
    """Return jailkit's way, from where it finds files."""
    return lambda ground, root: in_workshop(ground, root, "jk_cp", *words, "-j")


def dracut(ground: Ground, root: Path) -> None:
    """dracut's way, from where it finds files."""
    in_workshop(ground, root, "/usr/lib/dracut/dracut-install", "-l", "-D", after=("-a",))


def lddtree(ground: Ground, root: Path) -> None:
    """pax-utils' way: the program and its libraries; what else is listed is not its business."""
    source = workshop(ground)
    run("/usr/bin/python3", shutil.which("lddtree"), "-R", source, "--copy-to-tree", root, "/usr/bin/node")


def floor(ground: Ground, root: Path) -> None:
    """Nothing but mkdirat(2) and linkat(2), in C."""
    subprocess.run([floor_program(ground), finished(ground), root], input=floor_list(ground), check=True)


PEERS = {
    "tar round trip": Peer(tar, ("tar",), "none", "all but xattrs", "copies: safe, and as large as they are"),
    "cp -a": Peer(cp(), ("cp",), "none", "all", "copies: safe, and as large as they are"),
    "cp -al": Peer(
        cp("-l"), ("cp",), "none", "all, since the inode is the same", "the zone writes the host's"
    ),
    "rsync --link-dest": Peer(rsync, ("rsync",), "none", "all", "the zone writes the host's"),
    "ostree checkout -H": Peer(
        ostree, ("ostree",), "none", "no times, no ACLs", "the zone writes its repository's, unless mounted"
    ),
    "jk_cp": Peer(jk_cp("-o", "-s"), ("jk_cp",), "ldd runs each file", "no xattrs, no times", "copies"),
    "jk_cp -k": Peer(
        jk_cp("-k", "-o", "-s"),
        ("jk_cp",),
        "ldd runs each file",
        "of what it links",
        "the zone writes the host's",
    ),
    "dracut-install": Peer(
        dracut, ("/usr/lib/dracut/dracut-install",), "ldd runs each file", "no owners", "copies, or reflinks"
    ),
    "lddtree": Peer(lddtree, ("lddtree",), "of ELF files", "modes only", "copies; no other files"),
    "C linkat loop": Peer(
        floor, ("gcc",), "none", "all, since the inode is the same", "the zone writes the host's"
    ),
}
REFLINK = Peer(cp("--reflink=always"), ("cp",), "none", "all", "copies that share blocks: safe")


def run(*words: object) -> None:
    """Run a command to its end; what it prints is not shown."""
    subprocess.run(
        [str(word) for word in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@cache
def finished(ground: Ground) -> Path:
    """Return a root with all that is listed."""
    root = ground.fresh("finished")
    root.mkdir()
    copy_with_parents(ground.source, ground.listed, root)
    return root


@cache
def repository(ground: Ground) -> Path:
    """Return an ostree repository with that root as its branch ``zone``."""
    place = ground.fresh("repository")
    run("ostree", f"--repo={place}", "init", "--mode=bare")
    run("ostree", f"--repo={place}", "commit", "--branch=zone", f"--tree=dir={finished(ground)}")
    return place


@cache
def workshop(ground: Ground) -> Path:
    """Return the source with what peers need that find files below ``/`` only."""
    profile = ground.top / "tools.toml"
    profile.write_text(TOOLS.replace("@python@", python_packages()))
    plan = json.loads(ground.partialroot("plan", profile, PROFILE, "--json", "--quiet"))
    paths = [entry["path"] for entry in plan["entries"] if entry["type"] != "dir"]
    copy_with_parents(Path("/"), paths, ground.source)
    return ground.source


def python_packages() -> str:
    """Return the packages of Debian's Python, which jk_cp is written in, as TOML has a list."""
    version = subprocess.check_output(["/usr/bin/python3", "-c", VERSION], text=True).strip()
    names = (f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib")
    return ", ".join(f'"{name}"' for name in names)


def in_workshop(ground: Ground, root: Path, program: str, *words: str, after: tuple[str, ...] = ()) -> None:
    """Run a peer chrooted to the workshop, with a directory there for the root it makes."""
    jail = workshop(ground) / "jails" / root.name
    jail.mkdir(parents=True)
    inside = f"/jails/{root.name}"
    run("chroot", workshop(ground), program, *words, inside, *after, *ground.listed)
    root.rmdir()
    jail.rename(root)


@cache
def floor_program(ground: Ground) -> Path:
    """Return the compiled loop."""
    program = ground.top / "floor"
    run("gcc", "-O2", "-o", program, Path(__file__).with_name("floor.c"))
    return program


@cache
def floor_list(ground: Ground) -> bytes:
    """Return what the loop reads: the directories and files of a finished root."""
    root = finished(ground)
    find = [
        "find",
        ".",
        "-mindepth",
        "1",
        "(",
        "-type",
        "d",
        "-printf",
        "%P/\\0",
        ")",
        "-o",
        "-printf",
        "%P\\0",
    ]
    return subprocess.check_output(find, cwd=root)


def measured(ground: Ground, peer: Peer) -> Measured:
    """Return how many times longer a peer takes for a root than we for a zone from a ready image."""

    def make(ground: Ground) -> float:
        root = ground.fresh("root")
        root.mkdir()
        seconds = timed(lambda: peer.make(ground, root))
        shutil.rmtree(root)
        return seconds

    return ratio(ground, make, ours)


def ours(ground: Ground) -> float:
    """Return the seconds a zone from a ready image takes, the whole process."""
    zone, store = ground.fresh("zone"), ground.store
    seconds = timed(lambda: ground.populate(zone, store))
    ground.remove(zone, store)
    return seconds
