"""zoneadmd: ready, boot and halt, with the hooks before and after each change of state."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lifecycle import devices, hooks, mounts, network, zones
from lifecycle.brandfiles import Brand
from lifecycle.hooks import EXEC_FAILED, Failed
from lifecycle.mounts import MountError
from lifecycle.zones import RUN, Zone

INSTALLED, READY, RUNNING = 2, 3, 4
CMD_READY, CMD_BOOT, CMD_HALT = 0, 1, 4
STATES = {
    "incomplete": 1, "installed": INSTALLED, "ready": READY, "running": RUNNING, "down": 6, "mounted": 7,
}  # fmt: skip
SHARED_BY_SCRATCH = ("etc", "kernel", "lib", "opt", "platform", "sbin", "usr", "var")
GARBAGE = "\x01\x7f"  # what may be in a buffer from malloc


def ready(zone: Zone, brand: Brand) -> None:
    """Make the kernel's zone, mount its file systems and give it its network (zone_ready)."""
    state = STATES[zone.kernel]
    snapshot = RUN / f"{zone.name}.snapshot.xml"
    try:
        _hook(zone, brand, "prestatechange", f" {state} {CMD_READY} ")
        shutil.copy(zones.ETC / f"{zone.name}.xml", snapshot)
        loaded = _reloaded(zone)
        zone.resources, zone.nets = loaded.resources, loaded.nets
        _create(zone, brand, zone.root)
        try:
            _mount_all(zone, brand)
            network.plumb(zone)
        except Failed:
            _tear_down(zone, brand)
            raise
        _hook(zone, brand, "poststatechange", f" {state} {CMD_READY} ")
    except Failed:
        snapshot.unlink(missing_ok=True)
        with suppress(Failed):
            _hook(zone, brand, "poststatechange", f" {READY} {CMD_HALT} ")
        raise


def boot(zone: Zone, brand: Brand) -> None:
    """Start the zone's init; first make it ready if it is not (zone_bootup)."""
    state = STATES[zone.kernel]
    if zone.kernel != "ready":
        ready(zone, brand)
    try:
        _hook(zone, brand, "prestatechange", f" {state} {CMD_BOOT} ")
        _mount_inside(zone, brand)
        init = _init_of(zone, brand)
        network.boot(zone)
        _hook(zone, brand, "boot")
        _start(zone, init)
        _hook(zone, brand, "poststatechange", f" {state} {CMD_BOOT} ")
    except Failed:
        with suppress(Failed):  # called while all is still mounted
            _hook(zone, brand, "poststatechange", f" {RUNNING} {CMD_HALT} ")
        _tear_down(zone, brand)
        raise


def mount(zone: Zone, brand: Brand) -> None:
    """Show the zone's root at /a of a scratch zone, whose own root is a tmpfs (``zoneadm mount``)."""
    _hook(zone, brand, "prestatechange", f" {STATES[zone.kernel]} {CMD_READY} ")
    scratch = Path(zone.zonepath, "lu")
    scratch.mkdir(exist_ok=True)
    try:
        mounts.mount("tmpfs", "swap", str(scratch))
        for name in ("a", *SHARED_BY_SCRATCH):
            (scratch / name).mkdir()
        _create(zone, brand, str(scratch), "mounted")
        mounts.mount("lofs", zone.root, str(scratch / "a"))
        for name in SHARED_BY_SCRATCH:
            if os.path.isdir(f"/{name}"):
                mounts.mount("lofs", f"/{name}", str(scratch / name), "ro,nodevices")
        _hook(zone, brand, "poststatechange", f" {INSTALLED} {CMD_READY} ")
    except (Failed, MountError) as error:
        _unmount_scratch(zone)
        raise Failed(str(error)) from error


def unmount(zone: Zone, brand: Brand) -> None:
    """Take the scratch zone away (``zoneadm unmount``)."""
    state = STATES[zone.kernel]
    _hook(zone, brand, "prestatechange", f" {state} {CMD_HALT} ")
    _unmount_scratch(zone)
    _hook(zone, brand, "poststatechange", f" {state} {CMD_HALT} ")


