"""The zoneadm command: the states of a zone, the order of its hooks, and what their exit codes lead to."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from lifecycle import brandfiles, hooks, mounts, zoneadmd, zonepaths, zones
from lifecycle.brandfiles import Brand
from lifecycle.hooks import TooLongError, joined
from lifecycle.zonepaths import Refused
from lifecycle.zones import Zone

DEEPEST = 4


class Zoneadm:
    """One run of zoneadm on one zone. Each sub-command returns the exit code."""

    def __init__(self, zone: Zone, argv: list[str]) -> None:
        self.zone = zone
        self.argv = argv
        self.brand: Brand = brandfiles.load(zone.brand)

    # --- what several need --------------------------------------------------------------------------

    def hook(self, name: str, arguments: str = "") -> int:
        """Run a hook; 0 when the brand has none."""
        line = hooks.command(self.brand, name, self.zone, arguments)
        return hooks.OK if line is None else hooks.run(line)

    def verify_adm(self, subcommand: str) -> None:
        """Run verify_adm; the sub-command is appended without a blank (verify_brand)."""
        if self.hook("verify_adm", f"{subcommand}{joined(self.argv)}"):
            raise Refused(f"{subcommand}: the brand's verification failed")

    def verify_details(self, subcommand: str) -> None:
        """Check zonepath, brand and file systems, as before install, ready and boot."""
        zonepaths.validate(self.zone)
        self.verify_adm(subcommand)
        for one in self.zone.resources:
            if not os.path.exists(one.special):
                raise Refused(f"could not verify fs {one.dir}: {one.special}: no such file or directory")

    def need(self, *states: str) -> None:
        """Refuse unless the zone is in one of these states."""
        if self.zone.kernel not in states:
            raise Refused(f"must be {' or '.join(states)} first, is {self.zone.kernel}")

    # --- the sub-commands ---------------------------------------------------------------------------

    def do_list(self) -> int:
        """zoneadm -z Z list [-p]"""
        self.verify_adm("list")
        print(listed(self.zone))
        return 0

    def do_verify(self) -> int:
        """zoneadm verify"""
        self.verify_details("verify")
        return 0

    def do_install(self) -> int:
        """zoneadm install: see the table of the hook's exit codes in cleanup below."""
        declared = self.brand.text("installopts")
        arguments = hooks.options(self.argv, declared)
        line = hooks.command(self.brand, "install", self.zone, arguments)
        if self.argv == ["-?"]:
            print("usage: install ...", file=sys.stderr)
            if line:
                hooks.run(line)
            return 2
        if line is None:
            raise Refused("Missing brand install command")
        self.need("configured")
        self.verify_details("install")
        with zones.locked(self.zone.name):
            self.zone.set_state("incomplete")
            zonepaths.create_dataset(self.zone)
            code = hooks.run(line)
            if code == hooks.OK:
                self.zone.set_state("installed")
                code = self.hook("postinstall", arguments)
                if code:
                    self.zone.set_state("incomplete")
            elif code == hooks.NOTCOMPLETE and zonepaths.clean_up(self.zone.zonepath):
                self.zone.set_state("configured")
        return 2 if code == hooks.USAGE else int(code != 0)

    def do_ready(self) -> int:
        """zoneadm ready"""
        self.need("installed")
        self.verify_details("ready")
        with zones.locked(self.zone.name):
            zoneadmd.ready(self.zone, self.brand)
        return 0

    def do_boot(self) -> int:
        """zoneadm boot [-f]"""
        forced = "-f" in self.argv
        self.need("installed", "ready", *(["incomplete"] if forced else []))
        self.verify_details("boot")
        with zones.locked(self.zone.name):
            zoneadmd.boot(self.zone, self.brand)
        return 0

    def do_mount(self) -> int:
        """zoneadm mount [-f]: show the root of a halted zone to whoever repairs or upgrades it."""
        self.need("installed", *(["incomplete"] if "-f" in self.argv else []))
        self.verify_details("mount")
        with zones.locked(self.zone.name):
            zoneadmd.mount(self.zone, self.brand)
        return 0

    def do_unmount(self) -> int:
        """zoneadm unmount"""
        self.need("mounted")
        with zones.locked(self.zone.name):
            zoneadmd.unmount(self.zone, self.brand)
        return 0

    def do_halt(self) -> int:
        """zoneadm halt"""
        self.need("ready", "running", "down")
        with zones.locked(self.zone.name):
            zoneadmd.halt(self.zone, self.brand)
        return 0

    def do_reboot(self) -> int:
        """zoneadm reboot: halt, ready and boot."""
        self.need("running")
        with zones.locked(self.zone.name):
            zoneadmd.halt(self.zone, self.brand)
            zoneadmd.boot(self.zone, self.brand)
        return 0

    def do_sysboot(self) -> int:
        """zoneadm sysboot: when the machine boots, for installed zones that do not boot themselves."""
        self.need("installed")
        return int(self.hook("sysboot", joined(self.argv)) != 0)

    def do_mark(self) -> int:
        """zoneadm mark STATE"""
        self.verify_adm("mark")
        self.need("installed", "incomplete")
        self.zone.set_state(self.argv[-1])
        return 0

    def do_uninstall(self) -> int:
        """zoneadm uninstall -F"""
        self.need("installed", "incomplete")
        self.verify_adm("uninstall")
        if "-F" not in self.argv:
            raise Refused("nobody is there to say yes")
        with zones.locked(self.zone.name):
            below = mounts.mounts_below(self.zone.root)
            if below:
                raise Refused(f"cannot uninstall: mounted on {', '.join(below)}")
            if self.hook("preuninstall", joined(self.argv)):
                raise Refused("preuninstall failed")
            self.zone.set_state("incomplete")
            if self.brand.text("uninstall"):
                if self.hook("uninstall", joined(self.argv)):
                    raise Refused("uninstall failed")
            elif not zonepaths.clean_up(self.zone.zonepath):
                raise Refused("cannot clean up")
            self.zone.set_state("configured")
        return 0

    def do_attach(self) -> int:
        """zoneadm attach [-F]"""
        self.need("configured")
        self.verify_adm("attach")
        with zones.locked(self.zone.name):
            if "-F" not in self.argv and self.hook("attach", joined(self.argv)):
                raise Refused("attach failed")
            zonepaths.validate(self.zone, attaching=True)
            self.zone.set_state("installed")
            Path(self.zone.zonepath, "SUNWdetached.xml").unlink(missing_ok=True)
        if self.hook("postattach", joined(self.argv)):
            self.zone.set_state("configured")
            return 1
        return 0

    def do_detach(self) -> int:
        """zoneadm detach"""
        self.need("installed")
        self.verify_adm("detach")
        with zones.locked(self.zone.name):
            if self.hook("predetach", joined(self.argv)):
                raise Refused("predetach failed")
            if self.brand.text("detach"):
                if self.hook("detach", joined(self.argv)):
                    raise Refused("detach failed")
            else:
                self._builtin_detach()
            self.zone.set_state("configured")
        return 0

    def _builtin_detach(self) -> None:
        below = mounts.mounts_below(self.zone.zonepath)
        if below:
            raise Refused(f"These file systems are mounted: {', '.join(below)}")
        shutil.copy(zones.ETC / f"{self.zone.name}.xml", f"{self.zone.zonepath}/SUNWdetached.xml")

    def do_clone(self) -> int:
        """zoneadm clone [-m METHOD] [-s SNAPSHOT] SOURCE"""
        self.need("configured")
        source = zones.load(self.argv[-1])
        if source is None or source.brand != self.zone.brand or source.kernel != "installed":
            raise Refused("the source is no halted zone of the same brand")
        self.verify_details("clone")
        if not self.brand.text("clone"):
            raise Refused("the stand-in has no builtin clone")
        with zones.locked(self.zone.name):
            self.zone.set_state("incomplete")
            zonepaths.create_dataset(self.zone)
            if self.hook("clone", joined(self.argv)):
                raise Refused("clone failed")
            self.zone.set_state("installed")
        return self.hook("postclone", joined(self.argv))

    def do_move(self) -> int:
        """zoneadm move NEW_ZONEPATH, within one dataset or by renaming the dataset."""
        self.need("installed")
        self.verify_adm("move")
        zone, (new,) = self.zone, self.argv
        if mounts.mounts_below(zone.root):
            raise Refused("file systems are mounted below the root")
        dataset = zonepaths.dataset_at(zone.zonepath)
        root = zonepaths.dataset_at(zone.root)
        with zones.locked(zone.name):
            if root:
                mounts.umount(zone.root)
            if dataset:
                zonepaths.rename_dataset(dataset, new)
            else:
                os.rename(zone.zonepath, new)
            zone.zonepath = new
            zone.save()
            if root and dataset:
                root = root.replace(dataset, zonepaths.dataset_at(new) or dataset, 1)
                mounts.mount("zfs", root, zone.root)
        return 0


