"""The scripts find or make a Python for themselves: each rung of the ladder, with the rungs above it broken.

Nothing is downloaded and no package installed: pip, uv, virtualenv and apt-get are stand-ins that record
how they were called.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
TRY = "import environment as e, sys; print(e.python_with(['nosuch>=1.0'], install=sys.argv[1] == 'yes'))"


class Ground:
    """A checkout with our scripts, a PATH of stand-ins, and a Python whose venv module may be broken."""

    def __init__(self, top: Path) -> None:
        self.checkout, self.bin, self.broken = top / "checkout", top / "bin", top / "broken"
        for place in (self.checkout / "scripts", self.bin, self.broken):
            place.mkdir(parents=True)
        (self.checkout / "scripts/environment.py").write_text((SCRIPTS / "environment.py").read_text())
        self.log = top / "log"
        self.log.touch()
        self.stand_in("apt-get", "echo no lists >&2; exit 100")

    def stand_in(self, name: str, script: str) -> None:
        """Put a command on PATH that records its name and arguments, then runs a script."""
        command = self.bin / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{script}\n')
        command.chmod(0o755)

    def break_venv(self) -> None:
        """Make ``python3 -m venv`` fail as it does where Debian's python3-venv is missing."""
        (self.broken / "venv.py").write_text("raise SystemExit('ensurepip is not available')\n")

    def run(self, install: str = "no") -> subprocess.CompletedProcess[str]:
        """Ask for a Python with a package that does not exist."""
        environment = {"PATH": f"{self.bin}:/usr/bin:/bin", "PYTHONPATH": str(self.broken)}
        return subprocess.run(
            [sys.executable, "-c", TRY, install],
            cwd=self.checkout / "scripts",
            env=environment,
            capture_output=True,
            text=True,
        )


TO_TYPE = f"type: {'' if os.geteuid() == 0 else 'sudo '}apt-get install python3-venv"

# What makes an environment whose Python can "install" anything.
MAKES_VENV = """
for last; do :; done
mkdir -p "$last/bin"
printf '#!/bin/sh\\necho "python $*" >>{log}\\n' >"$last/bin/python"
chmod 755 "$last/bin/python"
"""


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_a_python_that_has_it_all_is_taken(ground: Ground) -> None:
    script = "import environment as e, sys; assert e.python_with(['pytest>=8.0']) == sys.executable"
    subprocess.run([sys.executable, "-c", script], cwd=ground.checkout / "scripts", check=True)
    assert ground.log.read_text() == ""


def test_an_environment_made_earlier_is_taken(ground: Ground) -> None:
    python = ground.checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    assert ground.run().stdout == f"{python}\n"


@pytest.mark.parametrize("tool", ["uv", "virtualenv"])
def test_without_venv_other_tools_make_it(ground: Ground, tool: str) -> None:
    ground.break_venv()
    ground.stand_in(tool, MAKES_VENV.format(log=ground.log))
    done = ground.run()
    assert done.stdout.splitlines()[-1] == str(ground.checkout / ".venv/bin/python"), done.stderr
    calls = ground.log.read_text().splitlines()
    assert calls[0].startswith(tool)
    assert "-m pip install" in calls[1] and calls[1].endswith("nosuch>=1.0")


def test_what_is_installed_is_said(ground: Ground) -> None:
    ground.break_venv()
    ground.stand_in("uv", MAKES_VENV.format(log=ground.log))
    assert f"nosuch>=1.0; installing them into {ground.checkout / '.venv'}" in ground.run().stdout


def test_with_no_way_it_says_what_to_type(ground: Ground) -> None:
    ground.break_venv()
    done = ground.run()
    assert TO_TYPE in done.stderr
    assert ground.log.read_text() == "", "forbidden to install, it did not try"
    assert not (ground.checkout / ".venv").exists()


@needs("root")
def test_root_installs_by_apt_if_allowed_and_says_so(ground: Ground) -> None:
    ground.break_venv()
    done = ground.run(install="yes")
    assert "Installing by apt: python3-venv" in done.stdout
    calls = ground.log.read_text().splitlines()
    assert [call.split()[1] for call in calls] == ["install", "update"]
    assert done.stderr.count("no lists") == 1, "of the update; the first try is not heard"
    assert TO_TYPE in done.stderr


def test_a_failing_pip_is_no_traceback(ground: Ground) -> None:
    ground.break_venv()
    failing = 'echo "echo no network >&2; echo no such package >&2; exit 1" >>"$last/bin/python"'
    ground.stand_in("uv", MAKES_VENV.format(log=ground.log) + failing)
    said = ground.run().stderr.splitlines()
    assert said[-2:] == ["no network", "no such package"]
    assert "UnpreparedError: pip could not install" in said[-3]


def test_scripts_say_no_with_exit_2(ground: Ground) -> None:
    """With a Python that has none of the packages and no way to get them."""
    ground.break_venv()
    for name in ("quickstart", "test"):
        (ground.checkout / "scripts" / name).write_bytes((SCRIPTS / name).read_bytes())
    (ground.checkout / "pyproject.toml").write_bytes((SCRIPTS.parent / "pyproject.toml").read_bytes())
    bare = ground.bin / "bare/bin/python3"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare.parent.parent], check=True)
    environment = {"PATH": f"{ground.bin}:/usr/bin:/bin", "PYTHONPATH": str(ground.broken)}
    for words in (["quickstart", "--no-install"], *([] if os.geteuid() == 0 else [["test"]])):
        script = str(ground.checkout / "scripts" / words[0])
        done = subprocess.run([bare, script, *words[1:]], env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert TO_TYPE in done.stderr
