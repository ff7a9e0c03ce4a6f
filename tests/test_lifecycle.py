"""Tests of the zone life-cycle harness itself, with small brands that fall into each of the traps."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootable import until
from lifecycle import brandfiles, hooks
from lifecycle.brandfiles import ORDER, InvalidBrandError, substitute
from lifecycle.machine import NEEDS, Machine
from needs import needs, require
from sources import add_program
from spaces import mounts_below

HEAD = '<?xml version="1.0"?>\n<!DOCTYPE {0} PUBLIC "-//x//EN" "file:///usr/share/lib/xml/dtd/{1}.dtd.1">\n'
PLATFORM = (
    HEAD.format("platform", "zone_platform") + '<platform name="{}" allow-exclusive-ip="true">{}</platform>\n'
)
PRIVILEGE = '<privilege set="default" name="proc_fork"/>'
LOGIN = {"login_cmd": "/usr/bin/login", "forcedlogin_cmd": "/usr/bin/login", "user_cmd": "/usr/bin/getent"}
HOOK = "/usr/lib/brand/trap/hook"
ZONE = "/zones/web"
# Writes its arguments to /run/log; then does what /run/do/NAME says, if that is there.
SCRIPT = """#!/bin/sh
echo "$*" >>/run/log
if [ -e "/run/do/$1" ]; then . "/run/do/$1"; fi
"""
INIT = "#!/bin/sh\necho booted >/booted\nexec sleep 1000\n"


def config(elements: dict[str, str], name: str = "trap") -> str:
    """Return a config.xml with its elements in the order that they are given in."""
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in elements.items())
    return HEAD.format("brand", "brand") + f'<brand name="{name}">{inside}{PRIVILEGE}</brand>\n'


def ordered(elements: dict[str, str]) -> dict[str, str]:
    names = [word.rstrip("?+") for word in ORDER.split()]
    return {name: elements[name] for name in names if name in elements}


def write_brand(brands: Path, elements: dict[str, str], platform: str = "") -> None:
    place = brands / "trap"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.xml").write_text(config(elements))
    (place / "platform.xml").write_text(PLATFORM.format("trap", platform))


# --- brand files --------------------------------------------------------------------------------------

GOOD = ordered({**LOGIN, "install": "x -z %z -R %R", "verify_adm": "y ", "installopts": "p:%z", "query": ""})


def test_a_valid_brand_is_read(tmp_path: Path) -> None:
    write_brand(tmp_path, GOOD, '<global_mount special="%R/i" directory="/%R" type="lofs" opt="ro,%z"/>')
    brand = brandfiles.load("trap", tmp_path)
    assert brand.text("install", "web", "/z") == "x -z web -R /z"
    assert brand.text("installopts", "web", "/z") == "p:%z"
    assert brand.text("query") == brand.text("halt") == ""
    (one,) = brand.mounts("global_mount", "web", "/z")
    assert (one.special, one.directory, one.options) == ("/z/i", "/%R", "ro,web")


@pytest.mark.parametrize(
    ("elements", "name"),
    [
        ({"install": "x", **LOGIN}, "trap"),
        ({**GOOD, "boot": ""}, "trap"),
        ({key: value for key, value in GOOD.items() if key != "user_cmd"}, "trap"),
        ({**GOOD, "hook": "x"}, "trap"),
        (GOOD, "other"),
    ],
)
def test_an_invalid_config_is_no_brand(tmp_path: Path, elements: dict[str, str], name: str) -> None:
    write_brand(tmp_path, GOOD)
    (tmp_path / "trap/config.xml").write_text(config(elements, name))
    with pytest.raises(InvalidBrandError):
        brandfiles.load("trap", tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        (PRIVILEGE, ""),
        (PRIVILEGE, '<privilege set="allowed" name="x"/>'),
        (PRIVILEGE, '<privilege name="x"/>'),
        ("<!DOCTYPE brand", "<!-- brand"),
        ("<install>", "<install><b/>"),
        ("</brand>", ""),
    ],
)
def test_each_error_in_config_is_found(tmp_path: Path, change: tuple[str, str]) -> None:
    write_brand(tmp_path, GOOD)
    text = (tmp_path / "trap/config.xml").read_text()
    assert change[0] in text
    (tmp_path / "trap/config.xml").write_text(text.replace(*change))
    with pytest.raises(InvalidBrandError):
        brandfiles.load("trap", tmp_path)


@pytest.mark.parametrize("platform", ['<mount special="x"/>', "<fs/>", '<device match="x" arch="arm"/>'])
def test_each_error_in_platform_is_found(tmp_path: Path, platform: str) -> None:
    write_brand(tmp_path, GOOD, platform)
    with pytest.raises(InvalidBrandError):
        brandfiles.load("trap", tmp_path)


def test_a_brand_needs_both_files(tmp_path: Path) -> None:
    write_brand(tmp_path, GOOD)
    (tmp_path / "trap/platform.xml").unlink()
    with pytest.raises(InvalidBrandError):
        brandfiles.load("trap", tmp_path)


def test_tokens() -> None:
    assert substitute("%z %R %% %x%u %Z", z="web", R="/z/w b") == "web /z/w b %  "


@pytest.mark.parametrize(
    ("argv", "passed"),
    [
        (["-p", "node"], " -pnode"),
        (["-pnode", "-p", "x y"], " -pnode -px y"),
        (["-v", "-p", "a"], " -v -pa"),
        (["-vp", "a"], " -v -pa"),
        (["-q", "value", "-p", "a"], " -q value -p a"),
        (["--help", "-v"], " -- -v"),
        (["--", "-p", "a"], " -p a"),
        (["-x", "nodataset", "-v"], " -xnodataset -v"),
        (["a;b", "-v"], " a;b -v"),
        (["-p"], " -p"),
    ],
)
def test_options_pass_through_getopt(argv: list[str], passed: str) -> None:
    assert hooks.options(argv, "p:v") == passed


def test_option_strings_are_limited() -> None:
    with pytest.raises(hooks.TooLongError):
        hooks.options([], "p:" * 64)


# --- zones --------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    require(*NEEDS)
    machine = Machine(tmp_path)
    yield machine
    machine.close()
    assert not mounts_below(tmp_path)


class Trap:
    """A machine with the brand ``trap``, whose hooks log, and one zone of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.write(HOOK, SCRIPT, 0o755)
        machine.path("/run/do").mkdir()
        machine.path("/zones").mkdir(mode=0o755)
        machine.path("/template/sbin").mkdir(parents=True)
        machine.path("/template/srv").mkdir()
        for program in ("/bin/sh", "/bin/sleep"):
            add_program(machine.path("/template"), program)
        machine.path("/template/sbin/sh").symlink_to("/bin/sh")
        machine.write("/template/sbin/init", INIT, 0o755)
        self.do("install", f"cp -a /template {ZONE}/root")

    def have(self, platform: str = "", **elements: str) -> "Trap":
        """Install the brand with these hooks, and configure the zone."""
        wanted = ordered({"initname": "/sbin/init", **LOGIN, "install": f"{HOOK} install", **elements})
        write_brand(self.machine.path("/usr/lib/brand"), wanted, platform)
        self.machine.zonecfg("web", f"create -b; set zonepath={ZONE}; set brand=trap")
        return self

    def do(self, hook: str, script: str) -> None:
        """Have a hook do something beyond logging."""
        self.machine.write(f"/run/do/{hook}", script + "\n")

    def adm(self, *words: str, code: int | None = 0) -> str:
        """Run zoneadm on the zone and return what it says on stderr."""
        return self.machine.zoneadm("web", *words, code=code).err

    @property
    def state(self) -> str:
        return self.machine.state("web")

    def log(self) -> list[str]:
        """Return what hooks were called with since the last time."""
        place = self.machine.path("/run/log")
        lines = place.read_text().splitlines() if place.exists() else []
        place.unlink(missing_ok=True)
        return lines