def listed(zone: Zone) -> str:
    """Return the line of ``list -p``; a zone that the kernel does not know has no number."""
    path = zone.zonepath.replace(":", "\\:")
    ip_type = "excl" if zone.ip_type == "exclusive" else "shared"
    number = "-" if zone.kernel == zone.state else "1"
    return f"{number}:{zone.name}:{zone.kernel}:{path}:{zone.uuid}:{zone.brand}:{ip_type}"


def list_all(flags: str) -> None:
    """``zoneadm list [-pc]``: the zones that the kernel knows, with ``-c`` all; no hook is asked."""
    print("0:global:running:/::ipkg:shared" if "p" in flags else "global")
    for zone in zones.all_zones():
        if "c" in flags or zone.kernel != zone.state:
            print(listed(zone) if "p" in flags else zone.name)


def recursing() -> bool:
    """Whether zoneadm was started by a hook that was started by zoneadm, and so on (verify_adm and list)."""
    depth, pid = 0, os.getpid()
    while pid > 1:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        depth += b"/usr/sbin/zoneadm" in command
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return depth > DEEPEST


def main(argv: list[str]) -> int:
    """``zoneadm -z NAME SUBCOMMAND ...``, or ``zoneadm list``."""
    os.chdir("/")
    os.umask(0o22)
    if argv[:1] == ["list"]:
        list_all("".join(argv[1:]))
        return 0
    flag, name, subcommand, *rest = argv
    zone = zones.load(name)
    if flag != "-z" or zone is None:
        print(f"zoneadm: {name}: No such zone configured", file=sys.stderr)
        return 1
    try:
        if recursing():
            raise Refused("zoneadm, called by a hook, calls the hook, and so on for ever")
        run: Callable[[], int] = getattr(Zoneadm(zone, rest), f"do_{subcommand}")
        return run()
    except brandfiles.InvalidBrandError as error:
        print(f"zoneadm: {name}: missing or invalid brand ({error})", file=sys.stderr)
    except TooLongError as error:
        print(f"zoneadm: zone '{name}': {error}: command line too long", file=sys.stderr)
    except zones.LockedError:
        print(f"zoneadm: zone '{name}': another zoneadm works on it", file=sys.stderr)
    except (Refused, hooks.Failed) as error:
        print(f"zoneadm: zone '{name}': {error}", file=sys.stderr)
    return 1
