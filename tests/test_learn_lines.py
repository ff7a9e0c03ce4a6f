"""From needed files to lines of a profile, and from lines to its text."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.errors import ProfileError
from partialroot.globs import matcher
from partialroot.learn.lesson import only_loopback, start
from partialroot.learn.needs import Needs, needs, spelled
from partialroot.learn.propose import Line, propose
from partialroot.learn.trace import Listening, Lookup, Trace, Use
from partialroot.learn.wording import Learned, Place, added, pasted, quoted, written
from partialroot.model import Profile
from partialroot.paths import RootPath
from partialroot.profiles.toml import parse_profile
from partialroot.source.packages.base import NoPackages
from partialroot.source.tree import Tree

TOPS = ("/usr",)


class Packages(NoPackages):
    """Packages by their files."""

    def __init__(self, **files: Iterable[str]) -> None:
        self._files = {name: tuple(map(RootPath, each)) for name, each in files.items()}

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        return self._files.get(package)

    def owner(self, path: RootPath) -> str | None:
        return next((name for name, files in self._files.items() if path in files), None)

    def owners(self, paths: Iterable[RootPath]) -> dict[RootPath, str]:
        found = {path: self.owner(path) for path in paths}
        return {path: owner for path, owner in found.items() if owner is not None}


def make(root: Path, *paths: str) -> Tree:
    """Make files, directories (a slash at the end) and symlinks (``a -> b``)."""
    for text in paths:
        name, _, target = text.partition(" -> ")
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if target:
            path.symlink_to(target)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text("x")
    return Tree(root)


def looked(tree: Tree, *paths: str, use: Use = Use.READ) -> Needs:
    """Return what a run needs that asked for some paths, in this order; ``!`` before one: it was written."""
    uses = [(path.lstrip("!"), Use.WRITE if path.startswith("!") else use) for path in paths]
    return needs(Trace(tuple(Lookup(path, how, "", "/usr/bin/app", 1) for path, how in uses)), tree, TOPS)


def lines(tree: Tree, packages: NoPackages, *paths: str, own: Iterable[str] = ()) -> list[tuple[str, str]]:
    found = looked(tree, *paths)
    return [line[:2] for line in propose(found.files.values(), tree, packages, map(RootPath, own))]


# --- needs ------------------------------------------------------------------------------------------


def test_what_a_run_made_is_not_needed(tmp_path: Path) -> None:
    tree = make(tmp_path, "/srv/made/file", "/srv/read", "/srv/changed", "/srv/log", "/var/state")
    found = looked(
        tree,
        "!/srv/made",
        "!/srv/made/file",
        "/srv/made/file",
        "/srv/read",
        "/srv/changed",
        "!/srv/changed",
        "!/srv/log",
    )
    assert list(found.files) == ["/srv/read"] and list(found.changed) == ["/srv/changed"]
    assert found.written == {"/srv": ["changed", "log", "made"]}


def test_what_is_nobody_s_to_supply(tmp_path: Path) -> None:
    tree = make(
        tmp_path,
        *("/proc/x", "/dev/null", "/sys/y", "/etc/ld.so.cache", "/srv/__pycache__/a.pyc", "/root/.cache/b"),
        *("/usr/lib/__pycache__/c.pyc", "/tmp/read", "/etc/mtab -> /proc/x"),
    )
    paths = ["/" + str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()]
    found = looked(tree, *paths, "!/tmp/made", "!/dev/shm/x", "!/srv/__pycache__/a.pyc")
    assert sorted(found.files) == ["/tmp/read", "/usr/lib/__pycache__/c.pyc"]
    assert not found.written


def test_symlinks_and_dots_are_followed_as_the_kernel_does(tmp_path: Path) -> None:
    tree = make(tmp_path, "/usr/lib/x/file", "/usr/share/data", "/lib -> usr/lib", "/opt/app -> ../usr/lib/x")
    assert spelled(tree, "/opt/app/../../share/data") == "/usr/share/data"
    assert spelled(tree, "/lib/./x//file") == "/lib/x/file"
    need = looked(tree, "/lib/x/file").files[RootPath("/lib/x/file")]
    assert set(need.parts) == {"/lib", "/usr/lib/x/file"}
    assert spelled(tree, "relative") is None and spelled(tree, "/a\0") is None


# --- proposals --------------------------------------------------------------------------------------


def test_a_directory_is_taken_whole_where_a_third_was_used(tmp_path: Path) -> None:
    used = [f"/usr/lib/app/part{n}/file{n}" for n in range(3)]
    tree = make(tmp_path, *used, *(f"/usr/lib/app/other{n}" for n in range(6)))
    assert lines(tree, NoPackages(), *used) == [("files", "/usr/lib/app")]
    make(tmp_path, "/usr/lib/app/one-more")
    tree = Tree(tmp_path)
    assert lines(tree, NoPackages(), *used) == [("files", path) for path in used]


def test_the_deepest_directory_that_holds_all_is_taken(tmp_path: Path) -> None:
    used = [f"/usr/share/app/v1/deep/{name}" for name in "abc"]
    assert lines(make(tmp_path, *used), NoPackages(), *used) == [("files", "/usr/share/app/v1/deep")]


@pytest.mark.parametrize(
    "top", ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/bin", "/srv", "/home/me", "/var/lib"]
)
def test_directories_of_everybody_are_never_taken(tmp_path: Path, top: str) -> None:
    used = [f"{top}/{name}" for name in ("a", "b", "c")]
    assert lines(make(tmp_path, *used), NoPackages(), *used) == [("files", f"{top}/{{a,b,c}}")]


def test_etc_is_named_file_by_file(tmp_path: Path) -> None:
    used = [f"/etc/app/{name}" for name in ("a", "b", "c")]
    assert lines(make(tmp_path, *used), NoPackages(), *used) == [("files", path) for path in used]


def test_files_of_one_kind_become_a_glob(tmp_path: Path) -> None:
    used = [f"/usr/lib/app/m{n}.py" for n in range(4)]
    rest = [f"/usr/lib/app/m{n}.py" for n in range(4, 12)] + [f"/usr/lib/app/x{n}.txt" for n in range(9)]
    assert lines(make(tmp_path, *used, *rest), NoPackages(), *used) == [("files", "/usr/lib/app/*.py")]
    few = used[:3]
    assert lines(Tree(tmp_path), NoPackages(), *few) == [("files", "/usr/lib/app/{m0,m1,m2}.py")]


def test_half_of_a_package_is_all_of_it(tmp_path: Path) -> None:
    used = ["/usr/share/app/a", "/usr/lib/app/b", "/usr/share/app-data/c"]
    rest = ["/usr/lib/other/1", "/usr/lib/other/2", "/usr/lib/other/3", "/usr/share/doc/app/copyright"]
    extra = [f"/usr/{place}/{n}" for place in ("share/app", "lib/app", "share/app-data") for n in range(5)]
    tree = make(tmp_path, *used, *rest, *extra)
    packages = Packages(app=[*used, *rest], more=extra)
    wanted = [("packages", "app"), ("exclude", "/usr/share/{doc,man,info,lintian}")]
    assert lines(tree, packages, *used) == wanted
    assert lines(tree, Packages(app=[*used, *rest, "/usr/lib/app/4", "/usr/lib/app/3"]), *used) != wanted
    # What lies beside its files and is not its own, byte code for one, was used too: directories say more.
    assert ("packages", "app") not in lines(tree, packages, *used, "/usr/lib/app/1")


def test_an_application_s_own_directory_comes_whole(tmp_path: Path) -> None:
    tree = make(
        tmp_path, "/srv/app/server.js", *(f"/srv/app/pages/{n}" for n in range(50)), "/srv/app/.git/config"
    )
    assert lines(tree, NoPackages(), "/srv/app/server.js", own=["/srv/app"]) == [
        ("files", "/srv/app"),
        ("exclude", "/srv/app/.git"),
    ]
    packaged = Packages(app=["/srv/app", "/srv/app/server.js"])
    assert lines(tree, packaged, "/srv/app/server.js", own=["/srv/app"]) == [("files", "/srv/app/server.js")]
    assert lines(tree, NoPackages(), "/srv/app/server.js", own=["/srv"]) == [("files", "/srv/app/server.js")]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9
)


@given(st.sets(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=12))
@pytest.mark.needs("root")
def test_every_file_is_brought_by_a_line(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    """Whatever files are called: the lines can be written, read again, and match what was used."""
    root = tmp_path_factory.mktemp("root")
    paths = [f"/usr/lib/app/{name}" for name in names if name.isprintable()]
    try:
        tree = make(root, *(path.replace(" -> ", "") for path in paths), "/usr/lib/app/unused.py")
    except OSError:  # too long for this file system
        return
    paths = [path.replace(" -> ", "") for path in paths]
    found = looked(tree, *paths).files.values()
    text = written(Learned("s", ("base",), propose(found, tree, NoPackages())))
    items = [item.text for item in parse_profile(text, "name", "file").files]
    for path in paths:
        assert any(
            path == item or RootPath(path).is_below(item) or matcher(item).fullmatch(path) for item in items
        )


# --- how it starts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "ports", "wanted"),
    [
        (["app", "8000"], [8000], ["app", "@port@"]),
        (["app", "--bind=0.0.0.0:8000", "x"], [8000], ["app", "--bind=0.0.0.0:@port@", "x"]),
        (["app", "18000", "8000.5", "80001"], [8000], None),  # parts of other numbers
        (["app", "8000", "8000"], [8000], None),  # which of the two?
        (["app", "8000:8000"], [8000], None),
        (["8000"], [8000], None),  # a program
        (["app", "8000", "9000"], [9000, 8000], ["app", "@port@", "9000"]),  # one is enough
        (["app"], [], None),
    ],
)
def test_the_port_is_a_parameter_where_it_is_plain(
    tmp_path: Path, words: list[str], ports: list[int], wanted: list[str] | None
) -> None:
    trace = Trace(listening=frozenset(Listening("0.0.0.0", port) for port in ports))
    found, parameters = start(words, "/", looked(make(tmp_path)), trace, "linux")
    assert list(found) == (wanted or words)
    assert parameters == ({"port": "8000"} if wanted else {})


@pytest.mark.parametrize(
    ("paths", "relative", "goes"),
    [
        (["/srv/app/config"], (), True),
        (["/srv/app/sub/config"], (), False),
        (["/srv/app/sub/config"], ("/srv/app/sub/config",), True),
        (["/srv/app/run.js"], (), False),  # the command says it by its whole path
        (["/etc/x"], (), False),
    ],
)
def test_where_it_starts(tmp_path: Path, paths: list[str], relative: tuple[str, ...], goes: bool) -> None:
    found, trace = looked(make(tmp_path, *paths), *paths), Trace(relative=frozenset(relative))
    words = ("/usr/bin/node", "/srv/app/run.js")
    there = start(words, "/srv/app", found, trace, "linux")[0]
    assert there == (("/usr/bin/env", "-C", "/srv/app", *words) if goes else words)
    if goes:
        of_illumos = start(words, "/srv/app", found, trace, "illumos")[0]
        assert of_illumos == ("/bin/sh", "-c", 'cd "$0" && exec "$@"', "/srv/app", *words)
    assert start((), "/srv/app", found, trace, "linux")[0] == ()


@pytest.mark.parametrize(
    ("addresses", "only"),
    [
        (["127.0.0.1", "::1"], True),
        (["127.0.0.53"], True),
        (["127.0.0.1", "0.0.0.0"], False),
        (["::"], False),
        ([], False),
    ],
)
def test_whether_only_this_machine_can_reach_it(addresses: list[str], only: bool) -> None:
    trace = Trace(listening=frozenset(Listening(address, 1) for address in addresses))
    assert only_loopback(trace) is only


# --- texts ------------------------------------------------------------------------------------------

LEARNED = Learned(
    "app, as it was seen to run",
    ("base",),
    (
        Line("programs", "app", "started"),
        Line("files", "/etc/b", "once"),
        Line("files", "/etc/a", "2 times\nodd"),
    ),
    (Place("/var/lib/app", "written: x", "0750", "app", "app"), Place("/srv", "looked into")),
    ("login",),
    {"port": "8000"},
    ("/usr/bin/app", "@port@"),
    ("left out: /x",),
)


def test_a_profile_as_it_is_written() -> None:
    assert (
        written(LEARNED)
        == """\
