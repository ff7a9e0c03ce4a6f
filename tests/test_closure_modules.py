"""Name services and PAM: the configuration read as glibc and Linux-PAM do, the modules with their needs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from objects import make_elf

from partialroot.closure import Closure, Wanted, closure
from partialroot.closure.modules import nss, pam
from partialroot.closure.modules.pam import Stack, Step
from partialroot.nodes import Item, Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

NSSWITCH = """
# comment
passwd:  files systemd [NOTFOUND=return] ldap # more
group:files [SUCCESS=merge] systemd
  hosts: files mdns4_minimal [NOTFOUND=return] dns files
broken line
"""


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("passwd", ("files", "systemd", "ldap")),
        ("group", ("files", "systemd")),
        ("initgroups", ("files", "systemd")),
        ("hosts", ("files", "mdns4_minimal", "dns")),
        ("shadow", ("files",)),
    ],
)
def test_services(database: str, expected: tuple[str, ...]) -> None:
    assert nss.services(NSSWITCH, database) == expected


def test_services_without_a_word_about_them() -> None:
    assert nss.services("", "hosts") == ("files", "dns")
    assert nss.services("", "passwd") == ("files",)


def test_what_is_built_in() -> None:
    assert nss.is_built_in("files", (2, 36))
    assert not nss.is_built_in("files", (2, 31))
    assert not nss.is_built_in("systemd", (2, 36))


@given(st.text(max_size=200), st.sampled_from(["passwd", "hosts", "x"]))
def test_any_text_is_an_nsswitch(text: str, database: str) -> None:
    for service in nss.services(text, database):
        assert service
        assert not re.search(r"[\s#]", service)


FILES = {
    "/etc/pam.d/login": """
# the login service
auth       optional   pam_faildelay.so  delay=3
auth       requisite  pam_nologin.so\\
 file=/etc/nologin
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close
@include common-auth
account    include    accounts
-session   required   pam_systemd.so
session    substack   accounts
AUTH       sufficient /opt/pam_own.so  # the end
nonsense   required   pam_nonsense.so
""",
    "/etc/pam.d/common-auth": "auth [default=ignore] pam_unix.so nullok\nauth required pam_deny.so\n",
    "/usr/lib/pam.d/accounts": "account required pam_unix.so\n@include none\n@include login\n",
}


def stack(service: str, files: dict[str, str]) -> Stack:
    return pam.stack(service, "p.toml:1", files.get)


def test_stacks() -> None:
    found = stack("login", FILES)
    assert found.files == (
        ("/etc/pam.d/login", "p.toml:1"),
        ("/etc/pam.d/common-auth", "/etc/pam.d/login"),
        ("/usr/lib/pam.d/accounts", "/etc/pam.d/login"),
    )
    assert found.absent == (("/etc/pam.d/none", "/usr/lib/pam.d/accounts"),)
    login, common, accounts = (path for path, _ in found.files)
    assert found.steps == (
        Step(login, "pam_faildelay.so", "warning", ("delay=3",)),
        Step(login, "pam_nologin.so", "error", ("file=/etc/nologin",)),
        Step(login, "pam_selinux.so", "", ("close",)),
        Step(common, "pam_unix.so", "error", ("nullok",)),
        Step(common, "pam_deny.so", "error", ()),
        Step(accounts, "pam_unix.so", "error", ()),
        Step(login, "pam_systemd.so", "", ()),
        Step(login, "/opt/pam_own.so", "warning", ()),
    )


def test_the_single_file_of_old() -> None:
    text = "login auth required pam_a.so\nother auth required pam_b.so\nlogin\tsession optional pam_c.so\n"
    found = stack("login", {"/etc/pam.conf": text})
    assert [step.module for step in found.steps] == ["pam_a.so", "pam_c.so"]
    assert found.files == (("/etc/pam.conf", "p.toml:1"),)


def test_a_service_that_is_not_there() -> None:
    assert stack("none", FILES) == Stack((), (), (("/etc/pam.d/none", "p.toml:1"),))


@given(st.text(alphabet="auth session-@include[]=#\\\n\t./x", max_size=200))
def test_any_text_is_a_stack(text: str) -> None:
    for step in stack("x", {"/etc/pam.d/x": text}).steps:
        assert step.module


def test_what_is_built_into_libraries() -> None:
    assert (
        pam.security_directory(b"\0/etc/pam.d\0/lib/x86_64-linux-gnu/security/\0")
        == "/lib/x86_64-linux-gnu/security"
    )
    assert pam.security_directory(b"\0/etc/security/x\0") is None
    names = [
        "/sbin/unix_chkpwd",
        "/etc/security/limits.conf",
        "/etc/security/d/*.conf",
        "/bin/sh",
        "/etc/shadow",
    ]
    text = "\0".join(["", *names, ""]).encode()
    assert pam.used_files(text) == ("/sbin/unix_chkpwd", "/etc/security/limits.conf")


def test_pam_exec_runs_a_command() -> None:
    step = Step("/etc/pam.d/x", "pam_exec.so", "error", ("quiet", "type=auth", "/usr/bin/tool", "/x"))
    assert pam.command(step) == "/usr/bin/tool"
    assert pam.command(step._replace(module="pam_env.so")) is None


# --- in the closure: a root of handmade objects, for a machine this one need not be -------------------------

LOADER = "/lib/ld64.so.1"
DIRECTORY = "/lib/s390x-linux-gnu"
SYSTEM = b"\0%s/\0/usr%s/\0/lib/\0/usr/lib/\0glibc-ld.so.cache1.1\0release version %s.\0"
NEEDED, SONAME = 1, 14

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make files of a big-endian system with a login program, its linker and libraries."""

    def write(path: str, data: bytes, mode: int = 0o644) -> None:
        place = tmp_path / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(mode)

    def elf(path: str, *needed: str, tail: bytes = b"", program: bool = False) -> None:
        entries = [(NEEDED, name) for name in needed]
        if not program:
            entries.append((SONAME, path.rpartition("/")[2]))
        interpreter = LOADER if program else None
        write(
            path, make_elf(little=False, machine=22, interpreter=interpreter, entries=entries) + tail, 0o755
        )

    release(write)
    elf(f"{DIRECTORY}/libc.so.6", "ld64.so.1")
    elf(f"{DIRECTORY}/libpam.so.0", "libc.so.6", tail=b"\0" + DIRECTORY.encode() + b"/security/\0")
    elf("/usr/bin/login", "libpam.so.0", "libc.so.6", program=True)
    elf(f"{DIRECTORY}/libextra.so.1", "libc.so.6")
    return lambda path, *rest, **more: (write if rest and isinstance(rest[0], bytes) else elf)(
        path, *rest, **more
    )


