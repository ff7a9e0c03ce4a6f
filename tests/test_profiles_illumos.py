"""The profiles shipped for illumos: complete on the synthetic global zone, and fit to boot by all we know."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import globalzone
import ips_database
import mvi_checkout
import pytest
import zone_data
from needs import needs

from partialroot.closure.modules import brand
from partialroot.errors import ConflictError
from partialroot.model import Entry, Layer, Selection
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.plan.literal import literal
from partialroot.plan.platforms import Illumos
from partialroot.plan.select import select
from partialroot.profiles.library import Library
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree

LIBRARY = Library([], "illumos")
NAMES = (
    *("base", "blank", "exclusive-ip", "net", "nginx", "node", "nonet"),
    *("smf", "sparse", "sshd", "whole", "zlogin", "zlogin-safe"),
)
COMPLETE = [name for name in NAMES if name not in ("nonet", "smf")]
"""What the small global zone has all of; nonet only takes away."""

CONFIG = (zone_data.DATA / "files/usr/lib/brand/whole-root/config.xml").read_text()
PLATFORM = Illumos(brand.programs(CONFIG))
NETWORK_TOOLS = {"ifconfig", "route", "dladm", "ipadm", "dlmgmtd", "ipmgmtd", "in.mpathd", "routeadm"}
MOUNT_POINTS = (
    *("/dev", "/proc", "/system/contract", "/system/object", "/etc/svc/volatile"),
    *("/etc/mnttab", "/etc/dfs/sharetab"),
)


def selected(zone: Path, *names: str, **parameters: str) -> Selection:
    tree = Tree(zone)
    profile = LIBRARY.compose(names, parameters)
    return select(profile, names, tree, open_packages(tree), PLATFORM)


def entries(zone: Path, *names: str) -> dict[str, Entry]:
    selection = selected(zone, *names)
    assert not [missing for missing in selection.missing if missing.severity == "error"]
    return {str(entry.path): entry for entry in selection.entries}


def text(found: dict[str, Entry], path: str) -> str:
    return (found[path].text or b"").decode()


# --- as texts -----------------------------------------------------------------------------------------


def test_these_are_shipped() -> None:
    assert tuple(listed.name for listed in LIBRARY.names()) == NAMES
    assert all(listed.summary and len(listed.summary) < 70 for listed in LIBRARY.names())


@pytest.mark.parametrize("listed", LIBRARY.names(), ids=lambda listed: listed.name)
def test_short_and_commented(listed: tuple[str, str, Path]) -> None:
    lines = listed[2].read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 120


@needs("ksh")
@pytest.mark.parametrize("name", NAMES)
def test_its_scripts_are_scripts(name: str, tmp_path: Path) -> None:
    for wish in LIBRARY.compose([name], {}).texts:
        if wish.mode & 0o111:
            assert wish.content.startswith("#!/sbin/sh\n"), wish.path
            (tmp_path / "script").write_text(wish.content)
            subprocess.run(["ksh93", "-n", tmp_path / "script"], check=True)


# --- what a zone of them has --------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPLETE)
def test_it_boots_by_what_is_known(name: str, global_zone: Path) -> None:
    found = entries(global_zone, name)
    assert found["/sbin/init"].mode & 0o100
    assert found["/usr/bin/i86/ksh93"].mode & 0o100
    assert found["/sbin/sh"].target == "../usr/bin/i86/ksh93"
    assert found["/lib/ld.so.1"].type is FileType.FILE
    lines = text(found, "/etc/inittab").splitlines()
    assert [line for line in lines if line.startswith("smf:")] == ["smf::sysinit:/etc/zone.rc"]
    assert len("/etc/zone.rc") < 255
    assert not [line for line in lines if "startd" in line]
    assert found["/etc/zone.rc"].mode == 0o755
    assert text(found, "/etc/zone.rc").splitlines()[-1].startswith("exec ")


@pytest.mark.parametrize("name", COMPLETE)
def test_where_the_platform_mounts_there_is_no_symlink(name: str, global_zone: Path) -> None:
    found = entries(global_zone, name)
    for point in MOUNT_POINTS:
        kind = FileType.FILE if point in ("/etc/mnttab", "/etc/dfs/sharetab") else FileType.DIR
        assert found[point].type is kind, point
        assert found[point].mode == (0o444 if kind is FileType.FILE else 0o755), point
        for above in RootPath(point).ancestors:
            assert found[str(above)].type is FileType.DIR
    assert not [path for path in found if path.startswith(("/dev/", "/proc/", "/system/contract/"))]


@pytest.mark.parametrize("name", sorted({*COMPLETE} - {"sparse", "whole", "exclusive-ip"}))
def test_a_shared_stack_needs_no_network_tools(name: str, global_zone: Path) -> None:
    names = {path.rpartition("/")[2] for path in entries(global_zone, name)}
    assert not names.intersection(NETWORK_TOOLS)


@pytest.mark.parametrize("name", COMPLETE)
def test_no_secret_and_no_identity_leaves_the_source(name: str, global_zone: Path) -> None:
    found = entries(global_zone, name)
    for path in ("/etc/shadow", "/etc/inet/hosts", "/etc/nodename"):
        entry = found.get(path)
        assert entry is None or entry.source is None or "pspool" in entry.source, path
    assert not [path for path in found if "/ssh_host_" in path or path.startswith("/etc/zones/")]


@pytest.mark.parametrize("name", ["base", "node", "zlogin", "nginx", "sshd"])
def test_hygiene(name: str, global_zone: Path) -> None:
    found = entries(global_zone, name)
    assert (found["/tmp"].mode, found["/var/tmp"].mode) == (0o1777, 0o1777)
    assert found["/root"].mode == 0o700
    assert found["/var/run"].type is FileType.DIR
    assert found["/var/adm/utmpx"].size == 0
    root = text(found, "/etc/passwd").splitlines()[0]
    assert root.endswith((":/bin/sh", ":/usr/bin/sh"))
    assert found["/etc/passwd"].layer is Layer.PRIVATE


def test_only_what_is_chosen_starts(global_zone: Path, tmp_path: Path) -> None:
    """Of the source's inittab no line is there that nobody asked for, and no text that cannot be run."""
    steps = "".join(
        f'[text."/etc/zone.rc.d/{name}"]\nmode = "{mode}"\ncontent = "x"\n'
        for name, mode in (("10-yes", "0755"), ("20-no", "0644"))
    )
    (tmp_path / "my.toml").write_text(f'uses = ["base"]\n{steps}')
    (tmp_path / "more.toml").write_text('uses = ["my"]\nfiles = ["/etc/inittab"]\n')
    tree = Tree(global_zone)
    for name, lines in (("my", 1), ("more", 4)):
        profile = Library([tmp_path], "illumos").compose([name], {})
        selection = select(profile, (name,), tree, open_packages(tree), PLATFORM)
        found = {str(entry.path): entry for entry in selection.entries}
        assert len(text(found, "/etc/inittab").splitlines()) == lines
        script = text(found, "/etc/zone.rc")
        assert "/10-yes\n" in script and "20-no" not in script