def _unmount_scratch(zone: Zone) -> None:
    scratch = f"{zone.zonepath}/lu"
    stuck = _unmount_all(scratch)
    if stuck:
        raise Failed(f"unable to unmount {', '.join(stuck)}")
    if mounts.mounted_at(scratch):
        mounts.umount(scratch)
    zone.set_kernel(None)


def halt(zone: Zone, brand: Brand) -> None:
    """Take the zone down (zone_halt)."""
    state = STATES[zone.kernel]
    _hook(zone, brand, "prestatechange", f" {state} {CMD_HALT} ")
    _tear_down(zone, brand)
    (RUN / f"{zone.name}.snapshot.xml").unlink(missing_ok=True)
    _hook(zone, brand, "poststatechange", f" {state} {CMD_HALT} ")


def _hook(zone: Zone, brand: Brand, name: str, arguments: str = "") -> str:
    """Run a hook and return what it printed; Failed unless it exits with 0."""
    line = hooks.command(brand, name, zone, arguments)
    if line is None:
        return ""
    code, output = hooks.run_by_zoneadmd(line)
    if name != "query":
        hooks.relay(zone.name, output)
    if code:
        what = "failed to exec" if code == EXEC_FAILED else f"failed with {code}"
        raise Failed(f"{name} {arguments.strip()}: {what}")
    return output


def _reloaded(zone: Zone) -> Zone:
    return zones.load(zone.name) or zone


def _create(zone: Zone, brand: Brand, root: str, state: str = "ready") -> None:
    """Ask for implicit datasets, and have the kernel make the zone (vplat_create, zone_create)."""
    line = hooks.command(brand, "query", zone, " datasets")
    if line is not None:
        output = _hook(zone, brand, "query", " datasets") or GARBAGE
        if subprocess.run(["/usr/sbin/zfs", "list", output], capture_output=True).returncode:
            raise Failed(f"getting implicit datasets failed: {output!r}")
    below = mounts.mounts_below(root)
    if below:
        raise Failed(f"file systems are mounted on subdirectories of the root: {', '.join(below)}")
    if not os.path.isdir(root):
        raise Failed(f"{root} is no directory")
    found = os.stat(root)
    for one in mounts.table():
        if (
            one.type == "lofs"
            and os.path.exists(one.special)
            and os.path.samestat(os.stat(one.special), found)
        ):
            raise Failed(f"the root is mounted on {one.point} too")
    zone.set_kernel(state)


def _mount_all(zone: Zone, brand: Brand) -> None:
    """Mount what platform and configuration say, sorted by directory (mount_filesystems)."""
    device = Path(zone.zonepath, "dev")
    device.mkdir(mode=0o755, exist_ok=True)
    wanted = [
        (one.directory, one.type, one.special, one.options)
        for one in brand.mounts("global_mount", zone.name, zone.zonepath)
    ]
    wanted += [(one.dir, one.type, one.special, ",".join(one.options)) for one in zone.resources]
    for directory, kind, special, options in sorted(wanted, key=lambda one: one[0].encode()):
        _mount_one(zone, kind, special, directory, options)
        if kind == "dev":
            devices.populate(zone, brand, f"{zone.root}{directory}")


def _mount_inside(zone: Zone, brand: Brand) -> None:
    """Mount what the zone itself has mounted at boot, in the document's order (mount_early_fs)."""
    for one in brand.mounts("mount", zone.name, zone.zonepath):
        _mount_one(zone, one.type, one.special, one.directory, one.options)


def _mount_one(zone: Zone, kind: str, special: str, directory: str, options: str) -> None:
    point = f"{zone.root}{directory}"
    try:
        if not _valid_path(zone.root, point):
            os.makedirs(point, mode=0o755)
            if not _valid_path(zone.root, point):
                raise Failed(f"{point} cannot be made")
        mounts.mount(kind, special, point, options)
    except OSError as error:
        raise Failed(f"Could not mkdir {point}: {error.strerror}: must exist in the global zone") from error
    except MountError as error:
        raise Failed(str(error)) from error


def _valid_path(root: str, point: str) -> bool:
    """Check every component below the root (valid_mount_path); whether the mount point is there."""
    if os.path.normpath(point) != point:
        raise Failed(f"{point}: not canonical")
    here = root
    names = point[len(root) + 1 :].split("/")
    for name in names:
        here = f"{here}/{name}"
        try:
            found = os.lstat(here)
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(found.st_mode):
            raise Failed(f"{here} is a symlink")
        if here != point and not stat.S_ISDIR(found.st_mode):
            raise Failed(f"{here} is not a directory")
    return True


