"""The OCI configuration: a pure function whose every line confines the zone."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from partialroot.host.linux.oci import CAPABILITIES, MASKED_PATHS, READONLY_PATHS, bundle_config, host_name
from partialroot.model import PAUSE, Start, ZoneSettings
from partialroot.paths import RootPath

# With any of these a zone could get at the host's files or devices, load code into its kernel, or look
# into its processes or packets.
DANGEROUS = """
AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER
LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BROADCAST NET_RAW PERFMON SETFCAP
SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG SYSLOG WAKE_ALARM
"""
SERVE = Start("test", ("/usr/bin/serve", "8000"))
TOPS = (RootPath("/usr"), RootPath("/lib64"))


def config(settings: ZoneSettings, name: str = "web", machine: str = "x86_64") -> Any:
    """Return the configuration as a runtime reads it."""
    return json.loads(json.dumps(bundle_config(settings, host_name(Path("/zones", name)), TOPS, machine)))


def mounts(made: Any) -> dict[str, Any]:
    return {mount["destination"]: mount for mount in made["mounts"]}


def namespaces(made: Any) -> set[str]:
    return {namespace["type"] for namespace in made["linux"]["namespaces"]}


def test_only_harmless_capabilities_are_given() -> None:
    sets = config(ZoneSettings(SERVE))["process"]["capabilities"]
    assert sets == dict.fromkeys(["bounding", "effective", "permitted"], sorted(CAPABILITIES))
    assert not {f"CAP_{name}" for name in DANGEROUS.split()} & CAPABILITIES.keys()


def test_the_zone_is_in_namespaces_of_its_own() -> None:
    assert namespaces(config(ZoneSettings(SERVE))) == {"cgroup", "ipc", "mount", "network", "pid", "uts"}


def test_the_host_network_is_the_only_namespace_a_profile_can_give_up() -> None:
    private, shared = (config(ZoneSettings(SERVE, network=kind)) for kind in ("private", "host"))
    assert namespaces(private) - namespaces(shared) == {"network"}


def test_shared_directories_are_bound_alone_and_read_only() -> None:
    bound = {at: one for at, one in mounts(config(ZoneSettings(SERVE))).items() if one["type"] == "bind"}
    assert {at: one["source"] for at, one in bound.items()} == {
        "/usr": "image/usr",
        "/lib64": "image/lib64",
    }
    for mount in bound.values():
        assert set(mount["options"]) == {"bind", "ro", "nodev", "nosuid", "rprivate"}


def test_setuid_programs_work_only_where_a_profile_says_so() -> None:
    su = config(ZoneSettings(Start("test", ("/usr/bin/su",), setuid=True)))
    assert su["process"]["noNewPrivileges"] is False
    assert "nosuid" not in mounts(su)["/usr"]["options"]
    assert config(ZoneSettings(SERVE))["process"]["noNewPrivileges"] is True


def test_a_read_only_root_has_two_places_to_write_to() -> None:
    made = config(ZoneSettings(SERVE, read_only=True))
    assert made["root"] == {"path": "root", "readonly": True}
    assert mounts(made).keys() - mounts(config(ZoneSettings(SERVE))).keys() == {"/run", "/tmp"}


def test_what_tells_of_the_host_is_masked() -> None:
    linux = config(ZoneSettings(SERVE))["linux"]
    assert linux["maskedPaths"] == list(MASKED_PATHS)
    assert linux["readonlyPaths"] == list(READONLY_PATHS)
    assert linux["rootfsPropagation"] == "rprivate"
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]


def test_system_calls_of_a_machine_we_do_not_know_are_filtered_too() -> None:
    made = config(ZoneSettings(SERVE), machine="riscv64")["linux"]["seccomp"]
    assert made["architectures"] == []  # the runtime's own
    assert "keyctl" in made["syscalls"][0]["names"]


def test_the_command_is_the_profile_s() -> None:
    process = config(ZoneSettings(SERVE))["process"]
    assert process["args"] == ["/usr/bin/serve", "8000"]
    assert process["terminal"] is False


def test_a_zone_that_only_waits() -> None:
    assert config(ZoneSettings(Start("test", pause=True)))["process"]["args"] == [PAUSE]


def test_a_zone_that_starts_nothing_has_no_process() -> None:
    assert "process" not in config(ZoneSettings())


def test_nothing_but_the_host_name_depends_on_the_place() -> None:
    one, other = config(ZoneSettings(SERVE), "web"), config(ZoneSettings(SERVE), "shop")
    assert (one.pop("hostname"), other.pop("hostname")) == ("web", "shop")
    assert one == other


@given(st.text().filter(lambda text: "/" not in text and "\0" not in text))
def test_any_zonepath_gives_a_host_name(name: str) -> None:
    made = host_name(Path("/zones", name))
    assert 1 <= len(made.encode()) <= 64
    assert all(character.isascii() and (character.isalnum() or character in "-.") for character in made)
    assert made[0] not in "-."
