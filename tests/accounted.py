"""A small Debian-like source with packages, and zones made of it, whose files are accounted for."""

import os
from collections.abc import Iterable
from pathlib import Path

from command import Done, partialroot
from sources import write

STATUS = """\
Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.22

Package: tool
Status: install ok installed
Architecture: amd64
Maintainer: Some Body <body@example.org>
Homepage: https://example.org/tool
Source: tools
Version: {tool}
Description: does what tools do

Package: libx1
Status: install ok installed
Architecture: amd64
Version: 1:5-1
Description: a library

Package: data
Status: install ok installed
Architecture: all
Version: 7
"""
FILES = {
    "tool": ["/usr/bin/tool", "/usr/bin/other", "/etc/tool.conf", "/usr/share/doc/tool/copyright"],
    "libx1": ["/usr/lib/libx.so.1"],
    "data": ["/usr/share/data/a", "/usr/share/data/b"],
}
COPYRIGHT = "Format: x\n\nFiles: *\nLicense: GPL-2+ or Expat\n\nFiles: b\nLicense: BSD-3-clause\n"
PROFILE = """\
files = ["/usr/bin/tool", "/usr/share/data", "/usr/lib/libx.so.1", "/srv/own", "/etc/tool.conf"]
[text."/etc/motd"]
content = "hello"
[text."/usr/share/ours"]
content = "written into the image"
"""


class Place:
    """A source, a store and zones below a directory."""

    def __init__(self, top: Path) -> None:
        top.chmod(0o700)
        self.top, self.source, self.store = top, top / "source", top / "store"
        for name in (*(path for paths in FILES.values() for path in paths), "/srv/own"):
            write(Path(f"{self.source}{name}"), f"content of {name}", 0o755 if "/bin/" in name else 0o644)
        write(self.source / "usr/share/doc/tool/copyright", COPYRIGHT, 0o644)
        write(self.source / "etc/os-release", 'ID=debian\nVERSION_ID="12"\n', 0o644)
        for package, paths in FILES.items():
            lines = dict.fromkeys(line for path in paths for line in (*reversed(parents(path)), path))
            write(self.info / f"{package}.list", "/.\n" + "".join(f"{line}\n" for line in lines), 0o644)
        self.install("1.0-1")
        write(top / "app.toml", PROFILE, 0o644)

    @property
    def info(self) -> Path:
        return self.source / "var/lib/dpkg/info"

    def install(self, version: str, *changed: str) -> None:
        """Have a version of ``tool`` installed, as packages do: what it changes is replaced by renaming."""
        for path in ("/var/lib/dpkg/status", *changed):
            place = Path(f"{self.source}{path}")
            fresh = place.with_name(f"{place.name}.dpkg-new")
            text = STATUS.format(tool=version) if path.endswith("status") else f"{path} of {version}"
            write(fresh, text, 0o755 if "/bin/" in path else 0o644)
            fresh.rename(place)

    def populate(self, *names: str, profile: str = "app.toml", options: Iterable[str] = ()) -> list[Path]:
        """Populate zones and return their paths."""
        zones = [self.top / name for name in names]
        partialroot("populate", *zones, self.top / profile, "--source", self.source, *options, *self.at)
        return zones

    @property
    def at(self) -> tuple[str | Path, ...]:
        return "--store", self.store

    def run(self, *words: str | Path, code: int | None = 0) -> Done:
        return partialroot(*words, *self.at, code=code)


def parents(path: str) -> list[str]:
    """Return the directories above a path, the nearest first."""
    found = []
    while (path := os.path.dirname(path)) != "/":
        found.append(path)
    return found