@pytest.fixture
def trap(machine: Machine) -> Trap:
    return Trap(machine)


STATES = {
    "prestatechange": f"{HOOK} pre %z %R",
    "poststatechange": f"{HOOK} post %z %R",
    "boot": f"{HOOK} boot %z",
    "halt": f"{HOOK} halt %z",
    "verify_adm": f"{HOOK} verify %z %R ",
    "uninstall": f"{HOOK} uninstall %z %R",
}


def test_a_whole_life(trap: Trap) -> None:
    """The documented order of hooks, and their arguments."""
    trap.have(postinstall=f"{HOOK} postinstall", installopts="p:", sysboot=f"{HOOK} sysboot %z", **STATES)
    trap.do("uninstall", f"rm -rf {ZONE}/root")
    trap.adm("install", "-p", "node")
    assert trap.log() == ["verify web /zones/web install -p node", "install -pnode", "postinstall -pnode"]
    assert trap.state == "installed"
    trap.adm("boot")
    assert trap.log() == [
        "verify web /zones/web boot",
        "pre web /zones/web 2 0",
        "post web /zones/web 2 0",
        "pre web /zones/web 2 1",
        "boot web",
        "post web /zones/web 2 1",
    ]
    assert trap.state == "running"
    until(trap.machine.path(f"{ZONE}/root/booted").exists, "init runs")
    trap.adm("halt")
    assert trap.log() == ["pre web /zones/web 4 4", "halt web", "post web /zones/web 4 4"]
    trap.adm("sysboot")
    trap.adm("uninstall", "-F")
    assert trap.log() == [
        "sysboot web",
        "verify web /zones/web uninstall -F",
        "uninstall web /zones/web -F",
    ]
    assert trap.state == "configured"
    trap.machine.zonecfg("web", "delete")


