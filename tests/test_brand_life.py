"""Whole lives of zones of our brand, played by the harness: real hooks, real datasets, real images."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from branded import BRAND, STORE, ZONEPATH, Branded

TOP = "rpool/export/zones/web"


def test_a_life(machine: Branded) -> None:
    """Installed, booted, rebooted, halted and uninstalled: pool, mounts and store end as they were."""
    before = machine.datasets("rpool/export")
    machine.install_zone()
    assert machine.state("web") == "installed"
    assert machine.entries() == ["image", "receipt.json", "receipts", "root"]
    assert machine.mounts(ZONEPATH) == [f"{ZONEPATH}/root"]
    library = machine.image() / "lib/libshared.so.1"
    assert library.stat().st_ino == machine.path("/be/lib/libshared.so.1").stat().st_ino
    assert machine.path(f"{ZONEPATH}/root/etc/motd").stat().st_nlink == 1

    machine.zoneadm("web", "boot")
    assert machine.state("web") == "running"
    mounted = set(machine.mounts(ZONEPATH))
    assert {f"{ZONEPATH}/root/{top}" for top in ("usr", "lib", "sbin", "dev", "proc")} <= mounted
    assert machine.run("zlogin", "-S", "web", "cat /srv/index.html").out == "hello world\n"
    write = machine.run("zlogin", "-S", "web", "echo x >/lib/libshared.so.1", code=None)
    assert write.code != 0 and "Read-only" in write.err
    link = machine.run("zlogin", "-S", "web", "ln /lib/libshared.so.1 /var/mine", code=None)
    assert link.code != 0
    machine.zoneadm("web", "reboot")
    machine.zoneadm("web", "halt")
    assert machine.mounts(ZONEPATH) == [f"{ZONEPATH}/root"]

    machine.zoneadm("web", "uninstall", "-F")
    assert machine.state("web") == "configured"
    assert machine.datasets("rpool/export") == before
    assert machine.images() == []
    assert [path.name for path in machine.path(f"{STORE}/zones").iterdir()] == []
    machine.zoneadm("web", "install", "-p", "page")


def test_the_second_zone_shares_the_image(machine: Branded) -> None:
    machine.install_zone("web")
    machine.install_zone("other")
    assert machine.image("/export/zones/web") == machine.image("/export/zones/other")
    machine.zoneadm("web", "uninstall", "-F")
    assert len(machine.images()) == 1
    machine.zoneadm("other", "boot")
    machine.zoneadm("other", "halt")
    machine.zoneadm("other", "uninstall", "-F")
    assert machine.images() == []


def test_a_running_zone_is_told_as_such(machine: Branded) -> None:
    """By zoneadm and ps, and by the mount table: statvfs(2) would say that its mounts can be written."""
    machine.install_zone()
    (zone,) = json.loads(machine.partialroot("status", ZONEPATH, "--json").out)["zones"]
    assert (zone["state"], zone["running"]) == ("current", False)
    machine.zoneadm("web", "boot")
    inside = ["chroot", f"{machine.root}{ZONEPATH}/root", "/usr/bin/cat"]
    with subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin and cat.stdout
        cat.stdin.write(b"it runs\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == b"it runs\n"
        said = machine.partialroot("status", ZONEPATH, "--json").out
    (zone,) = json.loads(said)["zones"]
    assert (zone["state"], zone["running"]) == ("current", True)
    assert {"zsched", "/usr/bin/cat"} <= {one["command"] for one in zone["processes"]}
    assert "nothing to do" in machine.partialroot("refresh", ZONEPATH).out
    for verb in ("verify", "audit"):
        machine.partialroot(verb, ZONEPATH)
    for verb in ("remove", "boot", "halt"):
        assert "zoneadm" in machine.partialroot(verb, ZONEPATH, code=2).err


def test_every_hook_may_be_called_twice(machine: Branded) -> None:
    """Once more does no harm: it is done already, or it is refused and nothing is lost (254 least of all)."""

    def twice(name: str, *words: str, zone: str = "web", again: int = 0) -> None:
        """Call a hook by itself, as zoneadm does, and once more."""
        zonepath = f"/export/zones/{zone}"
        for code in (0, again):
            machine.run(f"{BRAND}/hook", name, zone, zonepath, *words, code=code)
            left.append(
                (machine.mounts(zonepath), machine.path(zonepath).exists() and machine.entries(zonepath))
            )
        assert left[-1] == left[-2]

    left: list[tuple[list[str], object]] = []
    before = machine.datasets("rpool/export")
    for zone in ("web", "twin"):
        machine.configure(zone)
        machine.run("zfs", "create", f"rpool/export/zones/{zone}")
        machine.path(f"/export/zones/{zone}").chmod(0o700)
    twice("install", "-ppage", again=255)
    for words in (("2", "0"), ("2", "1")):
        twice("prestatechange", *words)
        twice("poststatechange", *words)
    twice("poststatechange", "4", "4")
    twice("sysboot")
    twice("query", "datasets")
    told = machine.run(f"{BRAND}/hook", "query", "web", ZONEPATH, "datasets").out
    assert told == f"{TOP}/ROOT"  # no line end: zoneadmd takes it as it is
    twice("detach")
    twice("attach")
    machine.python("from lifecycle import zones; zones.load('web').set_state('installed')")
    twice("clone", "web", zone="twin", again=255)
    assert machine.path("/export/zones/twin/root/srv/index.html").exists()
    for zone in ("twin", "web"):
        twice("verify_adm", "uninstall", "-F", zone=zone)
        twice("uninstall", "-F", zone=zone)
    assert machine.datasets("rpool/export") == before


def test_a_scratch_zone_shows_the_root(machine: Branded) -> None:
    """``zoneadm mount``, which others use to repair a zone: our hooks are called for it, too."""
    machine.install_zone()
    machine.change("/etc/motd", "welcome again\n")
    machine.zoneadm("web", "mount")
    assert machine.state("web") == "mounted"
    assert machine.path(f"{ZONEPATH}/lu/a/etc/motd").read_text() == "welcome again\n"
    machine.write(f"{ZONEPATH}/lu/a/etc/repaired", "yes\n")
    machine.zoneadm("web", "unmount")
    assert machine.mounts(ZONEPATH) == [f"{ZONEPATH}/root"]
    machine.zoneadm("web", "boot")
    assert machine.run("zlogin", "-S", "web", "cat /etc/repaired").out == "yes\n"
    machine.zoneadm("web", "halt")
    machine.zoneadm("web", "uninstall", "-F")
    assert not machine.path(ZONEPATH).exists()


def test_the_kinds_of_network(machine: Branded) -> None:
    """With a shared stack the global zone plumbs; with one of its own the zone finds links and devices."""
    shared = "add net; set physical=e1000g0; set address=192.0.2.7/24; end"
    machine.write("/be/profiles/served.toml", 'uses = ["page"]\n[parameters]\nport = "8123"\n')
    machine.configure(more=shared)
    machine.zoneadm("web", "install", "-p", "served")
    machine.zoneadm("web", "boot")
    assert machine.plumbed("web") == ["lo0 127.0.0.1", "e1000g0 192.0.2.7/24"]
    assert not machine.path(f"{ZONEPATH}/root/dev/ip").exists()
    fetch = "for try in $(seq 1000); do busybox wget -qO- http://127.0.0.1:8123/ && break; sleep 0.1; done"
    page = machine.run("sh", "-c", fetch, environment={"http_proxy": ""})
    assert page.out == "hello world\n"
    machine.configure("own", "set ip-type=exclusive; add net; set physical=vnic0; end")
    machine.zoneadm("own", "install", "-p", "served")
    machine.zoneadm("own", "boot")  # the same port again: it has a network of its own
    assert machine.plumbed("own") == ["vnic0 "]
    root = "/export/zones/own/root"
    assert machine.path(f"{root}/etc/svc/volatile/dladm/datalink.conf").read_text() == "vnic0\n"
    assert machine.path(f"{root}/dev/ip").exists() and machine.path(f"{root}/dev/console").is_symlink()
    for zone in ("web", "own"):
        machine.zoneadm(zone, "halt")
        assert machine.plumbed(zone) == []
    assert "exclusive IP stack" in machine.zonecfg("own", shared, code=1).err


# --- failed installs ----------------------------------------------------------------------------------


REFUSED = [
    ([], "no profile is named"),
    (["-p", "nothing"], "nothing"),
    (["-p", "lacking"], "missing: /no/such, needed by lacking.toml:1"),
    (["-p", "lacking"], "/etc/ours (it holds a private key)"),
    (["-q", "x"], "not recognized"),
    (["-p", "page", "operand"], "is not understood"),
    (["-h"], "usage"),
    (["-s", "/no/such/file"], "cannot be read"),
    (["-p", "page", "--help"], "long options"),
]


def test_what_cannot_be_built_leaves_a_configured_zone(machine: Branded) -> None:
    before = machine.datasets("rpool/export")
    machine.write("/be/profiles/lacking.toml", 'files = ["/etc/ours", "/no/such"]\n')
    machine.write("/be/etc/ours", "-----BEGIN PRIVATE KEY-----\n")
    machine.configure()
    for words, why in REFUSED:
        assert why in machine.zoneadm("web", "install", *words, code=1).err
        assert machine.state("web") == "configured"
        assert machine.datasets("rpool/export") == before


def test_an_install_that_fails_half_way_is_taken_back(machine: Branded) -> None:
    before = machine.datasets("rpool/export")
    machine.path(f"{STORE}/images").mkdir(parents=True, mode=0o700)
    machine.path(STORE).chmod(0o700)
    machine.path(f"{STORE}/images").chmod(0o777)
    machine.configure()
    assert "others could enter" in machine.zoneadm("web", "install", "-p", "page", code=1).err
    assert machine.state("web") == "configured"
    assert machine.datasets("rpool/export") == before
    machine.path(f"{STORE}/images").chmod(0o700)
    machine.zoneadm("web", "install", "-p", "page")


def test_plain_directories_are_refused(machine: Branded) -> None:
    machine.path("/plain").mkdir(mode=0o755)
    machine.zonecfg("web", "create -t TRIBpartial; set zonepath=/plain/web")
    assert "must be a ZFS dataset" in machine.zoneadm("web", "install", "-p", "page", code=1).err
    assert machine.state("web") == "configured"
    assert not machine.path("/plain/web").exists()


def test_foreign_files_in_the_zonepath_are_nobodys_to_delete(machine: Branded) -> None:
    machine.configure()
    machine.run("zfs", "create", TOP)
    machine.path(ZONEPATH).chmod(0o700)
    machine.write(f"{ZONEPATH}/mine", "mine")
    assert "something in it already" in machine.zoneadm("web", "install", "-p", "page", code=1).err
    assert machine.state("web") == "incomplete"
    machine.zoneadm("web", "uninstall", "-F")
    assert machine.state("web") == "configured"


def test_long_lists_come_by_file(machine: Branded) -> None:
    machine.write("/root/list", "# what the zone has\npage  # a page\n")
    machine.configure()
    machine.zoneadm("web", "install", "-s", "/root/list")
    assert machine.path(f"{ZONEPATH}/root/srv/index.html").exists()


def test_what_the_caller_has_does_not_count(machine: Branded) -> None:
    """Environment and working directory of who runs zoneadm, a closed stdin."""
    machine.configure()
    evil = machine.path("/evil/partialroot")
    evil.mkdir(parents=True)
    (evil / "__init__.py").write_text("raise SystemExit(9)")
    words = ["sh", "-c", "cd /evil && umask 077 && zoneadm -z web install -p page <&-"]
    machine.run(
        *words, environment={"PYTHONPATH": "/evil", "PYTHONSTARTUP": "/evil/x", "PYTHONHOME": "/evil"}
    )
    assert machine.path(f"{ZONEPATH}/root").stat().st_mode & 0o777 == 0o755


# --- the global zone changes --------------------------------------------------------------------------


def test_a_changed_global_zone_reaches_the_zone_at_its_next_boot(machine: Branded) -> None:
    machine.install_zone()
    first = machine.image()
    assert machine.zoneadm("web", "boot").err == ""
    machine.change("/lib/libshared.so.1", "the next library\n")
    machine.change("/etc/motd", "welcome again\n")
    assert machine.run("zlogin", "-S", "web", "sed p /lib/libshared.so.1").out.startswith(
        "the library of be1"
    )
    said = machine.zoneadm("web", "reboot").err
    assert "brought up to date" in said
    assert machine.image() != first and not first.exists()
    for path, text in (("/lib/libshared.so.1", "the next library"), ("/etc/motd", "welcome again")):
        assert machine.run("zlogin", "-S", "web", f"sed p {path}").out.startswith(text)
    assert machine.zoneadm("web", "reboot").err == ""
    snapshots = [row[0] for row in machine.datasets(TOP) if "@" in row[0]]
    assert snapshots == []


@pytest.mark.parametrize("committed", [False, True])
def test_a_refresh_that_was_killed_is_undone_or_finished(machine: Branded, committed: bool) -> None:
    """Before its receipt is written all goes back; from then on it stays, and the image follows."""
    machine.install_zone()
    receipt = machine.path(f"{ZONEPATH}/receipt.json").read_bytes()
    label = "0" * 16 if committed else hashlib.sha256(receipt).hexdigest()[:16]
    machine.run("zfs", "snapshot", f"{TOP}/ROOT/zbe@partialroot-{label}")
    machine.write(f"{ZONEPATH}/root/etc/half", "half")
    machine.path(f"{ZONEPATH}/image").unlink()
    machine.path(f"{ZONEPATH}/image.new").symlink_to("/nowhere")
    machine.zoneadm("web", "boot")
    assert machine.path(f"{ZONEPATH}/root/etc/half").exists() == committed
    assert [row[0] for row in machine.datasets(TOP) if "@" in row[0]] == []
    assert machine.run("zlogin", "-S", "web", "cat /srv/index.html").out == "hello world\n"


def test_a_zone_cannot_lead_a_refresh_astray(machine: Branded) -> None:
    machine.install_zone()
    machine.zoneadm("web", "boot")
    spoil = "ln -s /etc /.partialroot-new; mkdir /etc/deep; ln -s /etc/deep /etc/motd.new"
    machine.run("zlogin", "-S", "web", spoil, code=None)
    machine.path(f"{ZONEPATH}/root/srv").rename(machine.path(f"{ZONEPATH}/root/served"))
    machine.path(f"{ZONEPATH}/root/srv").symlink_to("/be/etc")
    before = {path: path.read_bytes() for path in machine.path("/be/etc").iterdir()}
    machine.change("/lib/libshared.so.1", "the next library\n")
    assert "without having been brought up to date" in machine.zoneadm("web", "reboot").err
    assert {path: path.read_bytes() for path in machine.path("/be/etc").iterdir()} == before
    machine.zoneadm("web", "halt")
    machine.path(f"{ZONEPATH}/root/srv").unlink()
    machine.path(f"{ZONEPATH}/root/served").rename(machine.path(f"{ZONEPATH}/root/srv"))
    assert "was brought up to date" in machine.zoneadm("web", "boot").err
    assert {path: path.read_bytes() for path in machine.path("/be/etc").iterdir()} == before
    assert not os.path.lexists(machine.path(f"{ZONEPATH}/root/.partialroot-new"))


def test_what_the_tenant_edited_is_kept(machine: Branded) -> None:
    machine.install_zone()
    machine.zoneadm("web", "boot")
    machine.run("zlogin", "-S", "web", "echo mine >/etc/motd")
    machine.change("/etc/motd", "welcome again\n")
    machine.zoneadm("web", "reboot")
    assert machine.path(f"{ZONEPATH}/root/etc/motd").read_text() == "mine\n"
    assert machine.path(f"{ZONEPATH}/root/etc/motd.new").read_text() == "welcome again\n"


def test_nothing_is_planned_while_nothing_has_changed(machine: Branded) -> None:
    """Only what a zone came from is looked at: not even its profile is there any more."""
    machine.install_zone()
    machine.path("/be/profiles/page.toml").unlink()
    assert machine.zoneadm("web", "boot").err == ""


def test_a_zone_that_cannot_be_refreshed_boots_as_it_is(machine: Branded) -> None:
    machine.install_zone()
    machine.path("/be/etc/motd").unlink()
    said = machine.zoneadm("web", "boot").err
    assert "without having been brought up to date" in said and "/etc/motd" in said
    assert machine.state("web") == "running"


def test_a_new_boot_environment_and_back(machine: Branded) -> None:
    """New BE, upgrade, boot, rollback, boot: each has its own root and image; no hook ran at beadm time."""
    machine.install_zone()
    machine.new_boot_environment("be2", "be1")
    machine.boot_environment("be2")
    machine.change("/lib/libshared.so.1", "the library of be2\n")
    machine.zoneadm("web", "sysboot")
    assert machine.entries()[:1] == ["image"]
    machine.zoneadm("web", "boot")
    library = "sed p /lib/libshared.so.1"
    assert machine.run("zlogin", "-S", "web", library).out.startswith("the library of be2")
    machine.run("zlogin", "-S", "web", "echo two >/etc/motd")
    machine.zoneadm("web", "halt")

    machine.run("umount", f"{ZONEPATH}/root")
    machine.boot_environment("be1")
    machine.zoneadm("web", "boot")
    assert machine.run("zlogin", "-S", "web", library).out.startswith("the library of be1")
    assert machine.path(f"{ZONEPATH}/root/etc/motd").read_text() == "welcome\n"
    machine.zoneadm("web", "halt")
    machine.zoneadm("web", "uninstall", "-F")

    machine.boot_environment("be2")
    machine.run("zoneadm", "-z", "web", "attach", "-F")
    machine.zoneadm("web", "boot")
    assert machine.path(f"{ZONEPATH}/root/etc/motd").read_text() == "two\n"
    machine.zoneadm("web", "halt")
    machine.zoneadm("web", "uninstall", "-F")
    assert not machine.path(ZONEPATH).exists() or machine.entries() == []


# --- unmounting, moving, cloning ----------------------------------------------------------------------


def test_leftovers_do_not_stop_an_uninstall(machine: Branded) -> None:
    machine.install_zone()
    machine.run("mount", "-F", "lofs", "-o", "ro", "/be/usr", f"{ZONEPATH}/root/usr")
    machine.zoneadm("web", "list", "-p")
    said = machine.zoneadm("web", "uninstall", "-F").err
    assert "was still mounted" in said
    assert machine.path("/be/usr/bin/httpd").exists()
    assert machine.state("web") == "configured"


def test_leftovers_do_not_stop_a_boot(machine: Branded) -> None:
    machine.install_zone()
    machine.run("mount", "-F", "lofs", "-o", "ro", "/be/usr", f"{ZONEPATH}/root/srv")
    machine.zoneadm("web", "boot")
    # A boot that fails is followed by poststatechange while everything is still mounted, and again later.
    mounted = machine.mounts(ZONEPATH)
    for _ in range(2):
        machine.run(f"{BRAND}/hook", "poststatechange", "web", ZONEPATH, "4", "4")
        assert machine.mounts(ZONEPATH) == mounted


def test_uninstall_tells_and_does_nothing(machine: Branded) -> None:
    machine.install_zone()
    machine.zoneadm("web", "install", "-?", code=None)  # help: the hook is run, whatever the zone's state
    assert machine.state("web") == "installed"
    said = machine.zoneadm("web", "uninstall", "-F", "-n", code=1)
    assert f"{TOP}/ROOT/zbe" in said.out and f"{ZONEPATH}/image" in said.out
    assert machine.state("web") == "incomplete"
    machine.zoneadm("web", "mark", "installed")
    machine.zoneadm("web", "boot")
    machine.zoneadm("web", "halt")
    said = machine.zoneadm("web", "uninstall", "-F", "-v")
    assert f"removing {TOP}/ROOT/zbe" in said.err and f"removing {ZONEPATH}/receipts" in said.err


def test_an_uninstall_takes_any_half_made_zone_away(machine: Branded) -> None:
    """Ours goes first, as zoneadm's own clean-up does not know it; what fails can be done again."""
    before = machine.datasets("rpool/export")
    machine.install_zone()
    with subprocess.Popen(["/usr/bin/sleep", "100"], cwd=machine.path(ZONEPATH)) as busy:
        assert "cannot unmount" in machine.zoneadm("web", "uninstall", "-F", code=1).err
        assert machine.state("web") == "incomplete" and machine.entries() == ["root"]
        busy.kill()
    machine.zoneadm("web", "uninstall", "-F")
    assert machine.state("web") == "configured" and machine.datasets("rpool/export") == before

    machine.zoneadm("web", "install", "-p", "page")
    for name in ("receipt.json", "receipts", "image"):  # as of one that was killed
        machine.run("rm", "-r", f"{ZONEPATH}/{name}")
    machine.write(f"{ZONEPATH}/.partialroot/own/.new-x/half", "")
    machine.path(f"{ZONEPATH}/image.new").symlink_to("/nowhere")
    machine.zoneadm("web", "mark", "incomplete")
    machine.zoneadm("web", "uninstall", "-F")
    assert machine.datasets("rpool/export") == before and machine.images() == []


