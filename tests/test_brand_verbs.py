"""Zones of the brand, and what partialroot's own verbs say of them and do to them."""

import json
from typing import Any

from branded import ZONEPATH, Branded


def asked(machine: Branded, *words: str, code: int | None = 0) -> dict[str, Any]:
    """Return the first zone that a verb tells of."""
    zone: dict[str, Any] = json.loads(machine.partialroot(*words, "--json", code=code).out)["zones"][0]
    return zone


def test_a_zone_is_known_and_refreshed_by_hand(machine: Branded) -> None:
    machine.install_zone()
    assert asked(machine, "status", "--all")["state"] == "current"
    chain = machine.partialroot("explain", ZONEPATH, "/lib/libshared.so.1").out
    assert "page.toml:" in chain

    machine.change("/lib/libshared.so.1", "the next library\n")
    assert asked(machine, "status", "--all", code=5)["state"] == "stale"
    image = machine.image()
    assert asked(machine, "refresh", "-n", ZONEPATH)["changed"]
    assert machine.image() == image
    assert asked(machine, "refresh", ZONEPATH)["changed"]
    assert (machine.image() / "lib/libshared.so.1").read_text() == "the next library\n"
    assert asked(machine, "status", "--all")["state"] == "current"
    assert not asked(machine, "refresh", ZONEPATH)["changed"]

    # A zone that runs is left alone: its hook brings it up to date when it is made ready.
    machine.zoneadm("web", "boot")
    image = machine.image()
    machine.change("/lib/libshared.so.1", "the one after it\n")
    waiting = asked(machine, "refresh", "--all")
    assert (waiting["changed"], waiting["staged"]) == (True, True)
    assert machine.image() == image
    assert "was brought up to date" in machine.zoneadm("web", "reboot").err
    machine.zoneadm("web", "halt")

    # After the system has booted, and before anything mounted it, nothing of the zone is to be seen.
    machine.run("umount", f"{ZONEPATH}/root")
    unmounted = asked(machine, "status", "--all", code=5)
    assert unmounted["state"] == "broken" and "not mounted" in unmounted["because"][0]
    for verb in ("verify", "audit", "refresh"):
        assert "not mounted" in machine.partialroot(verb, ZONEPATH, code=2).err
    machine.zoneadm("web", "sysboot")
    assert asked(machine, "status", "--all")["state"] == "current"
    for verb in ("rollback", "remove"):
        assert "zoneadm has made this zone" in machine.partialroot(verb, ZONEPATH, code=2).err


def test_a_zone_is_given_other_profiles(machine: Branded) -> None:
    """By ``populate``, as any zone: what was edited stays, and later refreshes ask for the same."""
    machine.install_zone()
    machine.write(f"{ZONEPATH}/root/etc/motd", "edited\n")
    machine.write("/be/etc/extra", "extra\n")
    machine.write("/be/profiles/more.toml", 'uses = ["page"]\nfiles = ["/etc/extra"]\n')
    words = ["populate", ZONEPATH, "more", "--source", "/be", "--manifests", "/be/profiles"]
    words += ["--platform", "illumos"]
    assert "has an image" in machine.partialroot(*words, "--share", "copy", code=2).err
    assert machine.partialroot(*words, "-n").out and machine.entries()[0] == "image"
    assert not machine.path(f"{ZONEPATH}/root/etc/extra").exists()
    assert asked(machine, *words)["changed"] and not asked(machine, *words)["changed"]
    assert machine.path(f"{ZONEPATH}/root/etc/extra").read_text() == "extra\n"
    assert machine.path(f"{ZONEPATH}/root/etc/motd").read_text() == "edited\n"
    assert [row for row in machine.datasets("rpool/export/zones/web") if "@" in row[0]] == []
    # A profile that says something else is told, and followed.
    assert asked(machine, "status", "--all")["state"] == "current"
    machine.write("/be/etc/other", "other\n")
    machine.write("/be/profiles/more.toml", 'uses = ["page"]\nfiles = ["/etc/extra", "/etc/other"]\n')
    edited = asked(machine, "status", "--all", code=5)
    assert (edited["state"], edited["because"]) == ("stale", ["profile more: has changed"])
    assert asked(machine, "refresh", ZONEPATH)["added"] == ["/etc/other"]
    assert machine.path(f"{ZONEPATH}/root/etc/other").exists()
    assert asked(machine, "status", "--all")["state"] == "current"
    machine.path("/be/profiles/more.toml").rename(machine.path("/be/profiles/away"))
    assert "more" in asked(machine, "status", "--all", code=5)["because"][0]
    machine.zoneadm("web", "boot")
    machine.zoneadm("web", "halt")
    machine.path("/be/profiles/away").rename(machine.path("/be/profiles/more.toml"))

    machine.change("/etc/extra", "more\n")
    assert "brought up to date" in machine.zoneadm("web", "boot").err
    assert machine.path(f"{ZONEPATH}/root/etc/extra").read_text() == "more\n"
    assert "is running" in machine.partialroot(*words, code=3).err