def test_nothing_is_quoted(trap: Trap) -> None:
    trap.have(installopts="p:")
    trap.adm("install", "-p", "a b $(touch /run/injected)")
    assert trap.log() == ["install -pa b"]
    assert trap.machine.path("/run/injected").exists()


def test_long_lines_are_refused(trap: Trap) -> None:
    trap.have(installopts="p:")
    assert "too long" in trap.adm("install", "-p", "x" * 1000, code=1)
    assert trap.state == "configured" and not trap.log()


@pytest.mark.parametrize(
    ("code", "state", "left"),
    [
        (0, "installed", True),
        (253, "incomplete", True),
        (254, "configured", False),
        (255, "incomplete", True),
        (1, "incomplete", True),
    ],
)
def test_exit_codes_of_install(trap: Trap, code: int, state: str, left: bool) -> None:
    trap.have()
    trap.do("install", f"mkdir {ZONE}/root; exit {code}")
    trap.adm("install", code=None)
    assert trap.state == state
    assert trap.machine.path(f"{ZONE}/root").exists() == left


def test_a_signal_is_fatal(trap: Trap) -> None:
    trap.have()
    trap.do("install", "kill -9 $$")
    trap.adm("install", code=1)
    assert trap.state == "incomplete"


def test_clean_up_deletes_through_writable_mounts(trap: Trap) -> None:
    """Exit 254 with a lofs of a global directory below root: its files are gone."""
    trap.have()
    trap.machine.write("/precious/file", "x")
    trap.do(
        "install", f"mkdir -p {ZONE}/root/usr; /usr/sbin/mount -F lofs /precious {ZONE}/root/usr; exit 254"
    )
    trap.adm("install", code=1)
    assert not trap.machine.path("/precious/file").exists()


def test_clean_up_leaves_what_it_does_not_know(trap: Trap) -> None:
    trap.have()
    trap.do("install", f"mkdir {ZONE}/root {ZONE}/image; exit 254")
    assert "additional user data" in trap.adm("install", code=1)
    assert sorted(path.name for path in trap.machine.path(ZONE).iterdir()) == ["image"]
    assert trap.state == "configured"


def test_postinstall_decides(trap: Trap) -> None:
    trap.have(postinstall=f"{HOOK} postinstall")
    trap.do("postinstall", f"grep '^web:' /etc/zones/index >{ZONE}/seen; exit 1")
    trap.adm("install", code=1)
    assert trap.state == "incomplete"
    assert ":installed:" in trap.machine.path(f"{ZONE}/seen").read_text()


def test_an_empty_install_fails(trap: Trap) -> None:
    trap.have(install="")
    assert "Missing brand install command" in trap.adm("install", code=1)


