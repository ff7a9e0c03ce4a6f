"""What scripts/fuzz damages: everything that is read and was not written by this very process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fuzz_illumos
from fuzzing import Target
from objects import make_elf
from test_dpkg import make as make_dpkg
from test_learn_lines import LEARNED
from test_learn_traces import STRACE, TRUSS
from test_receipt import SUM, a_receipt, record
from test_tarball import WHOLE

from partialroot.closure import elf, ldcache, notes, scripts
from partialroot.closure.modules import nss, pam
from partialroot.globs import is_glob, matcher
from partialroot.host.linux import mountinfo
from partialroot.learn import strace, truss
from partialroot.learn.interpret import interpret
from partialroot.learn.wording import Place, added
from partialroot.model import Method, Profile, Supplier
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.profiles.compose import compose
from partialroot.profiles.edits import apply_edit
from partialroot.profiles.toml import parse_profile
from partialroot.source import accounts
from partialroot.source.packages import actions, contents, licences, svr4
from partialroot.source.packages.base import Packages
from partialroot.source.packages.dpkg import Dpkg
from partialroot.source.packages.ips import Ips
from partialroot.source.packages.svr4 import Svr4
from partialroot.source.tarball import Room, Tarball
from partialroot.source.tree import Tree
from partialroot.zone import journal, receipt
from partialroot.zone.journal import Binds, Intent, Stamp, Step, Touched
from partialroot.zone.store import PARTS, Store

PROFILE = """\
summary = "All there is"
uses = ["base"]
programs = ["node", "/usr/bin/["]
files = ["/etc/hosts", "/usr/lib/{a,b}*/[!x]?/**"]
exclude = ["/usr/share/doc"]
modules = { pam = ["login"], nss = ["passwd"] }
private = ["/usr/lib/state"]
users = ["www-data"]
read_only = true
network = "host"
[parameters]
port = "8000"
[directories."/srv"]
mode = "2755"
owner = "33"
[text."/etc/motd"]
content = "hello @port@"
mode = "0600"
[edit."/etc/inittab"]
drop = ["a line"]
substitute = [["ab", "cd"]]
append = ["x@port@"]
[start]
command = ["/usr/bin/node", "@port@"]
setuid = true
"""
PROFILES = ('programs = ["sh"]\n[start]\npause = true\n', 'packages = ["lib*"]\nsecrets = ["/etc/key"]\n')
TRACES = (
    b" <unfinished ...>",
    b"100 <... execve resumed>",
    b"</srv>",
    b"Err#2 ENOENT",
    b"= -1 ENOENT",
    b"/* ",
)
PROFILE_WORDS = (
    *(
        b"[edit.",
        b'[text."/etc/x"]\n',
        b"content = ",
        b'"""',
        b"'''",
        b"\\u0000",
        b"@port@",
        b"@",
        b"port = 1",
    ),
    *(b"start = 1\n", b"[[files]]\n", b"files.a = 1\n", b"1979-05-27T07:32:00Z", b"0x1F", b"inf", b"mode = "),
)
MOUNTS = """\
21 28 0:19 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
98 28 8:1 /a\\040b /srv/a\\040b\\134 ro,nodev - ext4 /dev/sda1 rw
"""
PAM = """\
#%PAM-1.0
auth [success=1 default=ignore] pam_unix.so nullok
-session optional /usr/lib/security/pam_exec.so quiet /usr/bin/tool
@include common
account include common \\
  more
"""
NSSWITCH = "passwd: files systemd [!UNAVAIL=return] sss\nhosts:\tfiles dns # no mdns\n"
PASSWD = "root:x:0:0:root:/root:/bin/bash\n+nis\nwww-data:x:33:33:,,,:/var/www:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nwww-data:x:33:root,nobody\n"
MANIFEST = """\
set name=pkg.fmri value=pkg://openindiana.org/system/core@0.5.11
file 3c5b0e8f path=usr/bin/login mode=4555 owner=root group=bin pkg.size=30732 variant.arch=i386
link path=sbin/sh target="../usr/bin/i86/ksh93" facet.doc=true
dir path='etc' group=sys owner=root mode=0755 \\
    variant.opensolaris.zone=global variant.opensolaris.zone=nonglobal
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+ or Artistic, and Expat
 On Debian systems, see /usr/share/common-licenses/GPL-2.
"""
CONTENTS = """\
/etc d none 0755 root sys SUNWcs *TRIBpackage-svr4:none
/usr/bin/login f none 4555 root bin 30732 44241 1700000000 SUNWcs
/sbin/sh=../usr/bin/i86/ksh93 s none TRIBshell-ksh93
/etc/inittab e preserve 0644 root sys 1072 18000 1700000000 SUNWcs
/dev/null c none 13 2 0666 root sys SUNWcs
"""
LOG = """\
+/etc/new f none 0644 root sys 1 2 3 SUNWcs
-/dev/null
=/etc d none 0700 root sys SUNWcs
###Marker
"""
CATALOG = '{"openindiana.org": {"system/core": [{"version": "0.5.11"}]}, "_SIGNATURE": {"sha-1": "00"}}'


