"""The OCI runtime configuration of a zone: what makes its zonepath a bundle that runc can run.

Pure. The configuration alone must confine the zone, so that a plain ``runc run --bundle ZONEPATH NAME``
is as tight as our own boot: a read-only bind stops only who cannot remount it or open its files by handle.
Field names and meanings: the OCI runtime specification, config.md and config-linux.md.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from partialroot.model import PAUSE, ZoneSettings
from partialroot.paths import STANDARD_PATH, RootPath

Json = dict[str, object]

OCI_VERSION = "1.0.2"

# Docker's default set without MKNOD (the host's disks), NET_RAW (forged packets) and SETFCAP (a file that
# would carry its capabilities out of the zone). None of these reaches beyond the zone's own namespaces
# except AUDIT_WRITE, which only adds records to the host's audit log.
CAPABILITIES = {
    "CAP_AUDIT_WRITE": "login, su and sshd are refused by PAM when they cannot write their audit record",
    "CAP_CHOWN": "a daemon gives its files to the user it will run as",
    "CAP_DAC_OVERRIDE": "the zone's root reads and writes the zone's own files",
    "CAP_FOWNER": "and changes their modes and times",
    "CAP_FSETID": "and keeps their setgid bits while it writes",
    "CAP_KILL": "a service manager stops services of other users",
    "CAP_NET_BIND_SERVICE": "ports below 1024",
    "CAP_SETGID": "a daemon becomes another user: groups",
    "CAP_SETPCAP": "a daemon gives up capabilities for good",
    "CAP_SETUID": "a daemon becomes another user",
    "CAP_SYS_CHROOT": "sshd and its like lock their unprivileged part into a directory",
}

# The files of /proc and /sys that tell of the host or reach its hardware, as `runc spec` lists them.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Seccomp knows a machine's system call tables by these names; all that its kernel may offer must be listed.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
CLONE_NEWUSER = 0x10000000
EPERM, ENOSYS = 1, 38


def bundle_config(
    settings: ZoneSettings, hostname: str, tops: Sequence[RootPath], machine: str
) -> Mapping[str, object]:
    """Return the content of ``config.json`` for a zone with these shared ``tops``.

    ``machine`` is what uname(2) calls the processor. Paths are relative to the bundle, so nothing but the
    host name depends on where that is: zones have the very same objects in common. A zone that starts nothing
    has no ``process``: it cannot be run.
    """
    return {**_common_config(settings, tuple(tops), machine), "hostname": hostname}


@lru_cache(maxsize=64)
def _common_config(settings: ZoneSettings, tops: tuple[RootPath, ...], machine: str) -> Json:
    setuid = settings.start is not None and settings.start.setuid
    config: Json = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "root", "readonly": settings.read_only},
        "mounts": [
            *_system_mounts(),
            *(_scratch_mounts() if settings.read_only else ()),
            *(_shared_mount(top, setuid=setuid) for top in tops),
        ],
        "linux": _linux(settings, machine),
    }
    if settings.start is not None:
        command = (PAUSE,) if settings.start.pause else settings.start.command
        config["process"] = _process(command, setuid=setuid)
    return config


def host_name(zonepath: Path) -> str:
    """Return the zone's host name: its zonepath's last component, as far as a host name allows."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", zonepath.name)[:64].strip("-.") or "zone"


def _process(command: Sequence[str], *, setuid: bool) -> Json:
    """What runs, and with which rights. Its resource limits are those of who boots the zone.

    A number here could only be too low for a server, or refused where the runtime may not raise limits.
    """
    allowed = sorted(CAPABILITIES)
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": list(command),
        "env": [f"PATH={':'.join(STANDARD_PATH)}"],
        "cwd": "/",
        # Neither inheritable nor ambient: who becomes another user must not keep any of them.
        "capabilities": {"bounding": allowed, "effective": allowed, "permitted": allowed},
        "noNewPrivileges": not setuid,
    }


def _mount(destination: str, kind: str, options: str, source: str | None = None) -> Json:
    return {
        "destination": destination,
        "type": kind,
        "source": source or kind,
        "options": options.split(","),
    }


def _system_mounts() -> tuple[Json, ...]:
    """What `runc spec` mounts, but for cgroup: the zone's limits are set and read from outside."""
    devpts = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"
    return (
        _mount("/proc", "proc", "nosuid,noexec,nodev"),
        _mount("/dev", "tmpfs", "nosuid,strictatime,mode=0755,size=65536k"),
        _mount("/dev/pts", "devpts", devpts),
        _mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),  # noqa: S108 (the zone's)
        _mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        _mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
    )


def _scratch_mounts() -> tuple[Json, ...]:
    """The two places a program may count on to write to, where the root itself is read-only.

    They begin as copies of the root's directories. Their size is limited, as killing the zone would not
    free them.
    """
    return (
        _mount("/run", "tmpfs", "nosuid,nodev,tmpcopyup,mode=0755,size=65536k"),
        _mount("/tmp", "tmpfs", "nosuid,nodev,tmpcopyup,mode=1777,size=262144k"),  # noqa: S108 (the zone's)
    )


def _shared_mount(top: RootPath, *, setuid: bool) -> Json:
    """A top of the image; not recursive (``bind``, not ``rbind``), so nothing comes in below it later."""
    options = "bind,ro,nodev,rprivate" if setuid else "bind,ro,nodev,nosuid,rprivate"
    return _mount(top, "bind", options, source=f"image{top}")


def _linux(settings: ZoneSettings, machine: str) -> Json:
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup"]
    if settings.network != "host":
        namespaces.append("network")
    return {
        "namespaces": [{"type": name} for name in namespaces],
        "rootfsPropagation": "rprivate",
        # The runtime adds /dev/null and its like to this.
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READONLY_PATHS),
        "seccomp": _seccomp(machine),
    }


def _seccomp(machine: str) -> Json:
    """Refuse what no namespace and no capability of ours keeps inside the zone.

    Kernel keyrings and the kernel's log are the host's, whoever asks. In a new user namespace a process has
    every capability again: no hole by itself, but the way into most of the kernel's. Filters cannot look
    into clone3's argument, so it is "not there", and the C library falls back to clone.
    """
    new_user = {"index": 0, "value": CLONE_NEWUSER, "valueTwo": CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}
    refused = {"action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(ARCHITECTURES.get(machine, ())),
        "syscalls": [
            {"names": ["add_key", "keyctl", "request_key", "syslog"], **refused},
            {"names": ["clone", "unshare"], "args": [new_user], **refused},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        ],
    }