def test_hooks_of_zoneadm_inherit_and_know_of_the_lock(trap: Trap) -> None:
    trap.have()
    trap.do("install", "env >/run/env; pwd >>/run/env; umask >>/run/env")
    words = ["/usr/sbin/zoneadm", "-z", "web", "install"]
    trap.machine.run(*words, environment={"PYTHONPATH": "/evil"})
    seen = trap.machine.path("/run/env").read_text().splitlines()
    assert {"PYTHONPATH=/evil", "_ZONEADM_LOCK_HELD=1", "/", "0022"} <= set(seen)


def test_hooks_of_zoneadmd_have_next_to_nothing(trap: Trap) -> None:
    trap.have(**STATES)
    trap.adm("install")
    trap.do(
        "pre",
        'env >/run/env; echo said; read line || echo "no stdin"; echo lost >&2 || echo "no stderr"',
    )
    said = trap.adm("ready")
    names = {line.partition("=")[0] for line in trap.machine.path("/run/env").read_text().splitlines()}
    assert names - {"PWD", "_", "OLDPWD", "SHLVL"} == {"_ZONEADM_LOCK_HELD", "PATH", "TZ"}
    assert said.splitlines() == [f"zone 'web': {line}" for line in ("said", "no stdin", "no stderr")]


def test_verify_adm_lacks_a_blank(trap: Trap) -> None:
    trap.have(verify_adm=f"{HOOK} verify %z")
    trap.adm("install")
    assert trap.log()[0] == "verify webinstall"


def test_verify_adm_runs_for_list_too(trap: Trap) -> None:
    trap.have(verify_adm=f"{HOOK} verify ")
    trap.adm("install")
    trap.log()
    assert trap.machine.zoneadm("web", "list", "-p").out.startswith("-:web:installed:/zones/web:")
    assert trap.log() == ["verify list -p"]
    trap.do("verify", "/usr/sbin/zoneadm -z web list -p || exit 1")
    assert "for ever" in trap.adm("list", "-p", code=1)


def test_machine_format_escapes(trap: Trap) -> None:
    trap.have()
    trap.machine.zonecfg("web", "set 'zonepath=/zones/w:b'; set ip-type=exclusive")
    assert trap.machine.zoneadm("web", "list", "-p").out == "-:web:configured:/zones/w\\:b::trap:excl\n"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("ln -s /elsewhere /zones/web", "symlink"),
        ("chmod 0777 /zones", "root's alone"),
        ("mkdir -p /zones/web/root; chmod 0777 /zones/web/root", "0755"),
        ("mkdir -p /zones/web/root; touch /zones/web/SUNWdetached.xml", "detached"),
    ],
)
def test_zonepaths_are_checked(trap: Trap, spoil: str, why: str) -> None:
    trap.have()
    trap.machine.run("sh", "-c", f"mkdir -p /elsewhere; {spoil}")
    assert why in trap.adm("install", code=1)
    assert trap.state == "configured" and not trap.log()


def test_zonepaths_become_private(trap: Trap) -> None:
    trap.have()
    trap.adm("install")
    assert trap.machine.path(ZONE).stat().st_mode & 0o777 == 0o700


def test_specials_are_looked_at_before_the_hook(trap: Trap) -> None:
    trap.have()
    trap.machine.zonecfg("web", "add fs; set dir=/x; set special=/nowhere; set type=lofs; end")
    assert "/nowhere" in trap.adm("install", code=1)
    assert not trap.log()


# --- ready, boot, halt --------------------------------------------------------------------------------


@pytest.fixture
def installed(trap: Trap) -> Trap:
    """A trap of a brand that mounts /shared read-only on /ext, installed."""
    trap.machine.write("/shared/share/file", "shared")
    trap.have(
        '<global_mount special="/shared" directory="/ext" type="lofs" opt="ro,nodevices"/>'
        '<mount special="/proc" directory="/proc" type="proc"/>',
        **STATES,
    )
    trap.adm("install")
    trap.log()
    return trap


