"""What illumos' libraries open by configuration, and what a brand runs."""

import os
import struct
from pathlib import Path

import pytest
import zone_files
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from sunroot import SunRoot, lazy
from zone_data import DATA

from partialroot.closure import openers
from partialroot.closure.elf import read_elf
from partialroot.closure.modules import brand, sunos_conf, sunos_nss, sunos_pam
from partialroot.errors import Missing, SourceError
from partialroot.nodes import Reason
from partialroot.paths import RootPath

MAIN = "/usr/bin/main"


@pytest.fixture
def zone(tmp_path: Path) -> SunRoot:
    return SunRoot(tmp_path)


# --- name services --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "database", "services"),
    [
        ("passwd: files ldap # nis\n", "passwd", ("files", "ldap")),
        ("passwd: files\n", "shadow", ("files",)),
        ("hosts: files [NOTFOUND=return] dns files\n", "hosts", ("files", "dns")),
        ("", "passwd", ("files", "nis")),
        ("", "hosts", ("nis", "files")),
        ("", "netgroup", ("nis",)),
        ("", "printers", ("user", "files", "nis")),
        ("passwd: compat\npasswd_compat: ldap\n", "passwd", ("compat", "ldap")),
        ("group: compat\n", "group", ("compat", "nis")),
    ],
)
def test_services_of_a_database(text: str, database: str, services: tuple[str, ...]) -> None:
    assert sunos_nss.services(text, database) == services


