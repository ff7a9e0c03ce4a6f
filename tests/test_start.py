"""What a command imports before it does anything: that is half of the time of many."""

import os
import subprocess
import sys
import time
from pathlib import Path

from needs import needs

CHECKOUT = Path(__file__).resolve().parent.parent
IMPORTED = """
import sys
from partialroot.cli import main
main(sys.argv[1:])
print("names:", *sys.modules)
"""
COMPILED = """
import re
compiled, compile = [], re.compile
re.compile = lambda *words, **named: compiled.append(str(words[0])) or compile(*words, **named)
import partialroot.pipeline.planning
print("names:", *(one for one in compiled if "PRIVATE KEY" in one or "shadow" in one))
"""
PROFILE = f'programs = ["{sys.executable}"]\n'


def said(code: str, *words: str | Path) -> set[str]:
    """Return the names that a process prints at its end."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("names:")[2].split())


def parts(names: set[str], *tops: str) -> set[str]:
    """Return which of the modules are one of ``tops``, or in it."""
    return {name for name in names if any(f"{name}.".startswith(f"{top}.") for top in tops)}


HEAVY = ("ctypes", "hashlib", "json", "plumbum", "psutil", "rich", "subprocess", "tempfile", "tomllib", "xml")


def test_the_version_needs_no_more_than_its_number() -> None:
    names = said(IMPORTED, "--version")
    assert parts(names, "partialroot") <= {"partialroot", "partialroot.cli", "partialroot.errors"}
    assert not parts(names, "argparse", "pathlib", *HEAVY)


def test_a_closure_needs_no_profiles_packages_and_zones(tmp_path: Path) -> None:
    names = said(IMPORTED, "closure", "--store", tmp_path / "none", sys.executable)
    assert "partialroot.closure" in names
    assert not parts(names, "partialroot.profiles", "partialroot.plan", "partialroot.source.packages", *HEAVY)
    assert not parts(names, "pathlib", "partialroot.model", "partialroot.pipeline.sources")
    assert not parts(names, "partialroot.closure.scripts")  # this Python is a program
    assert parts(names, "partialroot.zone") <= {"partialroot.zone", "partialroot.zone.place"}
    assert parts(names, "partialroot.host") <= {"partialroot.host", "partialroot.host.local"}


@needs("root", "glibc")
def test_a_choice_that_is_remembered_needs_nothing_to_choose_with(scratch: Path) -> None:
    """A second zone of the same profile, and no option that anybody has to understand."""
    profile = scratch / "one.toml"
    profile.write_text('programs = ["sh"]\n')
    words = (profile, "--quiet", "--share", "copy", "--store", scratch / "store")
    time.sleep(0.06)  # what was written this moment may be written again
    said(IMPORTED, "populate", scratch / "first", *words)
    time.sleep(0.06)
    said(IMPORTED, "populate", scratch / "second", *words)
    names = said(IMPORTED, "populate", scratch / "third", *words)
    said(IMPORTED, "remove", *(scratch / name for name in ("first", "second", "third")), *words[3:])
    needless = ("closure", "profiles", "plan.select", "pipeline.choosing", "source.packages", "host.illumos")
    assert parts(names, *(f"partialroot.{one}" for one in needless)) <= {
        "partialroot.profiles.wording",
        "partialroot.profiles",
    }
    assert not parts(names, "tomllib", "urllib.request", "psutil", "plumbum", "rich", "subprocess")


@needs("glibc")
def test_a_plan_imports_what_its_platform_has(tmp_path: Path) -> None:
    profile = tmp_path / "one.toml"
    profile.write_text(PROFILE)
    names = said(IMPORTED, "plan", profile, "--quiet", "--store", tmp_path / "store")
    assert "partialroot.closure.linux" in names
    assert not parts(
        names,
        "partialroot.closure.sunos",
        "partialroot.closure.linker.sunos",
        "partialroot.closure.linker.crle",
        "partialroot.closure.modules.sunos_pam",
        "xml",
    )


def test_the_places_of_secrets_are_compiled_when_one_is_looked_for() -> None:
    assert said(COMPILED) == set()
