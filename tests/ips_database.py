"""An IPS image's database for the synthetic global zone, beside the SVR4 one or instead of it."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from globalzone import Row, rows

PUBLISHER = "example.org"
VERSION = "0.5.11,5.11-0.151050:20250201T120000Z"
KINDS = {"d": "dir", "f": "file", "e": "file", "s": "link", "l": "hardlink"}


def write(root: Path) -> None:
    """Describe a root that globalzone.build() made as an IPS image would."""
    manifests: dict[str, list[str]] = defaultdict(list)
    for row in rows():
        place = root / row.path[1:]
        if place.is_symlink() or place.exists():
            for package in row.packages:
                manifests[package].append(action(row, place))
    for name, lines in manifests.items():
        manifest(root, name, "".join(f"{line}\n" for line in lines))
    catalog(root, manifests)


def action(row: Row, place: Path) -> str:
    """Return the action that installs a path."""
    words = [KINDS[row.kind], f"path={row.path[1:]}"]
    if row.kind in "sl":
        words.append(f"target={row.target}")
    else:
        words += [f"mode={row.mode:04o}", f"owner={row.owner}", f"group={row.group}"]
    if row.kind in "fe":
        data = place.read_bytes()
        words.insert(1, hashlib.sha1(data).hexdigest())
        words.append(f"pkg.size={len(data)}")
    if row.kind == "e":
        words.append("preserve=true")
    if row.mark == "g":
        words.append("variant.opensolaris.zone=global")
    return " ".join(words)


def manifest(root: Path, name: str, text: str) -> None:
    """Write the manifest of a package; its name may have slashes."""
    place = root / f"var/pkg/publisher/{PUBLISHER}/pkg/{quote(name, '')}/{quote(VERSION, '')}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def catalog(root: Path, names: Iterable[str]) -> None:
    """Write the catalog that says which packages are installed."""
    place = root / "var/pkg/state/installed/catalog.base.C"
    place.parent.mkdir(parents=True, exist_ok=True)
    packages = {name: [{"version": VERSION, "signature-sha-1": "0" * 40}] for name in names}
    place.write_text(json.dumps({"_SIGNATURE": {"sha-1": "0" * 40}, PUBLISHER: packages}))
