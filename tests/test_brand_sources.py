"""Lives of zones that are made of more than profiles: overlays, tarballs; and what must match the kernel."""

import os

from branded import STORE, ZONEPATH, Branded
from tarballs import HOSTILE, directory, member, symlink, tarball

TARBALL = "/root/zone.tar.gz"


def seen(machine: Branded, command: str, zone: str = "web") -> str:
    return machine.run("zlogin", "-S", zone, command).out


# --- overlays -----------------------------------------------------------------------------------------


def add_package(machine: Branded, name: str, path: str) -> None:
    """Install a package with one file into the global zone."""
    machine.write(f"/be/var/sadm/pkg/{name}/pkginfo", f"PKG={name}\n")
    machine.write(f"/be{path}", f"of {name}\n")
    with machine.path("/be/var/sadm/install/contents").open("a") as contents:
        contents.write(f"{path} f none 0644 root bin 7 1 1700000000 {name}\n")


def test_overlays_come_with_what_they_require_and_stay(machine: Branded) -> None:
    machine.write("/be/var/sadm/install/contents", "/lib d none 0755 root bin TRIBlib\n")
    overlays = {"java": ["base-java"], "base-java": [], "base": []}
    for name, required in overlays.items():
        place = f"/be/var/sadm/overlays/{name}"
        text = "".join(f"REQUIRES={one}\n" for one in required)
        machine.write(f"{place}.ovl", f"NAME={name}\nVERSION=1\n{text}")
        machine.write(f"{place}.pkgs", f"TRIB{name}\n")
        add_package(machine, f"TRIB{name}", f"/lib/{name}.so.1")
    machine.configure()
    assert "overlay jvaa" in machine.zoneadm("web", "install", "-p", "page", "-o", "jvaa", code=1).err
    assert machine.state("web") == "configured"
    machine.zoneadm("web", "install", "-p", "page", "-o", "java")
    machine.zoneadm("web", "boot")
    assert seen(machine, "sed '' /lib/java.so.1 /lib/base-java.so.1 /lib/base.so.1").count("of TRIB") == 3
    machine.change("/lib/java.so.1", "the next java\n")
    assert "brought up to date" in machine.zoneadm("web", "reboot").err
    assert seen(machine, "sed '' /lib/java.so.1") == "the next java\n"


# --- tarballs -----------------------------------------------------------------------------------------


def make_tarball(machine: Branded) -> None:
    """Write the tarball of a zone that serves a page, as zmvix.sh makes it: all of its root."""
    busybox = machine.path("/be/sbin/sh").read_bytes()
    inittab = b"smf::sysinit:/usr/bin/httpd -f -p 127.0.0.1:8000 -h /srv\n"
    programs = [
        member(f"./{name}", data=busybox, mode=0o755)
        for name in ("sbin/sh", "usr/bin/httpd", "usr/bin/sed", "usr/bin/ln", "usr/bin/getent")
    ]
    members = [
        *(directory(f"./{name}") for name in ("", "usr", "usr/bin", "sbin", "lib", "etc", "srv", "var")),
        *programs,
        symlink("./bin", "./usr/bin"),
        member("./sbin/init", data=machine.path("/be/sbin/init").read_bytes(), mode=0o755),
        member("./lib/libc.so.1", data=b"the tarball's libc\n"),
        member("./usr/bin/su", data=b"su", mode=0o4755),
        member("./etc/inittab", data=inittab),
        member("./srv/index.html", data=b"from a tarball\n", uid=60, gid=61, mode=0o640),
    ]
    tarball(machine.path(TARBALL), members)


