"""Where profiles are found, and whose are followed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs

from partialroot.errors import ConflictError, ProfileError
from partialroot.model import Profile
from partialroot.profiles import library as module
from partialroot.profiles.library import Library, Listed

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of profiles; beside it are the administrator's (etc) and those shipped."""
    for name in ("ours", "etc", "shipped/linux"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(module, "ADMINISTRATORS", tmp_path / "etc")
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "ours"


def put(directory: Path, name: str, text: str = "") -> Path:
    file = directory / f"{name}.toml"
    file.write_text(text)
    return file


class Anew:
    """A library that is opened for each look: one that was opened shows what it then found."""

    def __init__(self, *directories: Path) -> None:
        self._directories = directories

    @property
    def _library(self) -> Library:
        return Library(self._directories, "linux")

    def find(self, word: str) -> Profile:
        return self._library.find(word)

    def names(self) -> list[Listed]:
        return self._library.names()

    def compose(self, names: list[str], parameters: dict[str, str]) -> Profile:
        return self._library.compose(names, parameters)


def refusal(library: Anew, word: str) -> str:
    with pytest.raises(ProfileError) as caught:
        library.find(word)
    return str(caught.value)


# --- lookup -------------------------------------------------------------------------------------------


def test_the_first_place_wins(ours: Path) -> None:
    etc, shipped = ours.parent / "etc", ours.parent / "shipped/linux"
    put(shipped, "a", 'summary = "shipped"')
    library = Anew(ours)
    assert library.find("a").summary == "shipped"
    put(etc, "a", 'summary = "etc"')
    assert library.find("a").summary == "etc"
    file = put(ours, "a", 'summary = "ours"')
    assert library.find("a").summary == "ours"
    put(shipped, "b", "nonsense")
    assert library.names()[0] == ("a", "ours", file)
    assert library.names()[1].name == "b"
    assert "cannot be used: b.toml:1: not TOML" in library.names()[1].summary


def test_what_is_found_knows_its_file_and_lines(ours: Path) -> None:
    file = put(ours, "web", '\nprograms = ["sh"]')
    for word in ("web", str(file)):
        profile = Library([ours], "linux").find(word)
        assert (profile.name, profile.where) == ("web", str(file))
        assert profile.programs == (("sh", "web.toml:2"),)


def test_uses_are_loaded_through_each_other(ours: Path) -> None:
    put(ours.parent / "shipped/linux", "base", 'programs = ["sh"]')
    put(ours, "middle", 'uses = ["base"]\nprograms = ["ls"]')
    top = put(ours.parent, "top", 'uses = ["middle"]\nparameters.p = "1"')
    profile = Library([ours], "linux").compose([str(top)], {"p": "2"})
    assert [item.text for item in profile.programs] == ["sh", "ls"]
    assert profile.parameters == {"p": "2"}


def test_unknown_profiles(ours: Path) -> None:
    put(ours, "nginx")
    library = Anew(ours)
    assert refusal(library, "ngnix") == "no profile is called 'ngnix' (did you mean 'nginx'?)"
    put(ours, "web", '\nuses = ["ngnix"]')
    with pytest.raises(ProfileError) as caught:
        library.compose(["web"], {})
    assert str(caught.value) == "web.toml:2: no profile is called 'ngnix' (did you mean 'nginx'?)"


def test_a_loop_is_found(ours: Path) -> None:
    put(ours, "a", 'uses = ["b"]')
    put(ours, "b", 'uses = ["a"]')
    with pytest.raises(ProfileError, match="in a loop: a uses b uses a"):
        Library([ours], "linux").compose(["a"], {})


def test_a_directory_that_is_not_there(ours: Path) -> None:
    with pytest.raises(ProfileError, match="no such directory"):
        Library([ours / "nowhere"], "linux")


def test_files_that_cannot_be_read(ours: Path) -> None:
    library = Anew(ours)
    assert "cannot be read: No such file" in refusal(library, str(ours / "none.toml"))
    (ours / "dir.toml").mkdir()
    assert "cannot be read: Is a directory" in refusal(library, str(ours / "dir.toml"))
    os.mkfifo(ours / "fifo.toml")
    assert "not a regular file" in refusal(library, "fifo")
    put(ours, "two words")
    assert "'two words' is not the name of a profile" in refusal(library, "two words")
    (ours / "latin.toml").write_bytes(b"\n# caf\xe9")
    assert refusal(library, "latin") == "latin.toml:2: not UTF-8"
    (ours / "large.toml").write_bytes(b"#" * (2 << 20) + b"\n")
    assert "larger than 2097152 bytes" in refusal(library, "large")


# --- trust --------------------------------------------------------------------------------------------


@needs("root")
def test_root_follows_only_its_own(ours: Path) -> None:
    library = Anew(ours)
    file = put(ours, "a")
    library.find("a")
    for mode in (0o664, 0o646):
        file.chmod(mode)
        assert refusal(library, "a").startswith(
            f"{file}: root follows no profile that is not its own: others can"
        )
    file.chmod(0o644)
    os.chown(file, 12345, 0)
    assert "user 12345 owns it (chown root" in refusal(library, "a")
    os.chown(file, 0, 12345)
    library.find("a")


@needs("root")
def test_the_directory_counts_too(ours: Path) -> None:
    library = Anew(ours)
    put(ours, "a")
    ours.chmod(0o777)
    assert "others can write it" in refusal(library, "a")
    ours.chmod(0o1777)  # as /tmp: nobody can replace another's file
    library.find("a")
    ours.chmod(0o755)
    os.chown(ours, 12345, 0)
    assert "user 12345 owns it" in refusal(library, "a")


@needs("root")
def test_a_symlink_is_judged_by_where_it_leads(ours: Path) -> None:
    library = Anew(ours)
    elsewhere = ours.parent / "elsewhere"
    elsewhere.mkdir()
    put(elsewhere, "a")
    (ours / "a.toml").symlink_to(elsewhere / "a.toml")
    library.find("a")
    elsewhere.chmod(0o777)
    assert "others can write it" in refusal(library, "a")


@needs("root")
def test_what_is_used_is_judged_too(ours: Path) -> None:
    put(ours, "a", 'uses = ["b"]')
    put(ours, "b").chmod(0o666)
    with pytest.raises(ProfileError, match="others can write it"):
        Library([ours], "linux").compose(["a"], {})


@needs("root")
def test_what_is_shipped_is_as_trusted_as_the_program(ours: Path) -> None:
    shipped = ours.parent / "shipped/linux"
    os.chown(put(shipped, "a"), 12345, 0)
    shipped.chmod(0o775)
    Library([ours], "linux").find("a")


@needs("root", "userns")
def test_in_a_user_namespace_owners_tell_nothing(ours: Path) -> None:
    """Root's own file looks like nobody's to a user who is root only in a namespace of his."""
    put(ours, "a")
    for path in (ours, *ours.parents[:2]):
        path.chmod(0o755)
    os.chown(ours / "a.toml", 12345, 12345)
    code = "import sys; from partialroot.profiles.library import *; Library([], 'linux').find(sys.argv[1])"
    command = ["unshare", "-r", sys.executable, "-c", code, str(ours / "a.toml")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(CHECKOUT)})
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_else_is_asked_to_own_profiles(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    put(ours, "a").chmod(0o666)
    Library([ours], "linux").find("a")


# --- what is shipped ----------------------------------------------------------------------------------


def test_the_wheel_carries_the_profiles(tmp_path: Path) -> None:
    """Build what a wheel is made of, and compose from there: every package and every profile is in it."""
    checkout, built = tmp_path / "checkout", tmp_path / "built"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("partialroot", "manifests"):
        shutil.copytree(CHECKOUT / name, checkout / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, checkout)
    build = "import setuptools; setuptools.setup()"
    subprocess.run(
        [sys.executable, "-c", build, "-q", "build", "--build-lib", built], cwd=checkout, check=True
    )
    assert below(built / "partialroot") == below(CHECKOUT / "partialroot")
    code = (
        "from partialroot.profiles.library import *; print(Library([], 'linux').compose(['node'], {}).where)"
    )
    environment = {"PYTHONPATH": str(built)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(built / "partialroot/manifests/linux/node.toml"), done.stderr


def below(top: Path) -> list[str]:
    """Return all files below a directory, through symlinks, without byte code."""
    found = (
        Path(directory) / name for directory, _, names in os.walk(top, followlinks=True) for name in names
    )
    return sorted(str(path.relative_to(top)) for path in found if path.suffix != ".pyc")


def test_shipped_starts_contradict_each_other() -> None:
    with pytest.raises(
        ConflictError, match=r"node\.toml:\d+: gives the zone a start, and python\.toml:\d+ another"
    ):
        Library([], "linux").compose(["python", "node"], {})