# Learned by partialroot learn from a run. What the programs need to be loaded follows by itself.
summary = "app, as it was seen to run"
uses    = ["base"]

programs = [
    "app",                                                  # started
]

files = [
    "/etc/a",                                               # 2 times?odd
    "/etc/b",                                               # once
]

# left out: /x

modules = { pam = ["login"] }

[parameters]
port = "8000"

[directories]
"/var/lib/app" = { mode = "0750", owner = "app", group = "app" }  # written: x
"/srv" = {}                                                 # looked into

[start]
command = ["/usr/bin/app", "@port@"]
"""
    )


def said(profile: Profile) -> dict[str, list[str]]:
    lists = {
        key: [item.text for item in getattr(profile, key)]
        for key in ("programs", "files", "users", "exclude")
    }
    return lists | {"directories": [f"{one.path} {one.mode} {one.owner}" for one in profile.directories]}


THERE = [
    "",
    'files = ["/etc/x"]\n',
    'files = ["/etc/x"]',
    'files = ["/etc/x", # why\n]\n[start]\ncommand = ["/bin/sh"]\n',
    'files = [\n  "/etc/x"  # a ] in a comment\n]\n',
    'files = []\nprograms = [ "y", ]\n',
    'programs = [\'y\']\n[directories."/opt"]\nmode = "0700"\n',
    '# only this\n[directories]  # mine\n"/opt" = {}\n',
    '# only this\n[directories]\n"/opt" = {}\n"/opt/b" = { mode = "0700" }\n[start]\npause = true\n',
    '[text."/etc/motd"]\ncontent = """\nfiles = [\n[directories]\n"""\n',
    'files = [ "/etc/[a]b", "/etc/{c,d}" ]\nexclude = ["/usr/share/doc"]  # keep\n',
]


@pytest.mark.parametrize("text", THERE)
def test_what_is_there_stays_when_something_is_added(text: str) -> None:
    lines = (Line("files", "/etc/new", "once"), Line("users", "app", "ran"), Line("programs", "z", ""))
    learned = Learned(
        "", (), lines, (Place("/srv", "looked into"), Place("/var/x", "written", "0750", "app"))
    )
    before, result = parse_profile(text, "a", "a"), added(text, learned, "a.toml")
    after = parse_profile(result, "a", "a")
    for key, values in said(before).items():
        new = {"files": ["/etc/new"], "users": ["app"], "programs": ["z"], "exclude": []}
        assert sorted(said(after)[key]) == sorted(
            [*values, *new.get(key, ["/srv None None", "/var/x 488 app"])]
        )
    assert after.start == (
        before.start and before.start._replace(where=after.start.where if after.start else "")
    )
    assert [one.content for one in after.texts] == [one.content for one in before.texts]
    for line in text.splitlines():
        for comment in [line.partition("#")[2]] if "#" in line else []:
            assert comment in result
    assert added(result, Learned("", ()), "a.toml") == result


def test_remarks_are_added_once() -> None:
    learned = Learned("", (), remarks=("left out: /x",))
    once = added('uses = ["base"]\n', learned, "a.toml")
    assert once == 'uses = ["base"]\n# left out: /x\n\n' and added(once, learned, "a.toml") == once


def test_what_cannot_be_added_is_said() -> None:
    with pytest.raises(ProfileError):
        added('files = ["/etc/x"', LEARNED, "a.toml")


@given(st.text(st.characters(codec="utf-8")))
def test_strings_of_toml(text: str) -> None:
    import tomllib

    assert tomllib.loads(f"x = {quoted(text)}")["x"] == text


def test_lines_to_paste() -> None:
    import tomllib

    assert pasted(Line("files", '/a"b', "")) == 'files = ["/a\\"b"]'
    assert tomllib.loads(pasted(Place("/srv", "", "0750", "app"))) == {
        "directories": {"/srv": {"mode": "0750", "owner": "app"}}
    }