def test_each_class_has_its_modules_once(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"])
    zone.library("/lib/nss_files.so.1", ["libc.so.1"])
    zone.library("/usr/lib/nss_files.so.1")
    zone.library("/lib/amd64/nss_files.so.1", ["libc.so.1"], bits=64)
    found = zone.closed(MAIN, nss=["passwd"], nsswitch="passwd: files ldap\n")
    assert found.reasons[RootPath("/lib/nss_files.so.1")] == (Reason("nss", "p.toml:2"),)
    assert not {"/usr/lib/nss_files.so.1", "/lib/amd64/nss_files.so.1"} & set(found.reasons)
    assert found.missing == (Missing("nss_ldap.so.1", "p.toml:2", "warning", None),)
    zone.program("/usr/bin/other", ["libc.so.1"], bits=64)
    both = zone.closed(MAIN, "/usr/bin/other", nss=["passwd"], nsswitch="passwd: files\n")
    assert {"/lib/nss_files.so.1", "/lib/64", "/lib/amd64/nss_files.so.1"} <= set(both.reasons)


def test_dns_opens_its_resolver_and_hosts_need_netconfig(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"])
    zone.library("/lib/nss_dns.so.1", ["libc.so.1"])
    zone.library("/lib/libresolv.so.2")
    zone.file("/etc/netconfig", "")
    found = zone.closed(MAIN, nss=["hosts"], nsswitch="hosts: dns\n")
    assert {"/lib/nss_dns.so.1", "/lib/libresolv.so.2", "/etc/netconfig"} <= set(found.reasons)
    assert found.reasons[RootPath("/lib/libresolv.so.2")] == (Reason("dlopen", "/lib/nss_dns.so.1"),)
    for database, needed in (("passwd", False), ("ipnodes", True), ("services", True)):
        found = zone.closed(MAIN, nss=[database], nsswitch=f"{database}: dns\n")
        assert (RootPath("/etc/netconfig") in found.reasons) == needed


# --- what imports tell ----------------------------------------------------------------------------------


def test_what_the_zones_objects_call_is_in_the_table() -> None:
    every = {name.encode() for names in zone_files.imports().values() for name in names}
    assert len(every & openers.ALL) >= 8
    for path in zone_files.objects():
        elf = read_elf(zone_files.content(path, 0o755))
        assert elf is not None
        called = {name.encode() for name in zone_files.imports().get(path, ())}
        assert elf.opens == called & openers.ALL, path


@given(st.integers(0, 2000), st.integers(0, 255), st.integers(0, 2000))
def test_what_damaged_objects_call_is_nothing_or_some(at: int, value: int, end: int) -> None:
    made = bytearray(zone_files.content("/usr/lib/ssh/sshd", 0o755))
    made[at % len(made)] = value
    try:
        elf = read_elf(bytes(made[: max(64, len(made) - end % 400)]))
    except SourceError:
        return
    assert elf is None or elf.opens <= openers.ALL


@pytest.mark.parametrize("function", ["sem_open", "shm_open", "mq_open"])
def test_semaphores_need_the_digests(zone: SunRoot, function: str) -> None:
    zone.program(MAIN, ["libc.so.1"], imports=["printf", function])
    zone.library("/lib/libmd.so.1")
    assert zone.closed(MAIN).reasons[RootPath("/lib/libmd.so.1")] == (Reason("dlopen", MAIN),)
    assert RootPath("/lib/libmd.so.1") not in zone.closed(MAIN, notes=False).reasons


CRYPT = """\
# alg module
1\tcrypt_bsdmd5.so.1
5\t/usr/lib/security/$ISA/crypt_sha256.so.1
6\t/opt/crypt_sha512.so.1 rounds=5000
"""


def test_who_hashes_passwords_gets_the_modules(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"], bits=64, imports=["crypt"])
    zone.file("/etc/security/crypt.conf", CRYPT)
    zone.file("/etc/security/policy.conf", "CRYPT_DEFAULT=6\n")
    zone.link("/usr/lib/security/64", "amd64")
    for path in ("/usr/lib/security/amd64/crypt_bsdmd5.so.1", "/opt/crypt_sha512.so.1"):
        zone.library(path, ["libc.so.1"], bits=64)
    found = zone.closed(MAIN)
    assert {
        *("/etc/security/crypt.conf", "/etc/security/policy.conf", "/opt/crypt_sha512.so.1"),
        *("/usr/lib/security/64", "/usr/lib/security/amd64/crypt_bsdmd5.so.1"),
    } <= set(found.reasons)
    assert found.missing == (
        Missing("/usr/lib/security/64/crypt_sha256.so.1", "/etc/security/crypt.conf", "warning", None),
    )


def test_modules_that_hash_passwords_are_bound_when_they_are_opened(zone: SunRoot) -> None:
    """By libc, with RTLD_NOW (gen/crypt.c): a zone without what they need lazily could hash nothing."""
    zone.program(MAIN, ["libc.so.1"], imports=["crypt"])
    zone.file("/etc/security/crypt.conf", "6 crypt_sha512.so.1\n")
    zone.library("/usr/lib/security/crypt_sha512.so.1", [lazy("libmd.so.1")])
    zone.library("/lib/libmd.so.1", [lazy("libbelow.so.1")])
    zone.library("/lib/libbelow.so.1")
    assert {"/lib/libmd.so.1", "/lib/libbelow.so.1"} <= set(zone.closed(MAIN, lean=True).reasons)


def test_who_only_defines_a_function_does_not_use_it(zone: SunRoot) -> None:
    undefined, defined = (struct.pack("<IIBBH", 0, 0, 0x12, 0, section) for section in (0, 1))
    data = zone.program(MAIN, ["libc.so.1"], imports=["crypt"]).read_bytes()
    zone.file("/etc/security/crypt.conf", CRYPT)
    assert RootPath("/etc/security/crypt.conf") in zone.closed(MAIN).reasons
    zone.file(MAIN, data.replace(undefined, defined), 0o755)
    assert RootPath("/etc/security/crypt.conf") not in zone.closed(MAIN).reasons


def test_names_that_end_alike_are_others(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"], imports=["decrypt", "crypt_"])
    zone.file("/etc/security/crypt.conf", CRYPT)
    assert RootPath("/etc/security/crypt.conf") not in zone.closed(MAIN).reasons


LOOKS_UP = """getaddrinfo getnameinfo gethostbyname gethostbyaddr gethostbyname_r gethostbyaddr_r
getipnodebyname getipnodebyaddr getservbyname getservbyport"""
TRANSPORTS = """t_open netdir_getbyname netdir_getbyaddr rpcb_set rpcb_getaddr svc_create svc_tp_create
svc_tli_create clnt_create clnt_tp_create clnt_tli_create"""


@pytest.mark.parametrize(
    ("functions", "opened"),
    [("crypt crypt_gensalt", "crypt.conf"), (LOOKS_UP, "netconfig"), (TRANSPORTS, "straddr.so")],
)
def test_every_function_that_opens_something_counts(zone: SunRoot, functions: str, opened: str) -> None:
    zone.file("/etc/security/crypt.conf", "")
    zone.file("/etc/netconfig", "ticlts tpi_clts v loopback - /dev/ticlts straddr.so\n")
    zone.library("/usr/lib/straddr.so")
    for function in functions.split():
        zone.program(MAIN, ["libc.so.1"], imports=[function])
        assert any(path.endswith(f"/{opened}") for path in zone.closed(MAIN).reasons), function


def test_transports_of_those_who_use_them(zone: SunRoot) -> None:
    zone.file(
        "/etc/netconfig",
        "udp tpi_clts v inet udp /dev/udp -\nticlts tpi_clts v loopback - /dev/ticlts straddr.so,other.so\n",
    )
    zone.library("/usr/lib/straddr.so.2")
    zone.link("/usr/lib/straddr.so", "straddr.so.2")
    zone.program(MAIN, ["libc.so.1"], imports=["getaddrinfo"])
    found = zone.closed(MAIN)
    assert found.reasons[RootPath("/etc/netconfig")] == (Reason("dlopen", MAIN),)
    assert RootPath("/usr/lib/straddr.so.2") not in found.reasons
    zone.program("/usr/bin/rpc", ["libc.so.1"], imports=["clnt_create"])
    found = zone.closed("/usr/bin/rpc")
    assert {"/usr/lib/straddr.so", "/usr/lib/straddr.so.2"} <= set(found.reasons)
    assert [(one.name, one.severity) for one in found.missing] == [("other.so", "warning")]


# --- plug-ins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "isa"), [(32, ""), (64, "/64")])
def test_who_has_libpkcs11_gets_its_providers(zone: SunRoot, bits: int, isa: str) -> None:
    """They are opened with RTLD_NOW (pkcs11Conf.c): nothing they need is lazy; an absent one is skipped."""
    text = """\
# comment
metaslot: metaslot_status=enabled
/usr/lib/security/$ISA/pkcs11_one.so:disabledlist=CKM_MD5
/usr/lib/security/$ISA/pkcs11_tpm.so
"""
    place = "/lib" if bits == 32 else "/lib/amd64"
    zone.file("/etc/crypto/pkcs11.conf", text)
    zone.program(MAIN, ["libpkcs11.so.1"], bits=bits)
    zone.library(f"{place}/libpkcs11.so.1", bits=bits)
    zone.library(f"/usr/lib/security{isa}/pkcs11_one.so.1", [lazy("libbelow.so.1")], bits=bits)
    zone.link(f"/usr/lib/security{isa}/pkcs11_one.so", "pkcs11_one.so.1")
    zone.library(f"{place}/libbelow.so.1", bits=bits)
    found = zone.closed(MAIN, lean=True)
    origin = RootPath(f"{place}/libpkcs11.so.1")
    assert found.reasons[RootPath("/etc/crypto/pkcs11.conf")] == (Reason("dlopen", origin),)
    provider = RootPath(f"/usr/lib/security{isa}/pkcs11_one.so.1")
    assert found.reasons[provider] == (Reason("dlopen", "/etc/crypto/pkcs11.conf"),)
    assert RootPath(f"{place}/libbelow.so.1") in found.reasons
    absent = f"/usr/lib/security{isa}/pkcs11_tpm.so"
    assert found.missing == (Missing(absent, "/etc/crypto/pkcs11.conf", "warning", None),)
    assert provider not in zone.closed(MAIN, notes=False).reasons


@pytest.mark.parametrize(("bits", "place"), [(32, "/usr/lib/gss"), (64, "/usr/lib/amd64/gss")])
def test_who_has_libgss_gets_its_mechanisms(zone: SunRoot, bits: int, place: str) -> None:
    rows = ("# name oid library", "kerberos_v5 1.2 mech_krb5.so kmech", "spnego 1.3 none.so.1 [ x ]", "x 1.4")
    zone.file("/etc/gss/mech", "\n".join(rows))
    zone.program(MAIN, ["libgss.so.1"], bits=bits)
    zone.library("/lib/libgss.so.1" if bits == 32 else "/lib/amd64/libgss.so.1", bits=bits)
    zone.library(f"{place}/mech_krb5.so", [lazy("libnone.so.1")], bits=bits)
    found = zone.closed(MAIN, lean=True)
    assert found.reasons[RootPath(f"{place}/mech_krb5.so")] == (Reason("dlopen", "/etc/gss/mech"),)
    assert {(one.name, one.severity) for one in found.missing} == {
        (f"{place}/none.so.1", "warning"),
        ("libnone.so.1", "warning"),
    }


def test_who_has_libsasl_gets_all_of_its_directory_and_what_these_open(zone: SunRoot) -> None:
    zone.program(MAIN, ["libsasl.so.1"])
    zone.library("/usr/lib/libsasl.so.1")
    zone.library("/usr/lib/libpkcs11.so.1")
    zone.library("/usr/lib/sasl/digestmd5.so.1", ["libpkcs11.so.1"])
    zone.library("/usr/lib/sasl/site-plugin")  # the name tells nothing (libsasl, dlopen.c)
    zone.file("/usr/lib/sasl/README", "none")
    zone.library("/usr/lib/sasl/amd64/digestmd5.so.1", bits=64)
    zone.file("/etc/crypto/pkcs11.conf", "/opt/$ISA/provider.so\n")
    zone.library("/opt/provider.so")
    found = zone.closed(MAIN)
    reason = (Reason("dlopen", "/usr/lib/libsasl.so.1"),)
    assert {path: found.reasons[path] for path in found.reasons if path.startswith("/usr/lib/sasl")} == {
        "/usr/lib/sasl/digestmd5.so.1": reason,
        "/usr/lib/sasl/site-plugin": reason,
    }
    assert RootPath("/opt/provider.so") in found.reasons
    assert found.missing == ()
    zone.program("/usr/bin/other", ["libsasl.so.1"], bits=64)
    zone.library("/usr/lib/amd64/libsasl.so.1", bits=64)
    plugins = {path for path in zone.closed("/usr/bin/other").reasons if path.startswith("/usr/lib/sasl")}
    assert plugins == {"/usr/lib/sasl/amd64/digestmd5.so.1"}  # config.h, PLUGINDIR: there is no link 64


# --- PAM --------------------------------------------------------------------------------------------------


def modules(service: str, **files: str) -> list[str]:
    texts = {name.replace("_", "/"): text for name, text in files.items()}
    texts = {f"/etc/{name.removeprefix('etc/')}": text for name, text in texts.items()}
    stack = sunos_pam.stack(service, "p.toml:1", lambda path: texts.get(path.replace(".", "")))
    return [step.module for step in stack.steps]


PAM = """\
login auth required a.so.1
LOGIN AUTH requisite b.so.1 debug # and why
other auth required c.so.1
other account optional d.so.1
cron account required e.so.1
login session
"""


def test_for_each_type_the_service_comes_before_other() -> None:
    assert modules("login", pamconf=PAM) == ["a.so.1", "b.so.1", "d.so.1"]
    assert modules("zlogin", pamconf=PAM) == ["c.so.1", "d.so.1"]
    assert modules("cron", pamconf=PAM) == ["c.so.1", "e.so.1"]
    assert modules("CRON", pamconf=PAM) == ["c.so.1", "e.so.1"]


def test_files_of_services_come_between() -> None:
    files = {"pamd_zlogin": "auth required f.so.1\n", "pamd_other": "session required g.so.1\n"}
    assert modules("zlogin", pamconf=PAM, **files) == ["f.so.1", "d.so.1", "g.so.1"]
    assert modules("login", pamconf=PAM, **files) == ["a.so.1", "b.so.1", "d.so.1", "g.so.1"]


def test_includes_are_chosen_from_as_well() -> None:
    texts = {
        "/etc/pam.conf": "other auth include common\nother account include /opt/none\n",
        "/usr/lib/security/common": "su auth required a.so.1\nother auth include common\n",
    }
    stack = sunos_pam.stack("su", "p.toml:1", texts.get)
    assert [step.module for step in stack.steps] == ["a.so.1"]
    assert sunos_pam.stack("cron", "p.toml:1", texts.get).steps == ()
    others = {**texts, "/usr/lib/security/common": "other auth required b.so.1\n"}
    cron = sunos_pam.stack("cron", "p.toml:1", others.get)
    assert [step.module for step in cron.steps] == ["b.so.1"]
    assert stack.absent == (("/opt/none", "/etc/pam.conf"),)
    assert dict(stack.files) == {"/etc/pam.conf": "p.toml:1", "/usr/lib/security/common": "/etc/pam.conf"}
    assert sunos_pam.stack("other", "p.toml:1", texts.get).steps == ()  # includes itself, until that ends


@pytest.mark.parametrize(("deep", "modules"), [(32, ["end.so.1"]), (33, [])])
def test_includes_are_followed_thirty_two_deep(deep: int, modules: list[str]) -> None:
    texts = {f"/usr/lib/security/{n}": f"other auth include {n + 1}\n" for n in range(1, deep)}
    texts["/etc/pam.conf"] = "other auth include 1\n"
    texts[f"/usr/lib/security/{deep}"] = "other auth required end.so.1\n"
    assert [step.module for step in sunos_pam.stack("login", "p.toml:1", texts.get).steps] == modules


def test_files_that_include_each_other_twice_end() -> None:
    twice = "other auth include a\nother auth include b\n"
    texts = {f"/usr/lib/security/{name}": twice for name in "ab"} | {"/etc/pam.conf": twice}
    assert sunos_pam.stack("login", "p.toml:1", texts.get).steps == ()


def test_every_module_of_a_stack_must_be_there(zone: SunRoot) -> None:
    zone.program(MAIN, ["libpam.so.1"])
    zone.library("/lib/libpam.so.1", ["libc.so.1"])
    zone.program("/usr/bin/other", ["libc.so.1"], bits=64)
    zone.library("/usr/lib/security/a.so.1", ["passwdutil.so.1"])
    zone.library("/usr/lib/passwdutil.so.1")
    zone.file("/etc/pam.conf", "other auth sufficient a.so.1\nother session optional b.so.1\n")
    found = zone.closed(MAIN, "/usr/bin/other", pam=["su"])
    assert found.missing == (Missing("/usr/lib/security/b.so.1", "/etc/pam.conf", "error", None),)
    assert found.reasons[RootPath("/usr/lib/security/a.so.1")] == (Reason("pam", "/etc/pam.conf"),)
    assert found.reasons[RootPath("/etc/pam.conf")] == (Reason("pam", "p.toml:3"),)
    assert RootPath("/usr/lib/passwdutil.so.1") in found.reasons


@needs("root")  # files of others
@pytest.mark.parametrize(("uid", "mode"), [(0, 0o664), (0, 0o646), (7, 0o644)])
def test_what_others_could_write_is_refused_at_every_login(zone: SunRoot, uid: int, mode: int) -> None:
    """By libpam (pam_framework.c, open_module) and crypt(3C): nothing else would show it."""
    zone.program(MAIN, ["libpam.so.1"], imports=["crypt"])
    zone.library("/lib/libpam.so.1", ["libc.so.1"])
    pam, crypt = "/etc/pam.conf", "/etc/security/crypt.conf"
    zone.file(pam, "other auth required a.so.1\n")
    zone.file(crypt, "")
    module = zone.library("/usr/lib/security/a.so.1")
    assert zone.closed(MAIN, pam=["su"]).warnings == ()
    for place in (zone.root / pam[1:], zone.root / crypt[1:], module):
        place.chmod(mode)
        os.chown(place, uid, 0)
    assert sorted(zone.closed(MAIN, pam=["su"]).warnings) == [
        f"{path}: is refused at every login: it must be root's, and nobody else's to write"
        for path in (pam, crypt, "/usr/lib/security/a.so.1")
    ]


def test_without_a_configuration_that_is_missing(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"])
    assert zone.closed(MAIN, pam=["su"]).missing == (Missing("/etc/pam.conf", "p.toml:3", "error", None),)


@pytest.mark.parametrize(
    ("name", "bits", "path"),
    [
        ("a.so.1", 32, "/usr/lib/security/a.so.1"),
        ("a.so.1", 64, "/usr/lib/security/64/a.so.1"),
        ("/opt/$ISA/a.so.1", 32, "/opt/a.so.1"),
        ("/opt/$ISA/a.so.1", 64, "/opt/64/a.so.1"),
        ("/opt/a.so.1", 64, "/opt/a.so.1"),
    ],
)
def test_where_a_module_is(name: str, bits: int, path: str) -> None:
    assert sunos_conf.module_path(name, bits) == path


@given(st.text(alphabet="otherlginauthsn \t\n#/$.1:,-[]=", max_size=200))
def test_any_text_is_read(text: str) -> None:
    stack = sunos_pam.stack("login", "here", {"/etc/pam.conf": text}.get)
    assert all(not set(step.module) & set(" \t\n#") for step in stack.steps)
    tables = (sunos_conf.crypt_modules, sunos_conf.transport_modules, sunos_conf.pkcs11_providers)
    for names in (table(text, 64) for table in (*tables, sunos_conf.gss_mechanisms)):
        assert all(names) and len(set(names)) == len(names)
    assert all(service.strip() == service != "" for service in sunos_nss.services(text, "other"))


# --- brands ------------------------------------------------------------------------------------------------


def test_what_a_brand_runs_in_its_zone() -> None:
    config = (DATA / "files/usr/lib/brand/whole-root/config.xml").read_text()
    assert brand.programs(config) == (
        ("/sbin/init", "initname"),
        ("/usr/bin/getent", "user_cmd"),
        ("/usr/bin/login", "login_cmd"),
    )


def test_only_elements_of_the_brand_itself_count() -> None:
    config = "<brand><x><initname>/no</initname></x><user_cmd/><login_cmd> /a&amp;b  -f</login_cmd></brand>"
    assert brand.programs(config) == (("/a&b", "login_cmd"),)


@pytest.mark.parametrize("text", ["", "<brand>", "no xml", "<a></b>"])
def test_a_brand_that_is_no_xml(text: str) -> None:
    with pytest.raises(SourceError, match="is no XML"):
        brand.programs(text)


def test_entities_do_not_explode() -> None:
    nested = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<!DOCTYPE brand [<!ENTITY e0 "/x">{nested}]><brand><initname>&e11;</initname></brand>'
    with pytest.raises(SourceError, match="entities of its own"):
        brand.programs(text)
