"""A source, a store and a zone in memory, with one command about to be given."""

import os
import re
import subprocess
from pathlib import Path

from killing import run
from sources import write
from spaces import mounts_below
from treedump import differences, dump

from partialroot.zone.store import PARTS

OLD = """
files = ["/usr/bin/tool", "/usr/bin/rise", "/etc/hosts", "/srv"]
[directories."/var/app"]
mode = "2770"
[text."/etc/motd"]
content = "old"
[text."/etc/edited"]
content = "old"
[text."/etc/old-only"]
content = "old"
"""
NEW = """
files = ["/usr/bin/tool", "/usr/bin/rise", "/usr/bin/other", "/etc/hosts"]
[directories."/var/app"]
mode = "0700"
[directories."/var/new"]
[text."/etc/motd"]
content = "new"
[text."/etc/edited"]
content = "new"
[text."/var/new/only"]
content = "new"
"""
TRIAL = re.compile(r"\.partialroot-\d+-[0-9a-f]{16}")


class Place:
    """A source, a store and a zone in memory, with one command about to be given."""

    def __init__(self, top: Path, verb: str) -> None:
        self.top, self.verb = top, verb
        self.source, self.store, self.zone = top / "source", top / "made/store", top / "made/zones/web"
        for name, mode in (("tool", 0o755), ("other", 0o755), ("rise", 0o4755)):
            write(self.source / "usr/bin" / name, name, mode)
        write(self.source / "etc/hosts", "127.0.0.1 localhost\n", 0o644)
        write(self.source / "srv/page", "page", 0o644)
        write(top / "old.toml", OLD, 0o644)
        write(top / "new.toml", NEW, 0o644)
        self.before_source = dump(self.source)

    def upgrade(self, content: str) -> None:
        """Have a program of the source replaced by one with ``content``: always by the same inode."""
        tool, spare, aside = self.source / "usr/bin/tool", self.top / "spare", self.top / "aside"
        if not spare.exists():
            write(spare, "newer tool", 0o755)
        if tool.read_text() != content:
            tool.rename(aside)
            spare.rename(tool)
            aside.rename(spare)
        os.utime(tool.parent, ns=(10**18, 10**18))  # which a manifest has, too
        self.before_source = dump(self.source)

    def populating(self, profile: str) -> tuple[str | Path, ...]:
        options = ("--source", self.source, "--store", self.store)
        return ("populate", self.zone, self.top / profile, *options)

    @property
    def words(self) -> tuple[str | Path, ...]:
        """The command that is to be killed."""
        return {
            "populate": self.populating("old.toml"),
            "change": self.populating("new.toml"),
            "remove": ("remove", self.zone, "--store", self.store),
            "refresh": ("refresh", self.zone, "--store", self.store),
            "rollback": ("rollback", self.zone, "--store", self.store),
        }[self.verb]

    def next(self) -> tuple[str | Path, ...]:
        """A command that recovers and does nothing else."""
        return ("verify", self.zone, "--store", self.store)

    def prepare(self) -> list[str]:
        """Make all as it is before the command; return it."""
        self.clear()
        if self.verb in ("refresh", "rollback"):
            self.upgrade("tool")
        if self.verb != "populate":
            write(self.top / "web.toml", OLD, 0o644)
            done = run(*self.populating("web.toml" if self.verb in ("refresh", "rollback") else "old.toml"))
            assert done.code == 0, done.err
            write(self.zone / "root/etc/edited", "by the tenant", 0o644)
            write(self.zone / "root/etc/own", "the tenant's", 0o600)
        if self.verb in ("refresh", "rollback"):
            write(self.top / "web.toml", NEW, 0o644)
            self.upgrade("newer tool")
        if self.verb == "rollback":
            done = run("refresh", self.zone, "--store", self.store)
            assert done.code == 0, done.err
            write(self.zone / "root/etc/motd", "by the tenant", 0o644)
        return self.look(times=True)

    def clear(self) -> None:
        for mount in mounts_below(self.top):
            subprocess.run(["umount", mount], check=True)
        subprocess.run(["rm", "-rf", self.top / "made"], check=True)
        (self.top / "made").mkdir()

    def look(self, *, times: bool = False) -> list[str]:
        """Return what must be as before or as after: the zone, its mounts, what the store says and has."""
        zones = self.zone.parent
        zone = [line for line in dump(zones, times=times) if line[:2] != "/ "] if zones.exists() else []
        if not times:
            zone = _without(zone, "/web/receipt.json") + _untimed(self.zone / "receipt.json")
        return [*zone, *mounts_below(self.top), *self.look_at_store()]

    def look_at_store(self) -> list[str]:
        if not self.store.exists():
            return []
        lines = dump(self.store, times=False, skip=("/locks", "/memory", "/memory.new", "/settled"))
        before = [path.relative_to(self.store) for path in self.store.glob("previous/*/receipt.json")]
        lines = _without(lines, "/", *(f"/{part}" for part in PARTS), *(f"/{path}" for path in before))
        return [*lines, *(line for path in before for line in _untimed(self.store / path))]

    def trials(self) -> list[Path]:
        """Return the links that were made to try whether one can, by who died before removing them."""
        return [path for path in self.top.glob("made/**/.*") if TRIAL.fullmatch(path.name)]

    def drop_trials(self) -> None:
        for trial in self.trials():
            trial.unlink()

    def judge(self, before: list[str], after: list[str]) -> str:
        """Return whether all is as before or as after; neither fails the test."""
        assert differences(self.before_source, dump(self.source)) == []
        if self.look(times=True) == before:
            return "before"
        assert differences(after, self.look()) == []
        return "after"


def _without(lines: list[str], *paths: str) -> list[str]:
    return [line for line in lines if line.split(" ")[0] not in paths]


def _untimed(receipt: Path) -> list[str]:
    """Return a receipt without the times at which files were written: no two runs have the same."""
    try:
        return [re.sub(r"\b[0-9]{19}\b", "TIME", receipt.read_text())]
    except FileNotFoundError:
        return []
