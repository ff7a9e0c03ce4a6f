"""A global zone after a while: edited, named, with keys, accounts, zones and logs of its own."""

import os
from pathlib import Path

import zone_files

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n"

EDITS = {
    "etc/passwd": "jack:x:1001:10:default user:/export/home/jack:/bin/bash\n",
    "etc/shadow": "jack:$6$salt$ZVW1xZ5BC7vO0yV8R2jV:19000::::::\n",
    "etc/user_attr": "jack::::type=normal;roles=root\n",
    "etc/inet/hosts": "192.168.11.7 globalhost\n",
    "etc/inet/secret/ike.preshared": "{ localid 192.168.11.7 key 1234abcd }\n",
    "etc/motd": "This machine is ours\n",
    "etc/zones/index": "web:running:/export/zones/web:3f0b9c1e-0000-4000-8000-000000000001\n",
    "var/adm/wtmpx": "jack console\n",
    "var/spool/cron/crontabs/root": "0 3 * * * /root/backup\n",
}
"""Lines that were added to packaged files that may be edited."""

OWN = {
    "etc/nodename": (0o644, "globalhost\n"),
    "etc/hostname.e1000g0": (0o644, "globalhost\n"),
    "etc/defaultrouter": (0o644, "192.168.11.1\n"),
    "etc/resolv.conf": (0o644, "nameserver 192.168.11.1\n"),
    "etc/hostid": (0o644, '"12345678"\n'),
    "etc/krb5/krb5.keytab": (0o600, "\x05\x02\0\0\0\x3f"),
    "etc/ssh/ssh_host_rsa_key": (0o600, KEY),
    "etc/ssh/ssh_host_rsa_key.pub": (0o644, "ssh-rsa AAAA root@globalhost\n"),
    "etc/svc/repository.db": (0o600, "SQLite\n"),
    "etc/zones/web.xml": (0o644, '<zone name="web" zonepath="/export/zones/web"/>\n'),
    "root/.bash_history": (0o600, "zpool destroy tank\n"),
    "root/.ssh/id_ed25519": (0o600, KEY),
    "var/adm/messages": (0o644, "Nov  1 12:00:00 globalhost genunix: [ID 936769] hello\n"),
}
"""Files that no package has: what they hold, and their modes."""

PRIVATE = {"root/.ssh": 0o700}
LATER = 1_735_689_600  # seconds: all this happened on 1 January 2025


def live_in(zone: Path) -> Path:
    """Change a zone that globalzone.build() made into one that has been used, and return it."""
    for path, line in EDITS.items():
        place = zone / path
        place.write_text(place.read_text() + line)
        os.utime(place, (LATER, LATER))
    for path, mode in PRIVATE.items():
        (zone / path).mkdir(mode=mode)
    for path, (mode, text) in OWN.items():
        place = zone / path
        place.parent.mkdir(exist_ok=True)
        zone_files.write(str(place), text.encode(), mode, zone_files.owners(), "root", "root")
    return zone