def test_a_zone_of_a_tarball(machine: Branded) -> None:
    before = machine.datasets("rpool/export")
    make_tarball(machine)
    machine.configure()
    machine.zoneadm("web", "install", "-i", TARBALL)
    assert machine.entries() == [".partialroot", "image", "receipt.json", "receipts", "root"]
    assert machine.images() == []
    image, root = machine.image(), machine.path(f"{ZONEPATH}/root")
    assert image.is_relative_to(machine.path(f"{ZONEPATH}/.partialroot/own"))
    assert (image / "usr/bin/su").stat().st_mode & 0o7777 == 0o4755
    found = (root / "srv/index.html").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (60, 61, 0o640)

    machine.write("/be/lib/libc.so.1", "the tarball's libc\n")
    assert machine.zoneadm("web", "boot").err == ""
    assert seen(machine, "sed '' /srv/index.html") == "from a tarball\n"
    assert "Read-only" in machine.run("zlogin", "-S", "web", "echo >/lib/mine", code=None).err
    machine.change("/lib/libc.so.1", "the system's libc\n")
    assert "/lib/libc.so.1: has changed" in machine.zoneadm("web", "reboot").err
    assert seen(machine, "sed '' /lib/libc.so.1") == "the tarball's libc\n"
    machine.zoneadm("web", "halt")

    # What is its own goes where it goes; a clone has one, too.
    machine.zoneadm("web", "detach")
    machine.partialroot("prune")  # nobody else's to tidy up
    assert image.is_dir() and machine.images() == []
    machine.zoneadm("web", "attach")
    machine.zoneadm("web", "move", "/export/zones/moved")
    machine.configure("twin")
    machine.zoneadm("twin", "clone", "web")
    machine.zoneadm("web", "uninstall", "-F")
    machine.zoneadm("twin", "boot")
    assert seen(machine, "sed '' /srv/index.html", "twin") == "from a tarball\n"
    assert machine.image("/export/zones/twin").is_relative_to(machine.path("/export/zones/twin"))
    machine.zoneadm("twin", "halt")
    machine.zoneadm("twin", "uninstall", "-F")
    assert machine.datasets("rpool/export") == before
    assert [path.name for path in machine.path(f"{STORE}/zones").iterdir()] == []


def test_no_hostile_tarball_leaves_a_trace(machine: Branded) -> None:
    make_tarball(machine)
    before = machine.datasets("rpool/export")
    machine.configure()
    etc = set(machine.path("/etc").iterdir())
    for what in ("leads out", "through a later symlink", "a block device", "a link to outside"):
        members, why = HOSTILE[what]
        tarball(machine.path("/root/evil.tar.gz"), [member("first", data=b"x"), *members])
        said = machine.zoneadm("web", "install", "-i", "/root/evil.tar.gz", code=1).err
        assert why in said and "/root/evil.tar.gz" in said
        assert machine.state("web") == "configured"
        assert machine.datasets("rpool/export") == before
    assert not os.path.lexists(machine.path(STORE)) and not os.path.lexists(machine.path(ZONEPATH))
    assert etc == set(machine.path("/etc").iterdir())

    # What is a tarball, but no zone: zoneadmd could not mount, or nothing would start.
    no_zones = {
        "a symlink cannot be here": [symlink("usr", "/etc")],
        "both a symlink": [symlink("system", "/etc"), member("sbin/init", mode=0o755)],
        "/sbin/init": [directory("usr")],
    }
    for why, members in no_zones.items():
        tarball(machine.path("/root/none.tar.gz"), members)
        assert why in machine.zoneadm("web", "install", "-i", "/root/none.tar.gz", code=1).err
        assert machine.state("web") == "configured" and machine.datasets("rpool/export") == before
    machine.zoneadm("web", "install", "-i", TARBALL)


# --- what must match the kernel -----------------------------------------------------------------------

MUST = "add attr; set name=libc-must-match; set type=boolean; set value=true; end"


def test_a_zone_starts_with_another_libc_unless_told_otherwise(machine: Branded) -> None:
    machine.write("/be/lib/libc.so.1", "libc 1\n")
    machine.write("/be/profiles/libc.toml", 'uses = ["page"]\nfiles = ["/lib/libc.so.1"]\n')
    machine.configure(more=MUST)
    machine.zoneadm("web", "install", "-p", "libc")
    machine.path("/be/etc/motd").unlink()  # from now on no refresh is possible
    assert "without having been brought up to date" in machine.zoneadm("web", "boot").err
    machine.zoneadm("web", "halt")

    machine.change("/lib/libc.so.1", "libc 2\n")
    said = machine.zoneadm("web", "boot", code=1).err
    assert "libc-must-match" in said and "/lib/libc.so.1" in said
    assert machine.state("web") == "installed"
    assert machine.mounts(ZONEPATH) == [f"{ZONEPATH}/root"]

    machine.zonecfg("web", "remove attr name=libc-must-match")
    assert "/lib/libc.so.1: has changed in the source" in machine.zoneadm("web", "boot").err
    machine.zonecfg("web", MUST)
    machine.write("/be/etc/motd", "welcome\n")
    assert "was brought up to date" in machine.zoneadm("web", "reboot").err
    assert seen(machine, "sed '' /lib/libc.so.1") == "libc 2\n"
