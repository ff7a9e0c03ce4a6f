"""What a profile excludes is not there, whatever wants it, by whichever of its names; what is named stays."""

from pathlib import Path

import pytest
from needs import needs
from sources import write

from partialroot.model import Profile, Selection
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.plan.platforms import Linux
from partialroot.plan.policy import Excludes
from partialroot.plan.select import select
from partialroot.profiles.compose import compose
from partialroot.profiles.toml import parse_profile
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A root with a merged /usr, as far as symlinks go."""
    (tmp_path / "usr/lib/app/deep").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("exclude", "path", "expected"),
    [
        ("/usr/lib/app", "/usr/lib/app", True),
        ("/usr/lib/app", "/usr/lib/app/deep/x", True),
        ("/usr/lib/app", "/usr/lib/apple", False),
        ("/lib/app", "/usr/lib/app/x", True),
        ("/usr/lib/app", "/lib/app/x", True),
        ("/lib/a*", "/usr/lib/app/deep", True),
        ("/lib/{app/d*,none}", "/usr/lib/app/deep/x", True),
        ("/lib/a*", "/usr/lib/deep/app", False),
        ("/usr/lib/a?", "/usr/lib/app", False),
        ("/lib", "/usr/lib/app", False),
        ("/lib", "/lib", True),
        ("/**/deep", "/usr/lib/app/deep/x", True),
        ("/nowhere/*", "/nowhere/x", True),
    ],
)
def test_symlinked_parents_make_no_difference(tree: Tree, exclude: str, path: str, expected: bool) -> None:
    assert (Excludes(tree, [Item(exclude, "x.toml:1")]).why(RootPath(path)) is not None) is expected


@pytest.mark.parametrize(
    ("exclude", "path", "expected"),
    [
        ("/usr/lib", "/usr/lib/app/x", False),
        ("/usr/lib", "/usr/lib/other", True),
        ("/usr/lib/*", "/usr/lib/app", False),
        ("/usr/lib/app/deep", "/usr/lib/app/deep/x", True),
        ("/usr/lib/**/x", "/usr/lib/app/deep/x", True),
    ],
)
def test_what_is_named_stays(tree: Tree, exclude: str, path: str, expected: bool) -> None:
    excludes = Excludes(tree, [Item(exclude, "x.toml:1")], [RootPath("/lib/app")])
    assert (excludes.why(RootPath(path)) is not None) is expected


# --- in a selection -------------------------------------------------------------------------------------

BASE = 'programs = ["greet", "env"]\nfiles = ["/usr/share/app"]\nexclude = ["/usr/share/app/vendor"]'


def selected(source: Path, text: str) -> Selection:
    profiles: dict[str, Profile] = {
        name: parse_profile(wishes, name, f"{name}.toml") for name, wishes in (("base", BASE), ("web", text))
    }
    profile = compose([profiles["web"]], profiles, {})
    tree = Tree(source)
    return select(profile, ("web",), tree, open_packages(tree), Linux(lambda: b""))


def paths(selection: Selection) -> set[str]:
    return {str(entry.path) for entry in selection.entries}


@needs("glibc")
def test_an_exclude_wins_over_the_closure_and_says_what_it_broke(source: Path) -> None:
    selection = selected(
        source, 'uses = ["base"]\nexclude = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/*/libc.so.6"]'
    )
    assert not [path for path in paths(selection) if path.endswith("/libc.so.6")]
    assert "libc.so.6" in " ".join(missing.name for missing in selection.missing)


@needs("glibc")
def test_an_exclude_wins_over_a_program_of_a_used_profile(source: Path) -> None:
    selection = selected(source, 'uses = ["base"]\nexclude = ["/bin/greet"]')
    assert "/usr/bin/greet" not in paths(selection)
    assert selection.warnings == ("/usr/bin/greet (base.toml:1) is left out: web.toml:2 excludes it",)


@needs("glibc")
def test_a_profile_names_what_a_used_one_excludes(source: Path) -> None:
    for name in ("vendor/flask/__init__.py", "vendor/other/x"):
        write(source / "usr/share/app" / name, "x\n", 0o644)
    assert not [path for path in paths(selected(source, 'uses = ["base"]')) if "vendor" in path]
    found = paths(selected(source, 'uses = ["base"]\nfiles = ["/usr/share/app/vendor/flask"]'))
    assert "/usr/share/app/vendor/flask/__init__.py" in found
    assert not [path for path in found if "other" in path]
