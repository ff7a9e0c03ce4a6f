"""The SVR4 package database and the Tribblix overlays of the synthetic global zone."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zone_data import table

if TYPE_CHECKING:
    from globalzone import Made

HEAD = "# Last modified by pkginstall for SUNWcs package\n"


def write(root: Path, made: Iterable["Made"]) -> None:
    """Write /var/sadm for what was made, in the order of the paths."""
    made = list(made)
    sadm = root / "var/sadm"
    (sadm / "install").mkdir(parents=True, exist_ok=True)
    (sadm / "install/contents").write_text("".join(map(_line, made)) + HEAD)
    everywhere = {package for one in made if one.row.mark != "g" for package in one.row.packages}
    for package in sorted({package for one in made for package in one.row.packages}):
        _pkginfo(sadm / "pkg" / package, package, package not in everywhere)
    for one in made:
        if one.row.kind == "e":
            for package in one.row.packages:
                _pristine(sadm / "pkg" / package / "save/pspool" / package / "reloc", one)
    _overlays(sadm / "overlays")


def checksum(data: bytes) -> int:
    """Return the sum that sum(1) and the package tools make: 16 bits."""
    total = sum(data)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def _line(made: "Made") -> str:
    """Return a line of the contents file (contents(5))."""
    row, packages = made.row, " ".join(made.row.packages)
    if row.kind in "sl":
        return f"{row.path}={row.target} {row.kind} none {packages}\n"
    kind = f"{row.kind} {'preserve' if row.kind == 'e' else 'none'}"
    attributes = f"{kind} {row.mode:04o} {row.owner} {row.group}"
    if made.status is None:
        return f"{row.path} {attributes} {packages}\n"
    content = f"{made.status.st_size} {checksum(made.data)} {int(made.status.st_mtime)}"
    return f"{row.path} {attributes} {content} {packages}\n"


def _pkginfo(directory: Path, package: str, is_global: bool) -> None:
    """Write the parameters of a package; one that is ``is_global`` has nothing for other zones."""
    directory.mkdir(parents=True)
    values = {
        "PKG": package,
        "NAME": package,
        "ARCH": "i386",
        "VERSION": "0.38",
        "CATEGORY": "system",
        "BASEDIR": "/",
        "CLASSES": "none preserve",
        "SUNW_PKG_ALLZONES": "false",
        "SUNW_PKG_HOLLOW": "false",
        "SUNW_PKG_THISZONE": "true" if is_global else "false",
    }
    (directory / "pkginfo").write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def _pristine(reloc: Path, made: "Made") -> None:
    """Write the copy of an editable file as it was shipped."""
    place = reloc / made.row.path[1:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(made.data)


def _overlays(directory: Path) -> None:
    (directory / "installed").mkdir(parents=True)
    for name, packages in table("overlays.tsv"):
        requires = "" if name == "core-tribblix" else "REQUIRES=core-tribblix\n"
        (directory / f"{name}.ovl").write_text(f"VERSION=0.38\nNAME={name}\n{requires}")
        (directory / f"{name}.pkgs").write_text("".join(f"{one}\n" for one in packages.split()))
        (directory / "installed" / name).touch()
