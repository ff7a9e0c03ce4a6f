"""Hosts that answer by ssh: copy-on-write views of this computer in namespaces of their own.

Each has its own mounts, processes, host name and network: one link to the controller's, and no way out of
there. What a host writes lands in ``upper``, a directory the tests can look at. A host is one process: when
that is killed, everything in it ends.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

NEEDS = ("root", "mount", "overlay", "veth", "sshd")
APART = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--kill-child")
"""Before a command: it has its own network and processes, which end with the tests, however they end."""

# $1 is the host's place, $2 its address, the others are what it must see of other file systems.
HOST = r"""
hostname "$(basename "$1")"
while ! ip link show eth0 >/dev/null 2>&1; do sleep 0.01; done
ip link set lo up; ip address add "$2/24" dev eth0; ip link set eth0 up
cd "$1"
mount -t overlay -o lowerdir=/,upperdir=memory/upper,workdir=memory/work none root
for place in /usr /var /opt /home /root; do # where these are file systems of their own
    ! mountpoint -q "$place" || {
        mkdir -p "memory/more$place/upper" "memory/more$place/work"
        more="upperdir=memory/more$place/upper,workdir=memory/more$place/work"
        mount -t overlay -o "lowerdir=$place,$more" none "root$place"
    }
done
mount -t proc none root/proc
mount -t sysfs none root/sys
mount --rbind /sys/fs/cgroup root/sys/fs/cgroup
mount --rbind /dev root/dev
mount -t tmpfs -o mode=0755 none root/run
mount -t tmpfs -o mode=1777 none root/tmp
mkdir -m 0755 root/run/sshd root/run/before
cp hostkey authorized root/run/sshd
: >root/root/.bashrc
address=$2; shift 2
for place; do
    [ -e "root$place" ] || { mkdir -p "root$place"; mount --rbind "$place" "root$place"; }
done
cd root
pivot_root . run/before
umount -l run/before
exec /usr/sbin/sshd -D -e -f /dev/null -h /run/sshd/hostkey -o "ListenAddress=$address" -o UsePAM=no \
    -o PermitRootLogin=prohibit-password -o AuthorizedKeysFile=/run/sshd/authorized \
    -o "Subsystem=sftp internal-sftp"
"""


class Host(NamedTuple):
    """One host: what it is called, its address on the controller's side, and where its files are."""

    name: str
    address: str
    place: Path
    pid: int

    @property
    def upper(self) -> Path:
        """What was written on it."""
        return self.place / "memory/upper"

    def run(self, script: str) -> str:
        """Run a shell script in it, without ssh; return what it prints."""
        return subprocess.check_output([*self.inside, "sh", "-ec", script], text=True)

    @property
    def inside(self) -> tuple[str, ...]:
        """What stands before a command that is to run in it."""
        return ("nsenter", "--target", _first_process(self.pid), "--all", "--root", "--wd")


class Network(NamedTuple):
    """The hosts, and the controller: its processes end with the network, those in the background, too."""

    hosts: tuple[Host, ...]
    pid: int
    ssh_config: Path

    @property
    def controller(self) -> tuple[str, ...]:
        """What stands before a command that is to run on the controller."""
        return ("nsenter", "--target", _first_process(self.pid), "--net", "--pid", "--mount")


@contextmanager
def network(place: Path, names: tuple[str, ...]) -> Iterator[Network]:
    """Start hosts of these names, and a controller's network that reaches them alone."""
    _make_key(place / "key")
    with ExitStack() as running:
        hub = running.enter_context(_started(*APART, "--mount-proc", "sleep", "infinity"))
        hosts = tuple(
            running.enter_context(_host(place, name, hub, number)) for number, name in enumerate(names, 1)
        )
        found = Network(hosts, hub, _write_ssh_config(place, hosts))
        for host in hosts:
            _wait(partial(_answers, found, host))
        yield found


@contextmanager
def _host(place: Path, name: str, hub: int, number: int) -> Iterator[Host]:
    top = place / name
    for directory in ("memory", "root"):
        (top / directory).mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "none", top / "memory"], check=True)
    for directory in ("upper", "work"):
        (top / "memory" / directory).mkdir()
    _make_key(top / "hostkey")
    (top / "authorized").write_text((place / "key.pub").read_text())
    near, far = f"10.99.{number}.1", f"10.99.{number}.2"
    apart = (*APART, "--mount", "--propagation", "private", "--uts")
    script = ("sh", "-ec", HOST, "sh", str(top), far, sys.base_prefix)
    with (top / "log").open("wb") as log, _started(*apart, *script, log=log.fileno()) as pid:
        link = f"ip link add {name} type veth peer name eth0 netns {pid}"
        up = f"ip address add {near}/24 dev {name}; ip link set {name} up"
        subprocess.run(["nsenter", f"--net=/proc/{hub}/ns/net", "sh", "-ec", f"{link}; {up}"], check=True)
        try:
            yield Host(name, far, top, pid)
        finally:
            subprocess.run(["umount", "--lazy", top / "memory"], check=True)


@contextmanager
def _started(*words: str, log: int | None = None) -> Iterator[int]:
    """Run a process that is ``APART`` until the end; give its number once it has a first process."""
    with subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL) as process:
        try:
            _wait(lambda: _children(process.pid))
            yield process.pid
        finally:
            process.kill()


def _first_process(pid: int) -> str:
    """Return the number of the first process in what ``APART`` has made."""
    return _children(pid)[0]


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def _write_ssh_config(place: Path, hosts: tuple[Host, ...]) -> Path:
    """Write what ssh shall know: the hosts' keys, ours, and nothing of the user's."""
    keys = [f"{host.address} {(host.place / 'hostkey.pub').read_text()}" for host in hosts]
    (place / "known_hosts").write_text("".join(keys))
    settings = {
        "User": "root",
        "IdentityFile": place / "key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": place / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    config = place / "ssh_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    return config


def _answers(found: Network, host: Host) -> bool:
    words = [*found.controller, "ssh", "-F", str(found.ssh_config), host.address, "true"]
    return subprocess.run(words, capture_output=True).returncode == 0


def _wait(is_so: Callable[[], object], seconds: float = 300) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
