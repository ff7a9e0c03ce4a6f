"""Which files of a source are secrets or say who the machine is: they leave it only when asked for by name.

Three signs: the place (shadow, host keys, machine-id, places where programs keep credentials), the first
bytes (private keys), and in /etc the permissions.
"""

import re
from functools import cache

from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

_PLACES: dict[str, tuple[str, ...]] = {
    "it holds password hashes": (
        r"/etc/(g?shadow|security/opasswd)([-.~+].*)?",
        r"/etc/tcb/.*",
        r"/etc/oshadow",  # illumos: what pwconv(8) saved
        r"/var/smb/smbpasswd",
        r"/etc/.*/\.?htpasswd[^/]*",
    ),
    "it identifies this machine": (
        r"/etc/ssh/ssh_host_.*",
        r"/etc/dropbear/.*_host_key",
        r"/(etc|var/lib/dbus)/machine-id",
        r"/etc/hostid",
        r"/etc/nvme/host(nqn|id)",
        r"/etc/iscsi/initiatorname\.iscsi",
        r"/var/lib/(systemd|urandom|misc|random)/random-seed",
        r"/var/lib/cloud/.*",
        r"/etc/(nodename|hostname6?\.[^/]*)",  # illumos; on Linux a name in /etc/hostname is no identity
        r"/etc/zones/.*",
        r"/etc/svc/repository[^/]*",
    ),
    "it holds a key or a password": (
        r"/etc/(.*/)?private/.*",
        r"/etc/letsencrypt/(accounts|archive|keys|live)/.*",
        r"/etc/netplan/.*",
        r"/etc/NetworkManager/system-connections/.*",
        r"/etc/wpa_supplicant/.*\.conf",
        r"/etc/(wireguard|tinc|credstore(\.encrypted)?|cryptsetup-keys\.d)/.*",
        r"/etc/ppp/.*-secrets",
        r"/etc/((strongswan/)?ipsec\.secrets|davfs2/secrets)",
        r"/etc/apt/auth\.conf(\.d/.*)?",
        r"/etc/(sssd/sssd\.conf|bind/rndc\.key|exim4/passwd\.client|mysql/debian\.cnf|krb5\.keytab)",
        r"/etc/(munge/munge\.key|corosync/authkey|docker/key\.json|kubernetes/[^/]*\.conf)",
        r"/etc/(ceph/.*keyring|postfix/sasl.*)",
        r"/etc/.*\.(keytab|p12|pfx)",
        r"/etc/(inet/secret|krb5/private|dladm/secobj\.conf|\.rootkey)(/.*)?",  # illumos, and the next two
        r"/var/(krb5|ldap|idmap|ike)/.*",
        r"(/.*)?/\.nsmbrc",
        r"/var/lib/(samba/private|iwd|tor|private|sss/secrets)/.*",
        r"/var/lib/(systemd/credential\.secret|NetworkManager/secret_key)",
        r"(/.*)?/\.(ssh|gnupg|aws|azure|kube|docker|pki|password-store)/.*",
        r"(/.*)?/\.(netrc|pgpass|my\.cnf|git-credentials|Xauthority|vault-token|pypirc|npmrc|[a-z]+_history)",
    ),
}
_REASONS = tuple(_PLACES)


def secret_reason(path: RootPath, node: Node, head: bytes | None, *, closed: bool = False) -> str | None:
    """Return in words why a regular file is a secret or an identity, None if nothing speaks for it.

    ``path`` is canonical, ``head`` the file's first bytes where the caller has looked at them, ``closed``
    whether it lies in a directory that others may not enter (see :func:`is_closed`).
    """
    if node.type is not FileType.FILE:
        return None
    place = None if path.startswith("/usr/") else _place().fullmatch(path)
    if place is not None:
        return next(reason for number, reason in enumerate(_REASONS) if place[f"_{number}"] is not None)
    if head is not None and (key := key_reason(head)):
        return key
    if path.startswith("/etc/") and (closed or not node.mode & 0o004):
        return "others may not read it"
    return None


def key_reason(head: bytes) -> str | None:
    """Return in words that a file is a secret if its first bytes, ``head``, say so, else None."""
    return "it holds a private key" if _private_key().search(head) else None


@cache
def _place() -> re.Pattern[str]:
    """Return what matches every place; to make it takes longer than many a command that needs none."""
    reasons = (f"(?P<_{number}>{'|'.join(each)})" for number, each in enumerate(_PLACES.values()))
    return re.compile("|".join(reasons), re.DOTALL)


@cache
def _private_key() -> re.Pattern[bytes]:
    return re.compile(
        rb"^[ \t]*-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        rb"|^---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY"
        rb"|^[ \t]*-----BEGIN OpenVPN Static key"
        rb"|^PuTTY-User-Key-File-"
        rb"|^AGE-SECRET-KEY-1"
        rb'|"private_key"\s*:\s*"-----BEGIN '
        rb"|\A\x05[\x01\x02]\0\0",  # a Kerberos keytab
        re.MULTILINE,
    )


def is_closed(tree: Tree, path: RootPath) -> bool:
    """Return whether a directory above the canonical ``path`` keeps others from reaching it."""
    above = (tree.lstat(directory) for directory in path.ancestors)
    return any(node is not None and not node.mode & 0o001 for node in above)
