"""The profile sshd: a zone to log in to, whose host keys nobody else ever had."""

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bootable import PATIENCE, until
from command import partialroot
from needs import needs

pytestmark = needs("root", "mount", "runc", "veth", "glibc", "sshd")

Login = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def key(scratch: Path) -> Path:
    """Somebody's key."""
    file = scratch / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return file


@pytest.fixture
def zone(scratch: Path, store: Path, key: Path) -> Iterator[Path]:
    """A zone of the profile that the key opens, not booted; halted and removed at the end."""
    place = scratch / "zones/ssh"
    public = key.with_suffix(".pub").read_text().strip()
    partialroot("populate", place, "sshd", "shell", "--set", f"key={public}", "--store", store)
    yield place
    partialroot("halt", place, "--store", store, code=None)
    partialroot("remove", place, "--store", store)


@pytest.fixture
def boot(zone: Path, store: Path, key: Path, scratch: Path) -> Callable[[], Login]:
    """Boot the zone; what that returns logs in with the key and runs a command."""

    def up() -> Login:
        (booted,) = partialroot("boot", zone, "--runtime", "runc", "--store", store, "--json").document[
            "zones"
        ]
        options = (
            f"-i {key} -o BatchMode=yes -o UserKnownHostsFile={scratch}/known -o ConnectTimeout={PATIENCE}"
        )
        to = [
            "ssh",
            *shlex.split(options),
            "-o",
            "StrictHostKeyChecking=accept-new",
            f"root@{booted['address']}",
        ]

        def login(*words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
            line = [to[0], *options, *to[1:], *words]
            tries: list[subprocess.CompletedProcess[str]] = []

            def answers() -> bool:
                tries.append(subprocess.run(line, capture_output=True, text=True))
                return "refused" not in tries[-1].stderr

            until(answers, "the zone has made its keys")
            return tries[-1]

        return login

    return up


def host_keys(zone: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (zone / "root/etc/ssh").glob("ssh_host_*")}


def test_a_login_with_a_key(zone: Path, boot: Callable[[], Login]) -> None:
    login = boot()
    done = login("id -un; echo $SSH_CONNECTION | wc -w; readlink /proc/1/exe")
    assert done.stdout.split() == ["root", "4", "/usr/sbin/sshd"], done.stderr
    on_a_terminal = login("readlink /proc/self/fd/0", options=("-tt",))
    assert on_a_terminal.stdout.strip() == "/dev/pts/0", "and nothing is said of a file that is not there"
    assert login("-s", "sftp").returncode == 0, "the sftp subsystem starts, and ends with its input"
    with_password = login("true", options=("-o", "PubkeyAuthentication=no"))
    assert "Permission denied (publickey)" in with_password.stderr


def test_the_zone_makes_its_host_keys_and_keeps_them(
    zone: Path, store: Path, boot: Callable[[], Login]
) -> None:
    assert not host_keys(zone), "none is copied"
    assert boot()("true").returncode == 0
    made = host_keys(zone)
    assert {f"ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")} <= made.keys()
    ours = {file.read_text() for file in Path("/etc/ssh").glob("ssh_host_*")}
    assert not ours & set(made.values())
    partialroot("halt", zone, "--store", store)
    assert boot()("true").returncode == 0, "known by the same key as before"
    assert host_keys(zone) == made