def _init_of(zone: Zone, brand: Brand) -> str:
    """Return the zone's init; it must be there and executable for its owner, seen from the global zone."""
    init = brand.text("initname") or "/sbin/init"
    try:
        mode = os.stat(f"{zone.root}{init}").st_mode
    except OSError as error:
        raise Failed(f"stat {zone.root}{init}: {error.strerror}") from error
    if not mode & stat.S_IXUSR:
        raise Failed(f"{zone.root}{init} is not executable")
    return init


def _start(zone: Zone, init: str) -> None:
    """Start init in namespaces of its own; its processes end with the one that is noted here.

    With a shared IP stack the zone is in the global zone's network, with an exclusive one in its own. A
    program of illumos is played by a stand-in.
    """
    spaces = ["--pid", "--fork", "--kill-child", *(["--net"] if zone.ip_type == "exclusive" else [])]
    stands_in = [sys.executable, "-IS", str(Path(__file__).with_name("standin.py"))]
    is_program = Path(f"{zone.root}{init}").read_bytes()[:4] == b"\x7fELF"
    with open(RUN / f"{zone.name}.console", "ab") as console:
        child = subprocess.Popen(
            ["/usr/bin/unshare", *spaces, *(stands_in if is_program else ["chroot"]), zone.root, init],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin"},
        )
    zone.set_kernel("running", child.pid)


def kill(pid: int) -> None:
    """End a zone's processes and wait for it."""
    if pid:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _until(lambda: _ended(pid))


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _tear_down(zone: Zone, brand: Brand) -> None:
    """End the processes, run the halt hook, unmount everything and forget the zone (vplat_teardown)."""
    pid, was = zone.pid, zone.kernel
    kill(pid)
    if was in ("ready", "running", "down"):
        zone.set_kernel("down")
    _hook(zone, brand, "halt")
    network.unplumb(zone)
    stuck = _unmount_all(zone.root)
    if stuck:
        raise Failed(f"unable to unmount {', '.join(stuck)}")
    zone.set_kernel(None)


def _unmount_all(root: str) -> list[str]:
    """Unmount whatever is below the root, the last first (unmount_filesystems); return what stays."""

    def done() -> bool:
        for point in reversed(mounts.mounts_below(root)):
            with suppress(MountError):
                mounts.umount(point)
        return not mounts.mounts_below(root)

    _until(done)
    return mounts.mounts_below(root)


def _until(done: Callable[[], bool], seconds: float = 60) -> None:
    """Ask until it is done, or time is over."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)


def main(argv: list[str]) -> int:
    """``zlogin [-S] ZONE [COMMAND ...]``: failsafe, or through getent and su as user ``root``."""
    failsafe = argv[:1] == ["-S"]
    name, *words = argv[1:] if failsafe else argv
    zone = zones.load(name)
    if zone is None or zone.kernel != "running":
        print(f"zlogin: zone '{name}' is not running", file=sys.stderr)
        return 1
    line = " ".join(words)
    command = ["/sbin/sh", "-c", line] if failsafe else ["/usr/bin/su", "root", "-c", line]
    if not failsafe:  # user_cmd tells home and shell; its failure is tolerated
        subprocess.run(["chroot", zone.root, "/usr/bin/getent", "passwd", "root"], stdout=subprocess.DEVNULL)
    return subprocess.run(["chroot", zone.root, *command], env={"PATH": "/usr/sbin:/usr/bin"}).returncode


def main_ps(argv: list[str]) -> int:
    """``ps -z ZONE -o pid= -o args=``: what lives in a zone, zsched first."""
    flag, name, *columns = argv
    zone = zones.load(name)
    if flag != "-z" or columns != ["-o", "pid=", "-o", "args="] or zone is None or zone.kernel == zone.state:
        print(f"ps: unknown zone {name}", file=sys.stderr)
        return 1
    print(f"{zone.pid or 1:>6} zsched")
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdecimal() and os.readlink(place / "root") == zone.root:
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                print(f"{place.name:>6} {words}")
    return 0