def release(write: Callable[[str, bytes, int], None], number: bytes = b"2.36") -> None:
    directory = DIRECTORY.encode()
    system = SYSTEM % (directory, directory, number)
    write(LOADER, make_elf(little=False, machine=22, entries=[(SONAME, "ld64.so.1")]) + system, 0o755)


def closed(root: Path, *, databases: str = "", services: str = "", nsswitch: str = NSSWITCH) -> Closure:
    return closure(
        Tree(root),
        [Wanted(RootPath("/usr/bin/login"), Reason("program", "p.toml:1"))],
        nss=[Item(name, "p.toml:2") for name in databases.split()],
        pam=[Item(name, "p.toml:3") for name in services.split()],
        nsswitch=nsswitch,
    )


def missing(found: Closure) -> set[tuple[str, str, str]]:
    return {(one.name, one.needed_by, one.severity) for one in found.missing}


def test_another_machines_root(tmp_path: Path, make: Make) -> None:
    found = closed(tmp_path)
    assert found.missing == ()
    assert found.warnings == ()
    assert set(found.reasons) == {
        "/usr/bin/login",
        LOADER,
        f"{DIRECTORY}/libpam.so.0",
        f"{DIRECTORY}/libc.so.6",
    }


def test_name_services(tmp_path: Path, make: Make) -> None:
    make(f"/usr{DIRECTORY}/libnss_systemd.so.2", "libextra.so.1", "libnone.so.1")
    found = closed(tmp_path, databases="passwd hosts")
    assert found.reasons[RootPath(f"/usr{DIRECTORY}/libnss_systemd.so.2")] == (Reason("nss", "p.toml:2"),)
    assert RootPath(f"{DIRECTORY}/libextra.so.1") in found.reasons
    assert missing(found) == {
        ("libnss_ldap.so.2", "p.toml:2", "warning"),
        ("libnss_mdns4_minimal.so.2", "p.toml:2", "warning"),
        ("libnone.so.1", f"/usr{DIRECTORY}/libnss_systemd.so.2", "warning"),
    }