def test_mounts_come_and_go(installed: Trap) -> None:
    installed.adm("ready")
    assert installed.machine.mounts(ZONE) == [f"{ZONE}/root/ext"]
    file = f"{ZONE}/root/ext/share/file"
    assert installed.machine.run("sh", "-c", f"echo x >{file}", code=None).code != 0
    table = installed.machine.path("/etc/mnttab").read_text().splitlines()
    (line,) = (line for line in table if ZONE in line)
    assert line.split("\t")[:4] == ["/shared", f"{ZONE}/root/ext", "lofs", "ro,nodevices,dev=1"]
    installed.adm("boot")
    assert installed.machine.mounts(ZONE) == [f"{ZONE}/root/ext", f"{ZONE}/root/proc"]
    installed.adm("halt")
    assert installed.machine.mounts(ZONE) == []


def test_parents_are_mounted_before_children(installed: Trap) -> None:
    installed.machine.write("/inner/file", "inner")
    installed.machine.path("/shared/share/in").mkdir()
    installed.machine.zonecfg(
        "web", "add fs; set dir=/ext/share/in; set special=/inner; set type=lofs; add options [ro]; end"
    )
    installed.adm("ready")
    assert installed.machine.path(f"{ZONE}/root/ext/share/in/file").read_text() == "inner"


def test_a_mount_point_cannot_be_made_below_a_read_only_mount(installed: Trap) -> None:
    installed.machine.zonecfg("web", "add fs; set dir=/ext/new; set special=/shared; set type=lofs; end")
    assert "must exist in the global zone" in installed.adm("ready", code=1)
    assert installed.machine.mounts(ZONE) == []
    assert installed.state == "installed"
    assert installed.log()[-1] == "post web /zones/web 3 4"


def test_nothing_may_be_mounted_at_ready(installed: Trap) -> None:
    installed.do("pre", f"[ $5 != 0 ] || /usr/sbin/mount -F lofs -o ro /shared {ZONE}/root/srv")
    assert "mounted on subdirectories" in installed.adm("boot", code=1)
    assert installed.state == "installed"


def test_mount_points_are_no_symlinks(installed: Trap) -> None:
    installed.machine.run("ln", "-s", "/etc", f"{ZONE}/root/ext")
    assert "is a symlink" in installed.adm("ready", code=1)


def test_the_root_is_mounted_nowhere_else(installed: Trap) -> None:
    installed.machine.path("/window").mkdir()
    installed.machine.run("/usr/sbin/mount", "-F", "lofs", f"{ZONE}/root", "/window")
    assert "mounted on /window too" in installed.adm("ready", code=1)


@pytest.mark.parametrize("spoil", ["rm", "chmod 644"])
def test_init_must_be_executable(installed: Trap, spoil: str) -> None:
    installed.machine.run("sh", "-c", f"{spoil} {ZONE}/root/sbin/init")
    assert "init" in installed.adm("boot", code=1)
    assert installed.log()[-2:] == ["post web /zones/web 4 4", "halt web"]
    assert installed.machine.mounts(ZONE) == []


def test_a_failing_prestatechange_stops_the_halt(installed: Trap) -> None:
    installed.adm("boot")
    installed.do("pre", "exit 1")
    assert "failed with 1" in installed.adm("halt", code=1)
    assert installed.state == "running"


def test_poststatechange_leaves_a_ready_zone(installed: Trap) -> None:
    installed.do("post", "exit 4")
    assert "failed to exec" in installed.adm("ready", code=1)
    assert installed.state == "ready"


def test_halt_unmounts_what_others_mounted(installed: Trap) -> None:
    installed.adm("boot")
    installed.machine.run("/usr/sbin/mount", "-F", "lofs", "/shared", f"{ZONE}/root/srv")
    installed.adm("reboot")
    assert installed.machine.mounts(ZONE) == [f"{ZONE}/root/ext", f"{ZONE}/root/proc"]


def test_long_messages_come_in_pieces(installed: Trap) -> None:
    installed.do("pre", "printf '%01500d' 0")
    assert [len(line) for line in installed.adm("ready").splitlines()] == [1023 + 12, 477 + 12]


