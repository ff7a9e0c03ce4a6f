"""Secrets by their place, head and permissions; and all of this system's /etc (P6)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import needs

from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.source.packages import open_packages, pristine
from partialroot.source.secrets import is_closed, secret_reason
from partialroot.source.tree import Tree

HASHES = "it holds password hashes"
IDENTITY = "it identifies this machine"
PLACE = "it holds a key or a password"
KEY = "it holds a private key"
CLOSED = "others may not read it"


def node(mode: int = 0o644, kind: FileType = FileType.FILE) -> Node:
    return Node(kind, mode, 0, 0, 1, 0, 0, 1, 1, 1)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/shadow", HASHES),
        ("/etc/shadow-", HASHES),
        ("/etc/shadow.bak", HASHES),
        ("/etc/shadow~", HASHES),
        ("/etc/gshadow", HASHES),
        ("/etc/gshadow-", HASHES),
        ("/etc/security/opasswd", HASHES),
        ("/etc/apache2/.htpasswd", HASHES),
        ("/etc/machine-id", IDENTITY),
        ("/var/lib/dbus/machine-id", IDENTITY),
        ("/var/lib/systemd/random-seed", IDENTITY),
        ("/etc/ssh/ssh_host_rsa_key", IDENTITY),
        ("/etc/ssh/ssh_host_ed25519_key.pub", IDENTITY),
        ("/etc/hostid", IDENTITY),
        ("/etc/ssl/private/server.pem", PLACE),
        ("/etc/pki/tls/private/a/b", PLACE),
        ("/etc/letsencrypt/live/example.org/fullchain.pem", PLACE),
        ("/etc/krb5.keytab", PLACE),
        ("/etc/apache2/http.keytab", PLACE),
        ("/etc/netplan/50-cloud-init.yaml", PLACE),
        ("/etc/NetworkManager/system-connections/home wifi\n.nmconnection", PLACE),
        ("/etc/wpa_supplicant/wpa_supplicant.conf", PLACE),
        ("/etc/wireguard/wg0.conf", PLACE),
        ("/etc/ppp/chap-secrets", PLACE),
        ("/etc/ipsec.secrets", PLACE),
        ("/etc/davfs2/secrets", PLACE),
        ("/etc/apt/auth.conf.d/private.conf", PLACE),
        ("/etc/kubernetes/admin.conf", PLACE),
        ("/root/.ssh/authorized_keys", PLACE),
        ("/home/a/.ssh/known_hosts", PLACE),
        ("/root/.netrc", PLACE),
        ("/root/.bash_history", PLACE),
        ("/.ssh/id", PLACE),
        ("/etc/oshadow", HASHES),
        ("/var/smb/smbpasswd", HASHES),
        ("/etc/nodename", IDENTITY),
        ("/etc/hostname.net0", IDENTITY),
        ("/etc/hostname6.net0", IDENTITY),
        ("/etc/zones/web.xml", IDENTITY),
        ("/etc/svc/repository.db", IDENTITY),
        ("/etc/svc/repository-boot-20250101_000000", IDENTITY),
        ("/etc/inet/secret/ike.preshared", PLACE),
        ("/etc/inet/secret/ike.privatekeys/0", PLACE),
        ("/etc/krb5/krb5.keytab", PLACE),
        ("/etc/dladm/secobj.conf", PLACE),
        ("/etc/.rootkey", PLACE),
        ("/var/krb5/principal", PLACE),
        ("/var/ldap/ldap_client_cred", PLACE),
        ("/root/.nsmbrc", PLACE),
        ("/etc/passwd", None),
        ("/etc/inet/hosts", None),
        ("/etc/dladm/datalink.conf", None),
        ("/etc/krb5/krb5.conf", None),
        ("/etc/svc/profile/generic.xml", None),
        ("/etc/shadowed", None),
        ("/etc/hostname", None),
        ("/etc/wpa_supplicant/functions.sh", None),
        ("/etc/ssh/sshd_config", None),
        ("/etc/ssl/certs/ca-certificates.crt", None),
        ("/usr/share/keyrings/private/a.gpg", None),
        ("/root/.bashrc", None),
        ("/srv/etc/shadow", None),
    ],
)
def test_by_place(path: str, reason: str | None) -> None:
    assert secret_reason(RootPath(path), node(), None) == reason


@pytest.mark.parametrize(
    ("head", "secret"),
    [
        (b"-----BEGIN PRIVATE KEY-----\n", True),
        (b"-----END CERTIFICATE-----\r\n-----BEGIN RSA PRIVATE KEY-----\r\n", True),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", True),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", True),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", True),
        (b"key: |\n  -----BEGIN EC PRIVATE KEY-----\n", True),
        (b'{"private_key": "-----BEGIN PRIVATE KEY-----\\n', True),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", True),
        (b"# created\nAGE-SECRET-KEY-1QQQ\n", True),
        (b"\x05\x02\0\0\0\x3f", True),
        (b"-----BEGIN PUBLIC KEY-----\n", False),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", False),
        (b'<mime magic="-----BEGIN PGP PRIVATE KEY BLOCK-----" />\n', False),
        (b"", False),
    ],
)
def test_by_the_first_bytes(head: bytes, secret: bool) -> None:
    for path in ("/etc/app/some.conf", "/usr/local/etc/server.pem", "/srv/key"):
        assert secret_reason(RootPath(path), node(), head) == (KEY if secret else None)


def test_by_permission() -> None:
    path = RootPath("/etc/app/app.conf")
    assert secret_reason(path, node(0o640), b"") == CLOSED
    assert secret_reason(path, node(0o604), b"") is None
    assert secret_reason(path, node(0o644), b"", closed=True) == CLOSED
    assert secret_reason(RootPath("/var/lib/app/data"), node(0o600), b"") is None


@pytest.mark.parametrize("kind", [FileType.DIR, FileType.SYMLINK])
def test_only_regular_files_are_secrets(kind: FileType) -> None:
    assert secret_reason(RootPath("/etc/shadow"), node(0o700, kind), None) is None


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Have nobody's rights for a while, without any group."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def files_of_etc() -> tuple[Tree, list[tuple[RootPath, Node]]]:
    tree = Tree(Path("/"))
    return tree, [(path, one) for path, one in tree.walk(RootPath("/etc")) if one.type is FileType.FILE]


def judge(tree: Tree, path: RootPath, one: Node) -> str | None:
    with os.fdopen(tree.open_node(path, one), "rb") as file:
        return secret_reason(path, one, file.read(4096), closed=is_closed(tree, path))


def can_open(path: str) -> bool:
    try:
        with open(path, "rb"):
            return True
    except PermissionError:
        return False


@needs("root")
def test_nothing_in_etc_that_others_cannot_read_gets_out() -> None:
    tree, files = files_of_etc()
    judged = {path: judge(tree, path, one) for path, one in files}
    with as_nobody():
        readable = {path: can_open(path) for path in judged}
    assert not all(readable.values())
    assert {path for path, can in readable.items() if not can} <= {
        path for path, why in judged.items() if why
    }
    assert not {path for path, why in judged.items() if why == CLOSED and readable[path]}


@needs("root", "dpkg")
def test_what_every_debian_has_in_etc_is_no_secret() -> None:
    """A packaged file nobody changed is public; none that others may read is taken for a secret."""
    tree, files = files_of_etc()
    packages = open_packages(tree)
    public = [(path, one) for path, one in files if pristine(tree, packages, path)]
    assert len(public) > 50
    assert {path: why for path, one in public if (why := judge(tree, path, one)) not in (None, CLOSED)} == {}
