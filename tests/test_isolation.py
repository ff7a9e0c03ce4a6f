"""What a zone's root can do to its host: nothing. Every attack is shown to work where one wall is taken down.

The zone is run by ``runc run --bundle ZONEPATH``: its configuration alone must confine it.
"""

import ctypes
import os
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bootable import PATIENCE, Zone, bootable, make_bootable, until
from needs import needs

__all__ = ["bootable", "make_bootable"]  # fixtures

pytestmark = needs("root", "runc", "gcc", "busybox", "setpriv")

NAME = f"partialroot-test-{os.getpid()}"
ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[platform.machine()]
KEYCTL_UNLINK, USER_KEYRING = 9, -4

CONFINED = {
    "write": "EROFS",
    "chmod": "EROFS",
    "handle": "EPERM",
    "remount": "EPERM",
    "unmount": "EPERM",
    "link": "EXDEV",
    "link_descriptor": "EXDEV",
    "mknod": "EPERM",
    "abstract_socket": "ECONNREFUSED",
    "signal": "ESRCH",
    "ptrace": "ESRCH",
    "sysctl": "EROFS",
    "keyring": "EPERM",
    "user_namespace": "EPERM",
    "clone_user_namespace": "EPERM",
    "remount_in_user_namespace": "EPERM",
    "handle_in_user_namespace": "EPERM",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attacks, compiled into a static program."""
    program = tmp_path_factory.mktemp("attack") / "attack"
    source = Path(__file__).with_name("attack.c")
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    return program


@pytest.fixture
def target() -> Iterator[int]:
    """A process of the host's root that has no capabilities, so that only its namespace protects it."""
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    with subprocess.Popen([*bare, "sleep", "1000"]) as process:
        until(
            lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[0], "it sleeps"
        )
        yield process.pid
        process.kill()


@pytest.fixture
def host(target: int) -> Iterator[dict[str, str]]:
    """What the attacks need to know of the host, which has an abstract socket and a key."""
    libc = ctypes.CDLL(None)
    key = libc.syscall(ADD_KEY, b"user", NAME.encode(), b"secret", 6, USER_KEYRING)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{NAME}")
        listener.listen()
        yield {
            "mknod": str(os.stat("/usr").st_dev),
            "abstract_socket": NAME,
            "keyring": NAME,
            "signal": str(target),
            "ptrace": str(target),
        }
    libc.syscall(KEYCTL, KEYCTL_UNLINK, key, USER_KEYRING)


Attack = Callable[..., dict[str, str]]


@pytest.fixture
def attack(bootable: Zone, program: Path, host: dict[str, str]) -> Attack:
    """A function that runs attacks in a zone whose configuration was changed, and returns how each went."""
    (bootable.root / "attack").write_bytes(program.read_bytes())
    (bootable.root / "attack").chmod(0o755)

    def run(*names: str, change: Callable[[Any], object] = lambda config: None) -> dict[str, str]:
        config = bootable.configure("")
        config["process"]["args"] = ["/attack", *(f"{name}={host.get(name, '')}" for name in names)]
        change(config)
        bootable.write(config)
        with container(bootable.path) as words:
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
        return dict(line.split(": ") for line in done.stdout.splitlines())

    return run


@contextmanager
def container(zonepath: Path) -> Iterator[list[str]]:
    """Give the command that runs a zone without us; what it leaves is deleted."""
    try:
        yield ["runc", "run", "--bundle", str(zonepath), NAME]
    finally:
        subprocess.run(["runc", "delete", "--force", NAME], check=True)


def test_nothing_works(attack: Attack, bootable: Zone) -> None:
    before = bootable.victim.stat()
    assert attack(*CONFINED) == CONFINED
    after = bootable.victim.stat()
    assert bootable.victim.read_text() == "the host's\n"
    assert (before.st_mode, before.st_ctime_ns) == (after.st_mode, after.st_ctime_ns)


def test_nothing_works_where_the_host_s_binds_are_up(attack: Attack, bootable: Zone) -> None:
    point = bootable.root / "usr"
    subprocess.run(["mount", "--bind", bootable.path / "image/usr", point], check=True)  # even if writable
    try:
        assert attack(*CONFINED) == CONFINED
    finally:
        subprocess.run(["umount", point], check=True)


def test_the_shared_files_are_safe_without_the_filter_of_system_calls(attack: Attack) -> None:
    """In a user namespace of its own a process has all capabilities, but not over these mounts and files."""
    held = {name: CONFINED[name] for name in CONFINED if "user_namespace" not in name and name != "keyring"}
    assert attack(*held, change=without_filter) == held
    assert attack("remount_in_user_namespace", change=without_filter) == {
        "remount_in_user_namespace": "EPERM"
    }
    assert attack("handle_in_user_namespace", change=without_filter) == {"handle_in_user_namespace": "EPERM"}


# --- each wall taken down ---------------------------------------------------------------------------


def capability(name: str) -> Callable[[Any], None]:
    """Return a change that gives a capability."""

    def change(config: Any) -> None:
        for given in config["process"]["capabilities"].values():
            given.append(f"CAP_{name}")

    return change


def without_namespace(kind: str) -> Callable[[Any], None]:
    """Return a change that shares the host's namespace of a kind."""

    def change(config: Any) -> None:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [space for space in spaces if space["type"] != kind]

    return change


def without_filter(config: Any) -> None:
    del config["linux"]["seccomp"]


def writable_sysctls(config: Any) -> None:
    config["linux"]["readonlyPaths"].remove("/proc/sys")


def writable_share(config: Any) -> None:
    config["mounts"][-1]["options"].remove("ro")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("handle", capability("DAC_READ_SEARCH")),
        ("remount", capability("SYS_ADMIN")),
        ("unmount", capability("SYS_ADMIN")),
        ("mknod", capability("MKNOD")),
        ("write", writable_share),
        ("chmod", writable_share),
        ("abstract_socket", without_namespace("network")),
        ("signal", without_namespace("pid")),
        ("ptrace", without_namespace("pid")),
        ("sysctl", writable_sysctls),
        ("keyring", without_filter),
        ("user_namespace", without_filter),
        ("clone_user_namespace", without_filter),
    ],
)
def test_each_attack_works_where_its_wall_is_down(
    attack: Attack, name: str, change: Callable[[Any], None]
) -> None:
    assert attack(name, change=change) == {name: "done"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("handle", capability("DAC_READ_SEARCH")),
        ("remount", capability("SYS_ADMIN")),
        ("write", writable_share),
    ],
)
def test_such_an_attack_reaches_the_host_s_file(
    attack: Attack, bootable: Zone, name: str, change: Callable[[Any], None]
) -> None:
    attack(name, change=change)
    assert bootable.victim.read_text() == "the zone's\n"


@pytest.mark.parametrize("name", ["link", "link_descriptor"])
def test_links_out_are_stopped_by_the_mount_alone(attack: Attack, bootable: Zone, name: str) -> None:
    def without_mount(config: Any) -> None:
        del config["mounts"][-1]

    (bootable.root / "usr/share").mkdir()
    os.link(bootable.victim, bootable.root / "usr/share/victim")
    assert attack(name, change=without_mount) == {name: "done"}