def targets(scratch: Path) -> tuple[Target, ...]:
    """Return all targets; those that read files do so below ``scratch``, where nothing else is."""
    return (*_bytes(), *_texts(), *fuzz_illumos.targets(), *_ours(scratch), *_databases(scratch))


# --- what programs consist of -------------------------------------------------------------------------


def _bytes() -> Iterator[Target]:
    entries: list[tuple[int, int | str]] = [
        (1, "liba.so.1"), (14, "libme.so"), (15, "/old:$ORIGIN"), (29, "$ORIGIN/../lib"), (0x6FFFFFFB, 0x800),
        (0x7FFFFFFF, "filter"), (0x7FFFFFFD, "aux"),
    ]  # fmt: skip
    note = (b"FDO\0", 0x407C0C0A, b'[{"soname": ["libz.so.1"], "priority": "recommended"}]\0')
    objects = [
        make_elf(bits=bits, little=little, interpreter="/lib/ld.so.1", entries=entries, notes=[note])
        for bits in (32, 64)
        for little in (True, False)
    ]
    cache = ldcache.build(
        [ldcache.Library(f"lib{name}.so", f"/usr/lib/lib{name}.so", 0x303) for name in "abc"]
    )
    yield Target("elf", objects, _read_elf)
    yield Target("ld.so.cache", [cache], ldcache.parse, (b"glibc-ld.so.cache1.1", b"ld.so-1.7.0\0"))
    yield Target("dlopen note", [note[2]], notes.parse, (b"\\ud800",))
    script = [b"#! /usr/bin/env -S FOO=1 python3 -u\n", b"#!/bin/sh -e\n", b"#!/usr/bin/env node\n"]
    yield Target("script", script, _read_script, (b"-S", b"--split-string=", b"\\", b"$" + b"{A}"))
    modules = b"\0/lib/x86_64-linux-gnu/security/\0/sbin/unix_chkpwd\0/etc/security/limits.conf\0"
    yield Target("pam module", [modules], lambda data: (pam.security_directory(data), pam.used_files(data)))


def _read_elf(data: bytes) -> object:
    found = elf.read_elf(data)
    return found and notes.parse(found.dlopen[0]) if found and found.dlopen else found


def _read_script(data: bytes) -> object:
    both = (scripts.shebang(data[: scripts.LINE]), scripts.shebang_of_illumos(data))
    return [one.program for one in both if one]


# --- what people and systems write --------------------------------------------------------------------


