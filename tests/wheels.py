"""Wheels without a registry: ours from the checkout, the others from what is installed here."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parent.parent
NOT_PACKED = re.compile(r"^\.\./|__pycache__|\.dist-info/(?:INSTALLER|REQUESTED|direct_url\.json)$")


def build(place: Path) -> Path:
    """Build the checkout's wheel in a directory, and return it."""
    copy = place / "checkout"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "tests")
    shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=ignored)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True)
    (wheel,) = place.glob("*.whl")
    return wheel


def pack_needed(place: Path) -> None:
    """Pack all that the checkout needs at run time, as it is installed here, as wheels into a directory."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for needed in _closure(project["dependencies"]):
        _pack(needed, place)


def _closure(requirements: Iterable[str]) -> Iterator[Distribution]:
    """Yield the distributions that requirements stand for, and those they need, each once."""
    wanted, seen = list(requirements), set()
    while wanted:
        one = Requirement(wanted.pop())
        if one.name in seen or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(one.name)
        found = distribution(one.name)
        wanted += found.requires or []
        yield found


def _pack(installed: Distribution, place: Path) -> None:
    """Write what pip has installed of a wheel as a wheel again: its name is what it says of itself."""
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)$", installed.read_text("WHEEL") or "", re.MULTILINE)
    tag = "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
    name = re.sub(r"[-_.]+", "_", installed.metadata["Name"])
    with zipfile.ZipFile(place / f"{name}-{installed.version}-{tag}.whl", "w") as wheel:
        for file in installed.files or ():
            if not NOT_PACKED.search(str(file)):
                wheel.write(str(file.locate()), str(file))
