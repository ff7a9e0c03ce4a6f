"""A tenant had the zone's root for itself. Whatever it left there, no verb leaves the root, waits, or dies.

Each verb meets each trap. Afterwards what lies outside is as it was, and a refusal is one clear sentence.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from moments import descriptors
from needs import needs
from ready import Ready, make_zone, scratch, without_linked_rights, zone
from spaces import mounts_below
from swapper import swapping
from test_look import a_socket, nest
from test_verify import replaced
from treedump import differences, dump
from zones import REQUEST, site_at, text, whole_plan

from partialroot.errors import PartialRootError
from partialroot.model import Finding
from partialroot.paths import safe_name
from partialroot.zone import apply
from partialroot.zone.audit import audit
from partialroot.zone.state import state
from partialroot.zone.verify import verify

__all__ = ["make_zone", "scratch", "zone"]  # fixtures

pytestmark = pytest.mark.hostile

SECONDS = 300
SECRET = "the host's own secret"


# --- traps: each gets the zone's root, and a directory outside of it that looks like a root -----------

Trap = Callable[[Path, Path], object]


def led_to(target: str | Path) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def everything_led_outside(root: Path, outside: Path) -> None:
    for name in os.listdir(root):
        replaced(root / name, led_to(outside / name))


def odd_names(root: Path, outside: Path) -> None:
    for name in (b"new\nline", b"\x1b[2J", b"\xff\xfe", b"-rf", b"$(reboot)", b"..."):
        (root / "etc" / os.fsdecode(name)).write_text("x")
        (root / "srv" / os.fsdecode(name)).mkdir()


def many(root: Path, outside: Path) -> None:
    for number in range(3000):
        (root / f"tmp/{number}").touch()


def linked_among_itself(root: Path, outside: Path) -> None:
    for number in range(100):
        os.link(root / "etc/hosts", root / f"srv/{number}")
        os.link(root / "etc/hosts", root / f"etc/hosts.{number}")


def endless(root: Path, outside: Path) -> None:
    """A file of 8 EiB less a bit that takes no space, under the name of one of ours and under another."""
    for name in ("etc/hosts", "srv/endless"):
        with open(root / name, "wb") as file:
            for size in (2**63 - 1, 2**44 - 2**12):
                try:
                    file.truncate(size)
                    break
                except OSError:
                    continue


def fifos(root: Path, outside: Path) -> None:
    for name in ("etc/hosts", "etc/passwd", "tmp", "usr"):
        replaced(root / name, os.mkfifo)


def devices(root: Path, outside: Path) -> None:
    for name, device in (("etc/hosts", os.makedev(1, 5)), ("etc/passwd", os.makedev(1, 3))):
        replaced(root / name, lambda path, device=device: os.mknod(path, 0o20666, device))  # type: ignore[misc]
    os.mknod(root / "srv/disk", 0o60666, os.makedev(7, 250))


def locked(root: Path, outside: Path) -> None:
    for name in ("etc", "srv", "tmp", "var"):
        (root / name).chmod(0)
    root.chmod(0)


def immutable(root: Path, outside: Path) -> None:
    subprocess.run(["chattr", "+i", root / "etc/hosts", root / "srv"], check=True)
    subprocess.run(["chattr", "+a", root / "etc/passwd"], check=True)


def mounts_inside(root: Path, outside: Path) -> None:
    (root / "srv/at").mkdir()
    for place in (root / "srv/at", root / "etc"):
        subprocess.run(["mount", "--bind", outside, place], check=True)


def swapped_types(root: Path, outside: Path) -> None:
    """Every file a directory and every directory a file."""
    for path in [root / "etc/hosts", root / "etc/passwd"]:
        replaced(path, Path.mkdir)
    for path in [root / "etc/alternatives", root / "var", root / "usr"]:
        replaced(path, Path.touch)


def emptied(root: Path, outside: Path) -> None:
    for name in os.listdir(root):
        replaced(root / name, Path.touch)


TRAPS: dict[str, tuple[Trap, tuple[str, ...]]] = {
    "all led outside": (everything_led_outside, ()),
    "etc led outside": (lambda root, outside: replaced(root / "etc", led_to(outside / "etc")), ()),
    "etc led up": (lambda root, outside: replaced(root / "etc", led_to("../../outside/etc")), ()),
    "etc led to itself": (lambda root, outside: replaced(root / "etc", led_to("etc")), ()),
    "usr led outside": (lambda root, outside: replaced(root / "usr", led_to(outside / "usr")), ()),
    "var led outside": (lambda root, outside: replaced(root / "var", led_to(outside)), ()),
    "file led to a secret": (
        lambda root, outside: replaced(root / "etc/hosts", led_to(outside / "etc/secret")),
        (),
    ),
    "circles": (lambda root, outside: (led_to("b")(root / "srv/a"), led_to("a")(root / "srv/b")), ()),
    "fifos": (fifos, ()),
    "socket": (lambda root, outside: replaced(root / "etc/hosts", a_socket), ()),
    "devices": (devices, ("root",)),
    "odd names": (odd_names, ()),
    "deep tree": (lambda root, outside: nest(root / "srv", 250), ("mount",)),
    "deeper tree": (lambda root, outside: nest(root / "srv", 1500), ("mount",)),
    "many files": (many, ()),
    "linked among itself": (linked_among_itself, ()),
    "endless file": (endless, ()),
    "locked": (locked, ()),
    "immutable": (immutable, ("chattr", "mount")),
    "mounts inside": (mounts_inside, ("root", "mount")),
    "types swapped": (swapped_types, ()),
    "emptied": (emptied, ()),
}


# --- verbs --------------------------------------------------------------------------------------------

Verb = Callable[[Ready], object]


def explained(findings: list[Finding]) -> None:
    """Check that what is found can be shown, and does not show what was not ours to read."""
    for finding in findings:
        assert SECRET not in "".join(finding)
        assert all(safe_name(part).isprintable() for part in finding)


def verified(zone: Ready) -> None:
    explained(verify(zone.path, zone.receipt))


def audited(zone: Ready) -> None:
    explained(audit(zone.path, zone.receipt, zone.store))


def asked(zone: Ready) -> None:
    name, because = state(zone.path, zone.receipt)
    assert name in ("broken", "drifted", "stale", "current")
    assert SECRET not in "".join(because)


def mounted_and_unmounted(zone: Ready) -> None:
    site = site_at(zone.store, zone.path)
    binds = site.binds(zone.receipt)
    assert binds is not None
    assert site.mounter is not None
    try:
        site.mounter.up(zone.path, binds)
    finally:
        site.mounter.down(zone.path, binds)


def updated(zone: Ready) -> None:
    """Populate again with other texts, so that there is something to write where the traps are."""
    site = site_at(zone.store, zone.path, mount=False)
    more = [text("/etc/new.conf", "new"), text("/srv/new", "new"), text("/var/new", "new")]
    plan = without_linked_rights(whole_plan(zone.source, zone.store, more=more))
    apply.update(plan, site, REQUEST, {}, zone.receipt)


def removed(zone: Ready) -> None:
    apply.remove(site_at(zone.store, zone.path), zone.receipt)
    assert not os.path.lexists(zone.path)


VERBS: dict[str, tuple[Verb, tuple[str, ...]]] = {
    "verify": (verified, ()),
    "audit": (audited, ()),
    "status": (asked, ()),
    "mount": (mounted_and_unmounted, ("root", "mount")),
    "populate again": (updated, ()),
    "remove": (removed, ("mount",)),
}


@pytest.fixture
def outside(scratch: Path) -> Path:
    """A directory that looks like a root, beside the zone: whoever follows a symlink ends here."""
    place = scratch / "outside"
    for name in ("etc/alternatives", "srv", "tmp", "usr/bin", "var/tmp", "root"):
        (place / name).mkdir(parents=True)
    for name in ("etc/hosts", "etc/secret", "srv/secret", "usr/bin/greet", "var/secret"):
        (place / name).write_text(SECRET)
    return place


@contextmanager
def in_time() -> Iterator[None]:
    """Fail what does not end."""

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def refused_in_words() -> Iterator[None]:
    """Let a refusal pass if it is one clear sentence of ours."""
    try:
        yield
    except PartialRootError as error:
        assert safe_name(str(error)).isprintable()
        assert SECRET not in str(error)


@pytest.fixture
def untouched(zone: Ready, outside: Path) -> Iterator[None]:
    """What lies outside of the zone is in the end as it was."""
    before = [dump(outside), dump(zone.source)]
    yield
    assert differences(before[0], dump(outside)) == []
    assert differences(before[1], dump(zone.source)) == []


MATRIX = [
    pytest.param(trap, verb, marks=needs(*trap_needs, *verb_needs), id=f"{verb_name}: {trap_name}")
    for verb_name, (verb, verb_needs) in VERBS.items()
    for trap_name, (trap, trap_needs) in TRAPS.items()
]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("trap", "verb"), MATRIX)
def test_traps(zone: Ready, outside: Path, trap: Trap, verb: Verb) -> None:
    trap(zone.root, outside)
    with in_time(), refused_in_words():
        verb(zone)


# --- traps that move ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("verb", [verified, audited, asked], ids=["verify", "audit", "status"])
@pytest.mark.parametrize("swapped", ["etc", "etc/hosts", "var/tmp", "usr"])
def test_a_name_that_is_swapped_all_the_time(zone: Ready, outside: Path, swapped: str, verb: Verb) -> None:
    """A name of ours is exchanged with a symlink to its like outside, faster than anyone looks twice."""
    other = zone.root / "root/other"
    other.symlink_to(outside / swapped)
    with in_time(), swapping(zone.root / swapped, other):
        for _ in range(20):
            with refused_in_words():
                verb(zone)


@needs("root", "mount")
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("target", ["outside/usr", "zone/root/etc"])
def test_a_mount_point_that_is_swapped_all_the_time(zone: Ready, scratch: Path, target: str) -> None:
    """The image is mounted at the mount point or nowhere."""
    other = zone.root / "root/other"
    other.symlink_to(scratch / target)
    with in_time(), swapping(zone.root / "usr", other):
        for _ in range(50):
            with refused_in_words():
                mounted_and_unmounted(zone)
    assert set(mounts_below(scratch)) <= {str(zone.root / "usr")}


def test_a_file_that_grows_while_it_is_read(zone: Ready) -> None:
    program = (
        "import sys, time\nwith open(sys.argv[1], 'ab', 0) as file:\n"
        " while file.write(b'x' * 4096): time.sleep(0.0001)"  # it must not fill the memory meanwhile
    )
    with subprocess.Popen(["python3", "-c", program, zone.root / "etc/hosts"]) as process:
        try:
            with in_time():
                findings = verify(zone.path, zone.receipt)
                while not findings:
                    findings = verify(zone.path, zone.receipt)
        finally:
            process.kill()
    assert [(one.path, one.kind) for one in findings] == [("/etc/hosts", "edited")]


def test_no_descriptor_stays_open(zone: Ready, outside: Path) -> None:
    everything_led_outside(zone.root, outside)
    count = descriptors()
    for verb in (verified, audited, asked):
        verb(zone)
    shutil.rmtree(zone.root)
    for verb in (verified, audited, asked):
        with refused_in_words():
            verb(zone)
    assert descriptors() == count


def test_the_traps_are_real(zone: Ready, outside: Path) -> None:
    """Who goes by the path does read the secret: so the tests above can fail."""
    replaced(zone.root / "etc", led_to(outside / "etc"))
    assert (zone.root / "etc/hosts").read_text() == SECRET