def _texts() -> Iterator[Target]:
    profiles = [text.encode() for text in (PROFILE, *PROFILES, *_pieces(PROFILE))]
    yield Target("profile", profiles, _read_profile, PROFILE_WORDS)
    yield Target("profile to add to", profiles, _add)
    yield Target("strace", [STRACE.encode()], lambda data: interpret(strace.calls(_lines(data))), TRACES)
    yield Target("truss", [TRUSS.encode()], lambda data: interpret(truss.calls(_lines(data))), TRACES)
    yield Target("glob", [b"/usr/{a,b}*/[!x-z]?/**", b"*a*b*c*d*", b"/[a-c]{x,{y,z}}"], _read_glob)
    yield Target("mountinfo", [MOUNTS.encode()], _read_mounts, (b"\\777", b"shared:", b" - ", b"28 28 "))
    yield Target("pam", [PAM.encode()], _read_pam, (b"@include login\n", b"auth include login\n", b"["))
    yield Target("nsswitch.conf", [NSSWITCH.encode()], lambda data: nss.services(_text(data), "passwd"))
    yield Target(
        "passwd", [PASSWD.encode(), GROUP.encode()], _read_accounts, (b":", b"::::::", b"4294967295")
    )
    words = (b" or ", b" and ", b"GPL-2+", b"License:", b" " * 9999)
    copyrights = [COPYRIGHT.encode(), b"see /usr/share/common-licenses/GPL-2.\n"]
    yield Target("copyright", copyrights, lambda data: licences.of_copyright(_text(data)), words)
    yield Target("ips manifest", [MANIFEST.encode()], lambda data: list(actions.manifest(_text(data), "m")))
    yield Target("svr4 contents", [CONTENTS.encode()], _read_contents, (b" f none", b"=", b" s ", b" ? "))
    yield Target("svr4 log", [LOG.encode()], _read_log, (b"\n+/", b"\n-/", b"\n=/"))
    yield Target(
        "svr4 pkginfo",
        [b"PKG=SUNWcs\nARCH=i386\nSUNW_PKG_ALLZONES=true\n"],
        lambda data: svr4.pkginfo(_text(data)),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _add(data: bytes) -> str:
    return added(
        data.decode("utf-8", "replace"), LEARNED._replace(places=(Place("/new", "why"),)), "app.toml"
    )


def _lines(data: bytes) -> list[str]:
    return _text(data).splitlines(keepends=True)


def _pieces(profile: str) -> list[str]:
    """Return the tables of a profile, each alone: shorter is quicker."""
    return ["[" + piece for piece in profile.split("\n[")[1:]]


def _read_profile(data: bytes) -> Profile:
    parsed = parse_profile(data.decode("utf-8", "replace"), "app", "app.toml")
    for edit in parsed.edits:
        apply_edit("a line\nabc\n", edit)
    used = {item.text: Profile(name=item.text, where=f"{item.text}.toml") for item in parsed.uses}
    return compose([parsed], used, {})


def _read_glob(data: bytes) -> object:
    pattern = data.decode("utf-8", "replace")
    return is_glob(pattern) and matcher(pattern).fullmatch("/usr/lib/abcdabcdabcd/aaaaaaaaaaaaaaaaaaaaaa")


def _read_mounts(data: bytes) -> object:
    table = mountinfo.parse(_text(data))
    return table.at("/srv"), table.below(Path("/srv")), table.inside("/srv/a b/c")


def _read_pam(data: bytes) -> object:
    texts = {"/etc/pam.d/login": _text(data), "/etc/pam.d/common": _text(data[::-1])}
    return [pam.command(step) for step in pam.stack("login", "profile", texts.get).steps]


def _read_accounts(data: bytes) -> object:
    text = _text(data)
    users, groups = accounts.parse_passwd(text), accounts.parse_group(text)
    return accounts.zone_accounts(text, text, set(users), set(groups), {33}, {0}, lambda _: True)


def _read_contents(data: bytes) -> object:
    return [contents.parse(line, "contents") for line in contents.index(_text(data), "contents").values()]


def _read_log(data: bytes) -> object:
    lines = contents.index(CONTENTS, "contents")
    contents.merge(lines, _text(data), "log")
    return [contents.parse(line, "contents") for line in lines.values()]


# --- what we wrote ourselves, once --------------------------------------------------------------------


def _ours(scratch: Path) -> Iterator[Target]:
    link = record("/etc/link", type=FileType.SYMLINK, target="x", sha256=None, method=Method.SYMLINK)
    records = [record("/usr/bin/su"), link]
    whole = receipt.dump(a_receipt(*records))
    yield Target("receipt", [whole], lambda data: receipt.load(data, "receipt.json"), is_json=True)
    manifest = receipt.dump_manifest(records)
    yield Target("manifest", [manifest], lambda data: receipt.load_manifest(data, "m"), is_json=True)
    su = RootPath("/usr/bin/su")
    origins = receipt.Origins(
        {su: (Reason("needed", "/usr/bin/id"),)}, {su: Supplier("login", "1:4", "amd64")}
    )
    reasons = receipt.dump_origins(origins)
    yield Target("reasons", [reasons], lambda data: receipt.load_origins(data, "r"), is_json=True)
    stamp = Stamp(0o755, 0, 0, 10**18)
    binds = Binds("/store/images/1", (RootPath("/usr"),))
    steps = (Step("root/etc/motd", hold=True, put=True), Step("image", hold=False, put=True))
    intent = Intent(
        "populate",
        "/zones/web",
        SUM,
        steps,
        (Touched(".", stamp, stamp),),
        ("/zones",),
        binds,
        binds,
        None,
        "/i",
    )
    yield Target("journal", [journal.dump(intent)], lambda data: journal.load(data, "journal"), is_json=True)
    yield _register(scratch)
    yield _tarball(scratch)


def _register(scratch: Path) -> Target:
    """The store's register of zones, read from its file."""
    for part in ("", *PARTS):
        (scratch / "store" / part).mkdir(mode=0o700)
    store, file = Store(scratch / "store"), scratch / "store/zones/0123"
    seed = b'{"format": 1, "image": "/store/images/1", "made": ["/zones"], "zonepath": "/zones/web"}'

    def read(data: bytes) -> object:
        file.write_bytes(data)
        return store.zones()

    return Target("register", [seed], read, is_json=True)


def _tarball(scratch: Path) -> Target:
    """A zone's tarball, read through; whatever it is called, nothing in it leads out of the root."""
    file = scratch / "zone.tar"

    def read(data: bytes) -> object:
        file.write_bytes(data)
        members = Tarball(file, Room(1 << 24, 1 << 12)).members
        if any(".." in one.path.parts or one.type not in _UNPACKED for one in members):
            raise AssertionError("a name leads out, or there is a device")
        return members

    return Target(
        "tarball", [WHOLE], read, (b"../", b"/etc", b"ustar\0" + b"00", b"30 path=../x\n", b"\0" * 512)
    )


_UNPACKED = (FileType.FILE, FileType.DIR, FileType.SYMLINK)


# --- package databases: files in a tree ---------------------------------------------------------------


def _databases(scratch: Path) -> Iterator[Target]:
    make_dpkg(scratch / "debian")
    info = "/var/lib/dpkg/info"
    for name, path in (
        ("status", "/var/lib/dpkg/status"),
        ("list", f"{info}/tool.list"),
        ("md5sums", f"{info}/tool.md5sums"),
        ("diversions", "/var/lib/dpkg/diversions"),
    ):
        words = (
            b"Package: tool\n",
            b"Status: ",
            b"Conffiles:\n",
            b"install ok installed",
            b" /etc/x 0\n",
            b"/.\n",
        )
        yield _file(f"dpkg {name}", scratch / "debian", path, Dpkg, words)
    root = scratch / "illumos"
    for package in ("SUNWcs", "TRIBshell-ksh93"):
        _write(root / f"var/sadm/pkg/{package}/pkginfo", f"PKG={package}\nARCH=i386\n")
    _write(root / "var/sadm/install/contents", CONTENTS)
    _write(root / "var/pkg/state/installed/catalog.base.C", CATALOG)
    _write(root / "var/pkg/pkg5.image", "[variant]\nvariant.arch = i386\n")
    _write(root / "var/pkg/publisher/openindiana.org/pkg/system%2Fcore/0.5.11", MANIFEST)
    yield _file("svr4 database", root, "/var/sadm/install/contents", Svr4)
    yield _file("ips catalog", root, "/var/pkg/state/installed/catalog.base.C", Ips, is_json=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _file(
    name: str,
    root: Path,
    path: str,
    open_database: Callable[[Tree], Packages],
    words: tuple[bytes, ...] = (),
    *,
    is_json: bool = False,
) -> Target:
    """Return the target that is one file of a database; what programs ask of packages is asked."""
    file = root / path[1:]
    seed = file.read_bytes()
    asked = [RootPath(one) for one in ("/etc/tool.conf", "/usr/bin/login")]

    def read(data: bytes) -> object:
        file.write_bytes(data)
        try:
            packages = open_database(Tree(root))
            return (
                [packages.files(package) for package in packages.installed() if package != "half"],
                [(packages.owner(one), packages.recorded(one)) for one in asked],
                packages.supplier("libx.so.1"),
            )
        finally:
            file.write_bytes(seed)

    return Target(name, [seed], read, words, is_json)