def test_an_empty_answer_to_query_is_garbage(trap: Trap) -> None:
    trap.have(query=f"{HOOK} query")
    trap.adm("install")
    assert "implicit datasets" in trap.adm("ready", code=1)
    assert trap.log()[-1] == "query datasets"


def test_a_scratch_zone(installed: Trap) -> None:
    """zoneadm mount: hooks as for ready, the root at /a, the global zone's programs read-only."""
    installed.adm("mount")
    assert installed.state == "mounted"
    assert installed.log() == [
        "verify web /zones/web mount",
        "pre web /zones/web 2 0",
        "post web /zones/web 2 0",
    ]
    assert installed.machine.path(f"{ZONE}/lu/a/sbin/init").exists()
    assert installed.machine.path(f"{ZONE}/lu/usr/bin").exists()
    assert installed.machine.run("sh", "-c", f"echo x >{ZONE}/lu/etc/x", code=None).code != 0
    assert "must be installed" in installed.adm("boot", code=1)
    installed.log()
    installed.adm("unmount")
    assert installed.log() == ["pre web /zones/web 7 4", "post web /zones/web 7 4"]
    assert installed.state == "installed" and installed.machine.mounts(ZONE) == []
    installed.do("pre", f"/usr/sbin/mount -F tmpfs swap {ZONE}/lu")
    assert "busy" in installed.adm("mount", code=1)
    assert installed.state == "installed"


NET = "add net; set physical=e1000g0; set address=192.0.2.7/24; end"


def test_addresses_are_the_global_zones_business(installed: Trap) -> None:
    machine = installed.machine
    assert "must be set" in machine.zonecfg("web", "add net; set physical=e1000g0; end", code=1).err
    machine.zonecfg("web", NET)
    installed.adm("ready")
    assert machine.plumbed("web") == ["lo0 127.0.0.1", "e1000g0 192.0.2.7/24"]
    machine.zonecfg("other", f"create -b; set zonepath=/zones/other; set brand=trap; {NET}")
    machine.run(
        "sh", "-c", "mkdir -p /zones/other/root/sbin; cp /zones/web/root/sbin/init /zones/other/root/sbin"
    )
    machine.path("/zones/other").chmod(0o700)
    machine.python("from lifecycle import zones; zones.load('other').set_state('installed')")
    assert "in use by zone web" in machine.zoneadm("other", "ready", code=1).err
    installed.adm("halt")
    assert machine.plumbed("web") == []
    machine.zoneadm("other", "ready")


def test_links_need_a_place_to_be_told_of(installed: Trap) -> None:
    """With an exclusive stack the boot fails unless /etc/svc/volatile is there."""
    machine = installed.machine
    machine.zonecfg("web", "set ip-type=exclusive; add net; set physical=vnic0; end")
    assert "volatile is no tmpfs" in installed.adm("boot", code=1)
    assert installed.state == "installed" and machine.mounts(ZONE) == [] and machine.plumbed("web") == []
    place = machine.path("/usr/lib/brand/trap/platform.xml")
    mount = '<mount special="swap" directory="/etc/svc/volatile" type="tmpfs"/>'
    place.write_text(place.read_text().replace("</platform>", f"{mount}</platform>"))
    installed.adm("boot")
    assert machine.path(f"{ZONE}/root/etc/svc/volatile/dladm/datalink.conf").read_text() == "vnic0\n"
    place.write_text(place.read_text().replace('allow-exclusive-ip="true"', 'allow-exclusive-ip="false"'))
    assert "allows no exclusive" in machine.zonecfg("web", "set autoboot=true", code=1).err


def test_uninstall_refuses_while_something_is_mounted(installed: Trap) -> None:
    """verify_adm is the only hook before that check."""
    point = f"{ZONE}/root/srv"
    installed.machine.run("/usr/sbin/mount", "-F", "lofs", "-o", "ro", "/shared", point)
    assert f"mounted on {point}" in installed.adm("uninstall", "-F", code=1)
    assert installed.log() == ["verify web /zones/web uninstall -F"]
    installed.do("verify", f"[ $4 = uninstall ] && /usr/sbin/umount {point} || :")
    installed.adm("uninstall", "-F")
    assert installed.state == "configured"


