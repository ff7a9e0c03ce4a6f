"""What a test needs of the machine, found by trying it, never by looking for uid 0 or a file's name.

``@needs("root", "mount")`` on a test, a class, or as a module's ``pytestmark``; ``require("btrfs")`` in a
fixture. What is missing skips the test with the reason; under ``--strict-needs`` a skip is a failure. The
header of a pytest run lists everything missing here and what installs it.

A new need is a function that returns "" when the thing works, else the reason in words, and a line in
``NEEDS``.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

SECONDS = 180  # for each trial: a machine may have other things to do


class Need(NamedTuple):
    """How to try a thing, and what to do where it does not work: a Debian package, or words."""

    probe: Callable[[], str]
    install: str


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark a test as needing the named things; unknown names fail at once."""
    unknown = set(names) - NEEDS.keys()
    if unknown:
        raise KeyError(f"no such need: {', '.join(sorted(unknown))}; tests/needs.py has {', '.join(NEEDS)}")
    return pytest.mark.needs(*names)


def require(*names: str) -> None:
    """Skip the running test (or what uses the running fixture) unless all the named things work."""
    reasons = [f"needs {name}: {lack(name)}" for name in names if lack(name)]
    if reasons:
        pytest.skip("; ".join(reasons))


@functools.cache
def lack(name: str) -> str:
    """Return why the named thing does not work here, "" if it does."""
    return NEEDS[name].probe()


def packages() -> list[str]:
    """Return the Debian packages that supply all needs, for ``.ci/run``."""
    supplied = {word for need in NEEDS.values() for word in need.install.split() if need.install.islower()}
    return sorted(supplied)


def report() -> list[str]:
    """Return the lines of the pytest header: what is missing here and what installs it."""
    with ThreadPoolExecutor(4) as pool:
        reasons = dict(zip(NEEDS, pool.map(lack, NEEDS), strict=True))
    missing = {name: reason for name, reason in reasons.items() if reason}
    works = f"needs: {len(NEEDS) - len(missing)} of {len(NEEDS)} work here"
    return [works, *(f"  {name}: {reason} ({_remedy(name)})" for name, reason in missing.items())]


def _remedy(name: str) -> str:
    """Return what to do about a need that is not met."""
    install = NEEDS[name].install
    return f"install {install}" if install.islower() else install


# --- ways to try ------------------------------------------------------------------------------------


def _run(*command: str | Path, stdin: str | None = None) -> str:
    """Return "" if the command succeeds, else the first line it said, or its status."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (said[0] if said else f"{command[0]}: exit {done.returncode}")


def _command(*command: str) -> Callable[[], str]:
    """Return a probe that runs a command."""
    return lambda: _run(*command)


def _private(script: str) -> str:
    """Run a shell script in a mount namespace of its own, with a scratch directory as its only argument."""
    with tempfile.TemporaryDirectory(prefix="needs-") as scratch:
        return _run("unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh", scratch)


def _file_system(kind: str, size: str) -> Callable[[], str]:
    """Return a probe that makes a file system of a kind on a loop device and mounts it."""
    script = f'truncate -s {size} "$1/image"; mkfs.{kind} -q "$1/image" && mount -o loop "$1/image" "$1"'
    return lambda: _private(script)


def _root() -> str:
    """Give a file to others: what only root outside of a user namespace can do."""
    with tempfile.NamedTemporaryFile(prefix="needs-") as file:
        try:
            os.chown(file.name, 12345, 23456)
        except OSError as error:
            return f"cannot give a file away: {error.strerror}"
    return ""


def _user_xattr() -> str:
    """Set an extended attribute where the tests' files are."""
    with tempfile.NamedTemporaryFile(prefix="needs-") as file:
        try:
            os.setxattr(file.name, "user.trial", b"1")
        except OSError as error:
            return f"cannot set an extended attribute: {error.strerror}"
    return ""


def _file_capability() -> str:
    """Give a file the capability to open low ports (VFS_CAP_REVISION_2, CAP_NET_BIND_SERVICE)."""
    with tempfile.NamedTemporaryFile(prefix="needs-") as file:
        try:
            os.setxattr(
                file.name, "security.capability", bytes.fromhex("0000000200040000000000000000000000000000")
            )
        except OSError as error:
            return f"cannot give a file a capability: {error.strerror}"
    return ""


def _acl() -> str:
    """Set an ACL where the tests' files are."""
    with tempfile.NamedTemporaryFile(prefix="needs-") as file:
        return _run("setfacl", "-m", "u:12345:r", file.name)


def _compiler() -> str:
    """Compile a program."""
    with tempfile.TemporaryDirectory(prefix="needs-") as scratch:
        return _run("gcc", "-x", "c", "-o", f"{scratch}/a.out", "-", stdin="int main(void) { return 0; }\n")


def _runc() -> str:
    """Run /bin/true as a container whose files are this system's."""
    with tempfile.TemporaryDirectory(prefix="needs-") as scratch:
        root = Path(scratch, "rootfs")
        (root / "usr").mkdir(parents=True)
        tops = [top for top in ("bin", "lib", "lib64", "sbin") if Path("/", top).is_symlink()]
        for top in tops:
            (root / top).symlink_to(Path("/", top).readlink())
        failed = _run("runc", "spec", "--bundle", scratch)
        if failed:
            return failed
        config = json.loads(Path(scratch, "config.json").read_text())
        config["process"] |= {"args": ["/bin/true"], "terminal": False}
        config["mounts"].append({"destination": "/usr", "source": "/usr", "options": ["rbind", "ro"]})
        Path(scratch, "config.json").write_text(json.dumps(config))
        name = f"needs-{os.getpid()}"
        return _run("runc", "--root", f"{scratch}/state", "run", "--bundle", scratch, name)


