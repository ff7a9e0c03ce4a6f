"""A Python that has what partialroot needs, for the scripts beside this file; only the standard library.

In this order: the Python that runs the script, the checkout's ``.venv``, and if neither has it all, a new
``.venv`` made by ``python3 -m venv``, uv or virtualenv; as root with apt, after installing python3-venv.
Each thing that is installed is announced.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


class UnpreparedError(Exception):
    """There is no way to a Python with all packages; the message says what to type."""


def say(text: str) -> None:
    """Print a line for the user at once."""
    print(text, flush=True)


def requirements(*extras: str) -> list[str]:
    """Return what pyproject.toml asks for: the dependencies, and those of the named extras.

    Raises UnpreparedError on a Python that is too old to read it.
    """
    try:
        import tomllib
    except ModuleNotFoundError:
        raise UnpreparedError(f"Python 3.11 or newer is needed; {sys.executable} is older") from None
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [requirement for group in groups for requirement in group]


def unmet(wanted: Sequence[str]) -> list[str]:
    """Return those requirements (``name[extra]>=1.2; marker``) that this Python does not meet."""
    return [one for one in wanted if not _met(one)]


def python_with(wanted: Sequence[str], *, install: bool = True, spare: Path | None = None) -> str:
    """Return a Python's path that meets the requirements, made if need be.

    ``install`` False forbids to install system packages; ``spare`` is where the environment is made when
    the checkout cannot be written (default: the user's cache). Raises UnpreparedError if there is no way.
    """
    if not unmet(wanted):
        return sys.executable
    venv = (CHECKOUT if os.access(CHECKOUT, os.W_OK) else spare or _cache()) / ".venv"
    python = venv / "bin" / "python"
    if not _meets(python, wanted):
        missing = ", ".join(requirement.partition(";")[0] for requirement in unmet(wanted))
        say(f"Python packages missing: {missing}; installing them into {venv}")
        _make_venv(venv, install=install)
        _install(python, wanted)
    return str(python)


def checkout_environment(cache: Path) -> dict[str, str]:
    """Return the environment in which a Python runs partialroot from this checkout.

    Compiled modules go to ``cache``, as an installed tool has them, and not into the checkout.
    """
    path = filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def apt_can_install() -> bool:
    """Tell whether this is root on a system with apt."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(*packages: str) -> bool:
    """Install Debian packages, saying so; tell whether that worked.

    Only the last try is allowed to complain: without lists of packages the first one always fails.
    """
    say(f"Installing by apt: {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", *packages]

    def run(*words: str, complaints: int | None = None) -> bool:
        done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=complaints)
        return done.returncode == 0

    return run(*command, complaints=subprocess.DEVNULL) or (run("apt-get", "update", "-qq") and run(*command))


def to_type(package: str) -> str:
    """Return the command that installs a Debian package, as this user types it."""
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install {package}"


def _met(requirement: str) -> bool:
    """Tell whether this Python meets one requirement with a lower bound, the only kind we write."""
    name, _, least = requirement.partition(";")[0].strip().partition(">=")
    try:
        return _numbers(importlib.metadata.version(name.partition("[")[0])) >= _numbers(least)
    except importlib.metadata.PackageNotFoundError:
        return False


def _numbers(version: str) -> list[int]:
    """Return the leading numbers of a version: 2.0.1rc1 is [2, 0, 1, 1], which is good enough here."""
    return [int(number) for number in re.findall(r"\d+", version)]


def _meets(python: Path, wanted: Sequence[str]) -> bool:
    """Tell whether another Python is there and meets the requirements, by asking it with this very file."""
    if not python.exists():
        return False
    return subprocess.run([python, __file__, *wanted], stdout=subprocess.DEVNULL).returncode == 0


def _cache() -> Path:
    """Return this project's place in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partialroot"


def _make_venv(venv: Path, *, install: bool) -> None:
    """Make an environment with pip in the first way that works. Raises UnpreparedError if none does."""
    for command in _ways_to_make(venv, install=install):
        if subprocess.run(command, capture_output=True).returncode == 0:
            return
        shutil.rmtree(venv, ignore_errors=True)
    raise UnpreparedError(f"no way to make a Python environment; type: {to_type('python3-venv')}")


def _ways_to_make(venv: Path, *, install: bool) -> Iterator[list[str]]:
    """Yield the commands that may make an environment, each only when those before it have failed."""
    yield [sys.executable, "-m", "venv", str(venv)]
    if uv := shutil.which("uv"):
        yield [uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(venv)]
    if virtualenv := shutil.which("virtualenv"):
        yield [virtualenv, "--quiet", "--python", sys.executable, str(venv)]
    if install and apt_can_install() and apt_install("python3-venv"):
        yield ["/usr/bin/python3", "-m", "venv", str(venv)]


def _install(python: Path, wanted: Sequence[str]) -> None:
    """Install the requirements by pip. Raises UnpreparedError if that fails, with all that pip said.

    Its last words alone would be misleading: without a network they say that there is no such package.
    """
    options = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    command = [str(python), "-m", "pip", "install", *options, *wanted]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise UnpreparedError(f"pip could not install the packages:\n{done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(1 if unmet(sys.argv[1:]) else 0)