def test_detach_and_attach(machine: Branded) -> None:
    machine.install_zone()
    machine.write(f"{ZONEPATH}/root/srv/index.html", "mine\n")
    machine.zoneadm("web", "detach")
    assert machine.state("web") == "configured" and machine.images() == []
    assert machine.entries() == ["SUNWdetached.xml", "receipt.json", "receipts", "root"]
    machine.zoneadm("web", "attach")
    machine.zoneadm("web", "boot")
    assert machine.run("zlogin", "-S", "web", "cat /srv/index.html").out == "mine\n"


def test_clone(machine: Branded) -> None:
    before = machine.datasets("rpool/export")
    machine.install_zone()
    machine.write(f"{ZONEPATH}/root/srv/index.html", "mine\n")
    machine.configure("twin")
    machine.zoneadm("twin", "clone", "web")
    machine.zoneadm("twin", "boot")
    assert machine.run("zlogin", "-S", "twin", "cat /srv/index.html").out == "mine\n"
    machine.zoneadm("web", "uninstall", "-F")
    machine.zoneadm("twin", "reboot")
    machine.zoneadm("twin", "halt")
    machine.zoneadm("twin", "uninstall", "-F")
    assert machine.datasets("rpool/export") == before


def test_move(machine: Branded) -> None:
    machine.install_zone()
    machine.zoneadm("web", "move", "/export/zones/moved")
    machine.zoneadm("web", "boot")
    assert machine.run("zlogin", "-S", "web", "cat /srv/index.html").out == "hello world\n"
    (registered,) = machine.path(f"{STORE}/zones").iterdir()
    assert "/export/zones/moved" in registered.read_text()


