"""What shells complete is the command line as it is, asked of the shells themselves."""

import subprocess
import sys

from command import CHECKOUT, partialroot
from needs import needs

from partialroot.cli.arguments import VERBS
from partialroot.profiles.library import Library

BASH, ZSH = (CHECKOUT / "packaging/completions" / name for name in ("bash/partialroot", "zsh/_partialroot"))
ASK = """
set -u
partialroot() { "$PYTHON" -m partialroot "$@"; }
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMPREPLY=()
_shtab_partialroot partialroot "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> set[str]:
    """Return what bash offers for the last of the words."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "PYTHON": sys.executable}
    command = ["bash", "-c", ASK, "bash", str(BASH), "partialroot", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert not done.stderr
    return set(done.stdout.split("\n")) - {""}


def test_they_are_those_of_the_parser() -> None:
    script = [sys.executable, str(CHECKOUT / "scripts/completions"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_verbs_and_options() -> None:
    assert completed("") >= VERBS.keys()
    assert completed("po") == {"populate"}
    assert {"--runtime", "--foreground", "--json"} <= completed("boot", "--")
    assert completed("boot", "--runtime", "c") == {"chroot"}


def test_profiles() -> None:
    names = {one.name for one in Library([], "linux").names()}
    assert names <= completed("populate", "/zones/web", "")
    assert completed("populate", "/zones/web", "ngi") == {"nginx"}


@needs("zsh")
def test_zsh_reads_it() -> None:
    subprocess.run(["zsh", "-n", ZSH], check=True)
    assert ZSH.read_text().startswith("#compdef partialroot")


def test_every_verb_has_an_example() -> None:
    for verb in VERBS:
        assert f"example: partialroot {verb}" in partialroot(verb, "--help").out