def test_detach_and_attach(trap: Trap) -> None:
    trap.have(attach=f"{HOOK} attach %R", postattach=f"{HOOK} postattach")
    trap.adm("install")
    trap.adm("detach")
    assert trap.state == "configured" and trap.machine.path(f"{ZONE}/SUNWdetached.xml").exists()
    assert "attach it" in trap.adm("install", code=1)
    trap.do("attach", "exit 1")
    trap.adm("attach", code=1)
    assert trap.state == "configured"
    trap.adm("attach", "-F")
    assert trap.state == "installed" and not trap.machine.path(f"{ZONE}/SUNWdetached.xml").exists()
    assert trap.log() == ["install", "attach /zones/web", "postattach -F"]


def test_builtin_detach_refuses_mounts(trap: Trap) -> None:
    trap.have()
    trap.adm("install")
    trap.machine.run("/usr/sbin/mount", "-F", "lofs", "/etc", f"{ZONE}/root")
    assert f"mounted: {ZONE}/root" in trap.adm("detach", code=1)


def test_an_invalid_brand_stops_everything(trap: Trap) -> None:
    trap.have()
    place = trap.machine.path("/usr/lib/brand/trap/config.xml")
    place.write_text(place.read_text().replace("<install>", "<query></query><install>"))
    assert "missing or invalid brand" in trap.adm("install", code=1)


def test_zonecfg_commits_what_was_done_before_an_error(trap: Trap) -> None:
    trap.have()
    trap.machine.zonecfg("web", "add fs; set dir=/x; set special=/etc; set type=lofs; end; nonsense", code=1)
    assert "set dir=/x" in trap.machine.zonecfg("web", "export").out
    trap.machine.zonecfg("web", "set autoboot=true; add fs; set dir=/y", code=0)
    assert "dir=/y" not in trap.machine.zonecfg("web", "export").out


def test_logging_in(installed: Trap) -> None:
    """The failsafe way needs a shell; the others need su."""
    log_in = ("/usr/sbin/zlogin", "web", "echo in")
    assert "not running" in installed.machine.run(*log_in, code=1).err
    installed.adm("boot")
    assert installed.machine.run("/usr/sbin/zlogin", "-S", "web", "echo in").out == "in\n"
    assert "su" in installed.machine.run(*log_in, code=127).err


# --- with a pool --------------------------------------------------------------------------------------


@needs("zfs")
def test_zonepaths_become_datasets(trap: Trap) -> None:
    trap.machine.make_pool()
    trap.have()
    trap.machine.zonecfg("web", "set zonepath=/export/zones/web")
    trap.do("install", "zfs create -o mountpoint=legacy rpool/export/zones/web/ROOT; exit 254")
    trap.adm("install", code=1)
    names = [row[0] for row in trap.machine.datasets("rpool/export/zones")]
    assert names == ["rpool/export/zones", "rpool/export/zones/web", "rpool/export/zones/web/ROOT"]
    trap.do("install", "exit 254")
    trap.machine.run("/usr/sbin/zfs", "destroy", "rpool/export/zones/web/ROOT")
    trap.adm("install", code=1)
    assert [row[0] for row in trap.machine.datasets("rpool/export/zones")] == ["rpool/export/zones"]


@needs("zfs")
def test_legacy_datasets_are_mounted_by_type(trap: Trap) -> None:
    machine = trap.machine
    machine.make_pool()
    machine.run("/usr/sbin/zfs", "create", "-o", "mountpoint=legacy", "rpool/export/zones/x")
    machine.path("/mnt/x").mkdir()
    machine.run("/usr/sbin/mount", "-F", "zfs", "rpool/export/zones/x", "/mnt/x")
    assert "rpool/export/zones/x\t/mnt/x\tzfs\trw" in machine.path("/etc/mnttab").read_text()
    machine.write("/mnt/x/file", "x")
    machine.run("/usr/sbin/umount", "/mnt/x")
    assert not machine.path("/mnt/x/file").exists()
    assert json.loads(machine.path("/run/mounts.json").read_text())  # the boot environment's own
    done = machine.run("/usr/sbin/beadm", "list", "-H").out
    assert done == "be1;uuid-be1;NR;/;1;static;1700000000\n"