def _glibc() -> str:
    """Let the dynamic loader list what a program loads: the judge of the closure."""
    loaders = [*Path("/lib64").glob("ld-linux*.so.*"), *Path("/lib").glob("ld-linux*.so.*")]
    if not loaders:
        return "no ld-linux*.so.* in /lib64 or /lib"
    return _run(loaders[0], "--list", "/bin/sh")


def _solaris_zone() -> str:
    """Look for Ansible's module where Debian's package has it: not every installation has that collection."""
    module = (
        "/usr/lib/python3/dist-packages/ansible_collections/community/general/plugins/modules/solaris_zone.py"
    )
    return "" if Path(module).exists() else f"no {module}"


ZFS = """
command -v zfs-fuse zpool >/dev/null
mount -t tmpfs none /run; mkdir /run/zfs /run/lock
truncate -s 128M "$1/pool"
zfs-fuse -n >/dev/null 2>&1 & daemon=$!
trap "kill -9 $daemon" EXIT
while kill -0 $daemon && ! zpool list >/dev/null 2>&1; do sleep 0.1; done
zpool create -m none needs$$ "$1/pool" && zpool destroy needs$$
"""

OVERLAY = """
mount -t tmpfs none "$1"; mkdir "$1/lower" "$1/upper" "$1/work" "$1/merged"
mount -t overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" none "$1/merged"
touch "$1/merged/file"
"""

# Not all of /: something may be mounted somewhere in it, and unmounted just then.
SMALL_ROOT = ("--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64")

VETH = "ip link add name needs0 type veth peer name needs1"

# What supplies it: Debian packages, all in lower case, or a sentence, which has a capital.
NEEDS: dict[str, Need] = {
    "root": Need(_root, "Run as root, outside of any user namespace"),
    "mount": Need(lambda: _private('mount -t tmpfs none "$1"'), "Run with CAP_SYS_ADMIN"),
    "overlay": Need(lambda: _private(OVERLAY), "Run with CAP_SYS_ADMIN on a kernel with overlayfs"),
    "ext4": Need(_file_system("ext4", "16M"), "e2fsprogs"),
    "btrfs": Need(_file_system("btrfs", "128M"), "btrfs-progs"),
    "xfs": Need(_file_system("xfs", "320M"), "xfsprogs"),
    "zfs": Need(lambda: _private(ZFS), "zfs-fuse"),
    "userns": Need(_command("unshare", "-r", "true"), "Allow user namespaces to those who run the tests"),
    "veth": Need(_command("unshare", "-n", "sh", "-ec", VETH), "iproute2"),
    "xattr": Need(_user_xattr, "Have the tests' files on a file system with user xattrs"),
    "acl": Need(_acl, "acl"),
    "capability": Need(_file_capability, "Run with CAP_SETFCAP"),
    "chattr": Need(
        lambda: _private('touch "$1/file"; chattr +i "$1/file"; chattr -i "$1/file"'),
        "Run with CAP_LINUX_IMMUTABLE",
    ),
    "glibc": Need(_glibc, "Run on a system with glibc"),
    "dpkg": Need(_command("dpkg-query", "--search", "/usr/bin/env"), "Run on Debian"),
    "runc": Need(_runc, "runc"),
    "bwrap": Need(_command("bwrap", *SMALL_ROOT, "--unshare-pid", "/usr/bin/true"), "bubblewrap"),
    "sshd": Need(_command("sh", "-c", "test -x /usr/sbin/sshd && ssh -V"), "openssh-server"),
    "solaris_zone": Need(_solaris_zone, "ansible"),
    "setpriv": Need(_command("setpriv", "--bounding-set", "-sys_admin", "true"), "util-linux"),
    "capsh": Need(_command("capsh", "--drop=cap_sys_admin", "--", "-c", "true"), "libcap2-bin"),
    "strace": Need(_command("strace", "-o", "/dev/null", "true"), "strace"),
    "gcc": Need(_compiler, "gcc libc6-dev"),
    "aarch64": Need(_command("aarch64-linux-gnu-as", "--version"), "binutils-aarch64-linux-gnu"),
    "busybox": Need(_command("busybox", "true"), "busybox-static"),
    "node": Need(_command("node", "--eval", "0"), "nodejs"),
    "musl": Need(_command("musl-gcc", "-print-multi-lib"), "musl-tools gcc"),
    "curl": Need(_command("curl", "--version"), "curl"),
    "zsh": Need(_command("zsh", "-c", "true"), "zsh"),
    "skopeo": Need(_command("skopeo", "--version"), "skopeo"),
    "mtree": Need(_command("mtree", "-c", "-d", "-p", "/etc/skel"), "mtree-netbsd"),
    "redis": Need(_command("redis-server", "--version"), "redis-server"),
    "flask": Need(_command("/usr/bin/python3", "-c", "import flask"), "python3-flask"),
    "go": Need(_command("go", "version"), "golang-go"),
    "nginx": Need(_command("nginx", "-v"), "nginx-light"),
    "mandoc": Need(lambda: _run("mandoc", stdin=".Dd Today\n"), "mandoc"),
    "ksh": Need(_command("ksh93", "-c", "true"), "ksh93u+m"),
    "python": Need(_command(sys.executable, "-c", "pass"), "python3"),
}