def test_files_and_dns_were_modules_once(tmp_path: Path, make: Make) -> None:
    release(lambda path, data, mode: make(path, data, mode), b"2.31")
    make(f"{DIRECTORY}/libnss_files.so.2")
    found = closed(tmp_path, databases="hosts", nsswitch="")
    assert f"{DIRECTORY}/libnss_files.so.2" in found.reasons
    assert missing(found) == {("libnss_dns.so.2", "p.toml:2", "warning")}


def test_pam_modules(tmp_path: Path, make: Make) -> None:
    for path, text in FILES.items():
        make(path, text.encode())
    security = f"{DIRECTORY}/security"
    make(f"{security}/pam_unix.so", "libextra.so.1", tail=b"\0/sbin/unix_chkpwd\0/etc/security/own.conf\0")
    make("/sbin/unix_chkpwd", "libc.so.6", "libhelp.so", program=True)
    make("/etc/security/own.conf", b"")
    make(f"{security}/pam_systemd.so", "libabsent.so")
    make("/etc/pam.d/other", b"auth required pam_deny.so\n")
    found = closed(tmp_path, services="login")
    reasons = {str(path): reasons[0] for path, reasons in found.reasons.items()}
    assert reasons["/etc/pam.d/login"] == Reason("pam", "p.toml:3")
    assert reasons["/etc/pam.d/common-auth"] == Reason("pam", "/etc/pam.d/login")
    assert reasons["/etc/pam.d/other"] == Reason("pam", "p.toml:3")
    assert reasons[f"{security}/pam_unix.so"] == Reason("pam", "/etc/pam.d/common-auth")
    assert reasons["/sbin/unix_chkpwd"] == Reason("pam", f"{security}/pam_unix.so")
    assert reasons["/etc/security/own.conf"] == Reason("pam", f"{security}/pam_unix.so")
    assert reasons[f"{DIRECTORY}/libextra.so.1"] == Reason("needed", f"{security}/pam_unix.so")
    assert missing(found) == {
        (f"{security}/pam_faildelay.so", "/etc/pam.d/login", "warning"),
        (f"{security}/pam_nologin.so", "/etc/pam.d/login", "error"),
        (f"{security}/pam_deny.so", "/etc/pam.d/common-auth", "error"),
        (f"{security}/pam_deny.so", "/etc/pam.d/other", "error"),
        ("/opt/pam_own.so", "/etc/pam.d/login", "warning"),
        ("/etc/pam.d/none", "/usr/lib/pam.d/accounts", "error"),
        ("libhelp.so", "/sbin/unix_chkpwd", "warning"),
        ("libabsent.so", f"{security}/pam_systemd.so", "warning"),
    }


def test_a_service_without_a_file(tmp_path: Path, make: Make) -> None:
    """libpam then uses other, if there is that."""
    assert missing(closed(tmp_path, services="sshd")) == {("/etc/pam.d/sshd", "p.toml:3", "error")}
    make("/etc/pam.d/other", b"# nothing\n")
    assert missing(closed(tmp_path, services="sshd")) == {("/etc/pam.d/sshd", "p.toml:3", "warning")}


def test_a_profiles_text_is_the_services_file(tmp_path: Path, make: Make) -> None:
    make("/etc/pam.d/login", b"auth required pam_source.so\n")
    make(f"{DIRECTORY}/security/pam_zone.so")
    login = RootPath("/etc/pam.d/login")
    found = closure(
        Tree(tmp_path),
        [Wanted(RootPath("/usr/bin/login"), Reason("program", "p.toml:1"))],
        pam=[Item("login", "p.toml:3")],
        texts={login: b"auth required pam_zone.so\n"},
    )
    assert found.missing == ()
    assert found.reasons[RootPath(f"{DIRECTORY}/security/pam_zone.so")] == (Reason("pam", login),)


@needs("glibc")
@pytest.mark.skipif(not Path("/etc/pam.d/login").exists(), reason="no login service here")
def test_this_systems_login() -> None:
    found = closure(
        Tree(Path("/")),
        [Wanted(RootPath("/bin/login"), Reason("program", "p.toml:1"))],
        nss=[Item("passwd", "p.toml:2")],
        pam=[Item("login", "p.toml:3")],
        nsswitch=Path("/etc/nsswitch.conf").read_text(),
    )
    names = {path.name for path in found.reasons}
    assert {"pam_unix.so", "unix_chkpwd", "common-auth", "other", "libpam.so.0"} <= names
    assert not [one for one in found.missing if one.severity == "error"]