def test_exclusive_ip_has_the_tools_and_starts_them(global_zone: Path) -> None:
    found = entries(global_zone, "node", "exclusive-ip")
    assert {"/sbin/ifconfig", "/sbin/route", "/sbin/dlmgmtd", "/lib/inet/ipmgmtd"} <= found.keys()
    lines = text(found, "/etc/zone.rc").splitlines()
    assert lines[-2:] == [
        "/etc/zone.rc.d/10-network",
        "exec /usr/versions/node-v22/bin/node /srv/www/server.js 8000",
    ]
    assert "netadm" in text(found, "/etc/passwd")


@needs("ksh")
def test_exclusive_ip_does_as_its_files_say(tmp_path: Path) -> None:
    """As appstack's network.sh does it (zones facts 8); what is not said is not done."""
    (script,) = (one.content for one in LIBRARY.compose(["exclusive-ip"], {}).texts if "10-" in one.path)
    for name in ("sbin", "lib/inet", "etc"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("sbin/ifconfig", "sbin/route", "sbin/dlmgmtd", "lib/inet/ipmgmtd"):
        (tmp_path / name).write_text(
            f'#!/bin/sh\necho ${{0##*/}} "$@" ${{SMF_FMRI:+as SMF}} >> {tmp_path}/said\n'
        )
        (tmp_path / name).chmod(0o755)
    files = {
        "hostname.net0": "192.0.2.7/24\n",
        "hostname.net1": "dhcp",
        "hostname6.net0": "",
        "defaultrouter": "192.0.2.1",
    }
    for name, content in files.items():
        (tmp_path / "etc" / name).write_text(content)
    here = re.sub(r"(?<![\w./])/(?=(etc|lib|sbin)/)", f"{tmp_path}/", script)
    subprocess.run(["ksh93", "-c", here], check=True)
    assert (tmp_path / "said").read_text().splitlines() == [
        "dlmgmtd as SMF",
        "ipmgmtd as SMF",
        "ifconfig lo0 plumb 127.0.0.1 up",
        "ifconfig net0 plumb",
        "ifconfig net0 192.0.2.7/24 up",
        "ifconfig net1 plumb",
        "ifconfig net1 dhcp start",
        "ifconfig net0 inet6 plumb up",
        "route add default 192.0.2.1",
    ]


def test_nonet_takes_them_away(global_zone: Path) -> None:
    found = entries(global_zone, "sparse", "nonet")
    assert not [path for path in found if path.startswith(("/sbin/ifconfig", "/lib/inet", "/usr/sbin/route"))]
    with pytest.raises(ConflictError, match="excludes"):
        LIBRARY.compose(["exclusive-ip", "nonet"], {})


TIME = ["/usr/share/lib/zoneinfo/*", "/usr/lib/locale/de_DE.UTF-8/*", "/usr/lib/locale/en_US.UTF-8/*"]


@pytest.fixture(scope="module")
def zone_with_times(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return globalzone.build(tmp_path_factory.mktemp("times") / "zone", extra=TIME)


def data_of(selection: Selection) -> set[str]:
    tops = ("/usr/share/lib/zoneinfo/", "/usr/lib/locale/")
    return {one.path for one in selection.entries if one.path.startswith(tops) and one.type is FileType.FILE}


@pytest.mark.parametrize(
    ("timezone", "file", "missing"),
    [
        ("UTC0", False, False),
        ("Europe/Berlin", True, False),
        ("Europe/Bonn", False, True),
        ("UTC", True, False),
        ("PST8PDT", True, False),
        ("CET-1CEST,M3.5.0,M10.5.0/3", False, False),
        ("<+03>-3", False, False),
        ("../../../../etc/shadow", False, False),
    ],
)
def test_the_zone_has_its_time_zone(timezone: str, file: bool, missing: bool, zone_with_times: Path) -> None:
    """A time zone without its file is UTC, and nothing says so (localtime.c)."""
    selection = selected(zone_with_times, "base", timezone=timezone)
    assert data_of(selection) == ({f"/usr/share/lib/zoneinfo/{timezone}"} if file else set())
    lacks = [(one.name, one.needed_by, one.severity) for one in selection.missing if "zoneinfo" in one.name]
    expected = (f"/usr/share/lib/zoneinfo/{timezone}", "/etc/default/init: TZ", "warning")
    assert lacks == ([expected] if missing else [])


def test_the_zone_speaks_its_languages(zone_with_times: Path, tmp_path: Path) -> None:
    lines = "TZ=UTC0\nLANG='en_US.UTF-8'\nLC_TIME=de_DE.UTF-8\nLC_ALL=C\nLC_CTYPE=none\n# LANG=fr_FR.UTF-8"
    head = 'uses = ["base"]\nexclude = ["/usr/lib/locale/en_US.UTF-8/LC_MONETARY"]\n'
    (tmp_path / "my.toml").write_text(f'{head}[text."/etc/default/init"]\ncontent = """\n{lines}\n"""\n')
    (tmp_path / "edited.toml").write_text(
        'uses = ["base"]\n[edit."/etc/default/init"]\nappend = ["LANG=en_US.UTF-8"]\n'
    )
    tree = Tree(zone_with_times)
    found = {}
    for name in ("my", "edited"):
        profile = Library([tmp_path], "illumos").compose([name], {})
        found[name] = select(profile, (name,), tree, open_packages(tree), PLATFORM)
    data = data_of(found["my"])
    assert {
        "/usr/lib/locale/de_DE.UTF-8/LC_TIME/LCL_DATA",
        "/usr/lib/locale/en_US.UTF-8/LC_CTYPE/LCL_DATA",
    } <= data
    assert not any("LC_MONETARY" in path and "en_US" in path for path in data)
    assert not any(path.startswith("/usr/lib/locale/C/") for path in data)
    lacks = [(one.name, one.needed_by) for one in found["my"].missing if "locale" in one.name]
    assert lacks == [("/usr/lib/locale/none", "/etc/default/init: LC_CTYPE")]
    assert {path.split("/")[4] for path in data_of(found["edited"])} == {"en_US.UTF-8"}


@pytest.mark.parametrize("name", ["zlogin-safe", "zlogin", "sshd"])
def test_who_logs_in_has_a_terminal(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """/etc/profile makes it sun-color where nobody else says which; zlogin and ssh bring their own."""
    zone = globalzone.build(tmp_path_factory.mktemp(name) / "zone", extra=["/usr/share/lib/terminfo/*"])
    known = {path.name for path in map(RootPath, entries(zone, name)) if "/terminfo/" in path}
    assert known >= {"sun-color", "xterm", "xterm-256color", "vt100", "screen"}
    assert len(known) < 15


def test_blank_sleeps(global_zone: Path) -> None:
    found = entries(global_zone, "blank")
    assert text(found, "/etc/zone.rc").endswith("exec /usr/bin/sleep Inf\n")
    programs = {
        path for path, entry in found.items() if path.startswith("/usr/bin/") and entry.type is FileType.FILE
    }
    assert programs == {"/usr/bin/i86/ksh93", "/usr/bin/sleep"}


def test_zlogin_has_what_mvi_found_by_trial(global_zone: Path) -> None:
    found = entries(global_zone, "zlogin")
    lines = mvi_checkout.LISTS["zlogin.files"].splitlines()[1:]
    listed = {f"/{path}" for line in lines for path in line.split()}
    assert listed <= found.keys()
    assert {"/usr/bin/su", "/usr/bin/getent", "/usr/lib/security/crypt_sha512.so.1"} <= found.keys()
    assert found["/usr/bin/su"].mode == 0o4555


@pytest.mark.parametrize("name", ["base", "zlogin", "sshd", "whole"])
def test_everybody_is_in_shadow_and_nobody_has_a_password(name: str, global_zone: Path) -> None:
    """Made, never the source's: pam_unix_account refuses who is not in it, and who is locked (*LK*)."""
    found = entries(global_zone, name)
    shadow, source = found["/etc/shadow"], (global_zone / "etc/shadow").stat()
    assert (shadow.source, shadow.mode, shadow.uid, shadow.gid) == (None, 0o400, 0, source.st_gid)
    users = [line.split(":") for line in text(found, "/etc/passwd").splitlines()]
    assert users[0][:2] == ["root", "x"] and {user[1] for user in users} == {"x"}
    assert text(found, "/etc/shadow").splitlines() == [f"{user[0]}:NP:::::::" for user in users]


def test_the_sources_shadow_only_as_a_secret(global_zone: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('uses = ["base"]\nsecrets = ["/etc/shadow"]\n')
    tree = Tree(global_zone)
    profile = Library([tmp_path], "illumos").compose(["own"], {})
    found = select(profile, ("own",), tree, open_packages(tree), PLATFORM).entries
    assert next(entry for entry in found if entry.path == "/etc/shadow").source == "/etc/shadow"


def test_the_shell_of_init_is_in_every_zone(global_zone: Path, tmp_path: Path) -> None:
    """Init runs what inittab says by it, and zlogin -S what it is told; a profile need not name it."""
    (tmp_path / "own.toml").write_text('programs = ["cat"]\n')
    tree = Tree(global_zone)
    profile = Library([tmp_path], "illumos").compose(["own"], {})
    packages = open_packages(tree)
    found = {entry.path: entry for entry in select(profile, ("own",), tree, packages, PLATFORM).entries}
    assert RootPath("/sbin/sh") in found
    assert ("inittab", "init(8)") in found[RootPath("/usr/bin/i86/ksh93")].reasons
    assert found[RootPath("/sbin/init")].reasons[0] == ("brand initname", "config.xml")
    assert RootPath("/usr/bin/getent") not in found
    (tmp_path / "bare.toml").write_text('optional = ["/etc/motd"]\n')
    (tmp_path / "empty").mkdir()
    bare = Tree(tmp_path / "empty")
    profile = Library([tmp_path], "illumos").compose(["bare"], {})
    missing = select(profile, ("bare",), bare, open_packages(bare), PLATFORM).missing
    assert [(one.name, one.needed_by, one.severity) for one in missing] == [
        ("/sbin/init", "config.xml", "error"),
        ("/sbin/sh", "init(8)", "error"),
    ]


THERE = " (there, but no profile names it)"


@pytest.mark.parametrize(
    ("programs", "missed"),
    [
        ((), ()),  # zlogin -S is enough
        (("getent",), ()),
        (("/usr/bin/login",), (f"/usr/bin/su{THERE}",)),  # as with mvi's zlogin.files
        (("/usr/bin/su",), (f"/usr/bin/getent{THERE}", f"/usr/bin/login{THERE}")),
        (("/usr/bin/su", "/usr/bin/login", "/usr/bin/getent"), ()),
    ],
)
def test_what_zlogin_misses_beside_what_is_there(
    programs: tuple[str, ...], missed: tuple[str, ...], global_zone: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(f'uses = ["base"]\nprograms = {[*programs]}\n')
    tree = Tree(global_zone)
    profile = Library([tmp_path], "illumos").compose(["own"], {})
    missing = select(profile, ("own",), tree, open_packages(tree), PLATFORM).missing
    where = {
        one.name: one.needed_by for one in missing if "zlogin(1)" in one.needed_by or "brand" in one.needed_by
    }
    assert tuple(where) == missed
    assert {one.severity for one in missing} <= {"warning"}
    assert where.get(f"/usr/bin/su{THERE}") in (None, "zlogin(1): zlogin ZONE COMMAND")


@pytest.mark.parametrize("name", ["base", "zlogin-safe", "node", "zlogin"])
def test_shipped_profiles_miss_nothing_of_zlogin(name: str, global_zone: Path) -> None:
    assert not [
        one
        for one in selected(global_zone, name).missing
        if "zlogin" in one.needed_by or "brand" in one.needed_by
    ]


def test_node_is_no_larger_than_mvis_and_everything_has_a_reason(global_zone: Path, tmp_path: Path) -> None:
    checkout = mvi_checkout.make(tmp_path / "mvi")
    tree = Tree(global_zone)
    fragments = Library([checkout], "illumos").compose(["nonet", "node"], {}).fragments
    mvi = literal(fragments, tree, open_packages(tree), ()).entries
    ours = entries(global_zone, "node")
    files = [sum(entry.type is not FileType.DIR for entry in found.values()) for found in (mvi, ours)]
    assert files[1] <= files[0]
    assert all(entry.reasons for entry in ours.values())


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    """A global zone that has an older node, too."""
    zone = globalzone.build(tmp_path / "zone")
    versions = zone / "usr/versions"
    (versions / "node-v9/bin").mkdir(parents=True)
    shutil.copy2(versions / "node-v22/bin/node", versions / "node-v9/bin/node")
    return zone


def test_of_several_versions_the_newest_runs(two_nodes: Path) -> None:
    found = entries(two_nodes, "node")
    assert "/usr/versions/node-v22/bin/node" in found
    assert "/usr/versions/node-v9/bin/node" not in found


def test_no_version_at_all_is_missing(global_zone: Path) -> None:
    tree = Tree(global_zone)
    profile = LIBRARY.compose(["nginx"], {})
    tree.hidden = frozenset({RootPath("/opt/tribblix")})
    found = select(profile, ("nginx",), tree, open_packages(tree), PLATFORM)
    assert [one.needed_by for one in found.missing if one.severity == "error"] == ["nginx.toml:46"]


@needs("root")  # it edits a file that only root may write
def test_without_its_pam_conf_there_is_no_zone_to_log_in_to(tmp_path: Path) -> None:
    """IPS keeps no copies of edited files, but for what an upgrade puts beside (pkg(7), renamenew)."""
    zone = globalzone.build(tmp_path / "zone")
    (tmp_path / "my.toml").write_text('uses = ["base"]\nprograms = ["su"]\nmodules = { pam = ["su"] }\n')
    shutil.copy(zone / "etc/pam.conf", tmp_path / "shipped")
    ips_database.write(zone)
    (zone / "var/sadm/install/contents").unlink()

    def selection() -> Selection:
        tree, profile = Tree(zone), Library([tmp_path], "illumos").compose(["my"], {})
        return select(profile, ("my",), tree, open_packages(tree), PLATFORM)

    def errors() -> list[str]:
        return [one.name for one in selection().missing if one.severity == "error"]

    assert errors() == []
    with (zone / "etc/pam.conf").open("a") as file:
        file.write("su auth required pam_roles.so.1\n")
    remedy = "name it in files to copy it, or give its content in [text]"
    assert errors() == [f"/etc/pam.conf (it is not as its package installed it; {remedy})"]
    shutil.copy(tmp_path / "shipped", zone / "etc/pam.conf.new")
    assert errors() == []
    found = {str(entry.path): entry for entry in selection().entries}
    assert found["/etc/pam.conf"].source == "/etc/pam.conf.new"
    assert "/etc/pam.conf.new" not in found
    with (zone / "etc/pam.conf.new").open("a") as file:
        file.write("# edited, too\n")
    assert len(errors()) == 1


def test_smf_needs_the_seed_of_a_zone(tmp_path: Path) -> None:
    zone = globalzone.build(tmp_path / "zone", extra=["/lib/svc/*", "/usr/share/lib/xml/dtd/*", "/etc/svc/*"])
    (zone / "lib/svc/seed/nonglobal.db").write_text("seed")
    found = entries(zone, "smf")
    assert {
        "/lib/svc/bin/svc.startd",
        "/lib/svc/bin/svc.configd",
        "/lib/svc/seed/nonglobal.db",
    } <= found.keys()
    assert text(found, "/etc/zone.rc").endswith("exec /etc/smf.rc\n")
    links = re.findall(r"ln -s (\S+) +(/etc/svc/profile/\S+)", text(found, "/etc/smf.rc"))
    assert len(links) == 4
    assert {f"/etc/svc/profile/{target}" for target, _ in links} <= found.keys()


@needs("ksh")
def test_smf_starts_with_a_repository_of_its_own(tmp_path: Path) -> None:
    """That is nobody else's, and made once; what svc.startd starts has init's umask (zones facts 6)."""
    profile = LIBRARY.compose(["smf"], {})
    (script,) = (one.content for one in profile.texts if one.path == "/etc/smf.rc")
    for directory in ("etc/svc/profile", "lib/svc/seed", "lib/svc/bin"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "lib/svc/seed/nonglobal.db").write_text("seed")
    (tmp_path / "lib/svc/bin/svc.startd").write_text(f"#!/bin/sh\numask > {tmp_path}/umask\n")
    (tmp_path / "lib/svc/bin/svc.startd").chmod(0o755)
    here = re.sub(r"(?<=[ (])(?=/(etc|lib)/)", str(tmp_path), script)
    repository = tmp_path / "etc/svc/repository.db"
    for content in ("seed", "changed"):
        subprocess.run(["ksh93", "-c", here], check=True, umask=0o022)
        assert (tmp_path / "umask").read_text() == "0022\n"
        assert (repository.stat().st_mode & 0o777, repository.read_text()) == (0o600, content)
        repository.write_text("changed")
    assert os.readlink(tmp_path / "etc/svc/profile/platform.xml") == "platform_none.xml"