def test_edits_of_zap_reach_no_file_of_the_global_zone(machine: Branded) -> None:
    """What ``zap create-zone`` does to a fresh root: appends, copies over and edits in place. To any file."""
    machine.write("/be/profiles/users.toml", 'uses = ["page"]\nusers = ["root"]\n')
    machine.configure()
    machine.zoneadm("web", "install", "-p", "users")
    root = machine.path(f"{ZONEPATH}/root")
    private = [f"{ZONEPATH}/root/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file()]
    assert {"passwd", "group", "inittab", "motd", "index.html"} <= {os.path.basename(one) for one in private}
    assert all(machine.path(one).stat().st_nlink == 1 for one in private)
    before = contents(machine)
    for edit in (
        "echo user:x:100:: >>{}",
        "cp /etc/hosts {}",
        "sed -i s/l/x/ {}",
        "echo web >{}",
        "chmod 0666 {}",
    ):
        machine.run("sh", "-c", "; ".join(edit.format(one) for one in private))
        assert contents(machine) == before
    # What it writes that is not there yet must have a directory to be in.
    for name in ("nodename", "resolv.conf", "defaultrouter", "hostname.vnic0"):
        machine.run("sh", "-c", f"echo x >{ZONEPATH}/root/etc/{name}")
    assert contents(machine) == before


def contents(machine: Branded) -> dict[Path, tuple[int, bytes]]:
    """Return mode and content of every file of the global zone and of the images that zones read."""
    tops = [machine.path(f"/be/{name}") for name in ("etc", "lib", "sbin", "usr")]
    tops.append(machine.path(f"{STORE}/images"))
    files = [path for top in tops for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: (path.stat().st_mode, path.read_bytes()) for path in files}


def test_zap_upgrade_leaves_it_to_the_first_boot(machine: Branded) -> None:
    hook = "/usr/lib/brand/partial-root/zap-upgrade"
    words = ["-R", "/a", "-b", "partial-root", "-z", "web", "-p", ZONEPATH, "-v", "0.36"]
    assert "brought up to date" in machine.run(hook, *words).err
    assert machine.run(hook, *words[:2], code=253)
    assert machine.run(hook, *words[:3], "sparse-root", *words[4:], code=253)
