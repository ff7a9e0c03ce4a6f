"""mvi's own manifests: the tree is the one that zmvix.sh builds."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import globalzone
import mvi_checkout
import pytest
import treedump
import zmvix
from command import partialroot
from needs import needs

from partialroot.errors import ConflictError, ProfileError
from partialroot.model import Entry, Profile, Selection, ZoneSettings
from partialroot.nodes import FileType, Item
from partialroot.paths import RootPath
from partialroot.pipeline.fixing import fix
from partialroot.plan.fragments import content, rc_script, with_fragments
from partialroot.plan.literal import UNWANTED, UNWANTED_EMPTY, literal
from partialroot.plan.policy import shared_tops
from partialroot.profiles.library import Library
from partialroot.source.packages import Packages
from partialroot.source.packages.svr4 import Svr4
from partialroot.source.tree import Tree


class Source:
    """A global zone, and the profiles of a checkout of mvi."""

    def __init__(self, zone: Path, checkout: Path) -> None:
        self.zone = zone
        self.checkout = checkout
        self.tree = Tree(zone)
        self.packages: Packages = Svr4(self.tree)
        self.library = Library([checkout], "illumos")

    def select(self, *names: str, keep_going: bool = False, add_closure: bool = False) -> Selection:
        profile = self.library.compose(names, {})
        return with_fragments(
            self.nothing(profile),
            profile.fragments,
            self.tree,
            self.packages,
            lambda selection: fix(selection, profile.fragments, self.tree),
            keep_going=keep_going,
            add_closure=add_closure,
        )

    def nothing(self, profile: Profile) -> Selection:
        return Selection(
            profiles=(profile.name,),
            source=self.zone,
            platform="illumos",
            entries=(),
            missing=(),
            warnings=(),
            tops=shared_tops("illumos", self.tree.lstat),
            settings=ZoneSettings(profile.start),
        )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    top = tmp_path_factory.mktemp("mvi")
    return Source(globalzone.build(top / "zone"), mvi_checkout.make(top / "mvi"))


def lines(selection: Selection, tree: Tree) -> Iterator[str]:
    """Yield the lines that treedump has of a tree, but for times and hard links."""
    for entry in selection.entries:
        words = [entry.path, entry.type, f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}", *_more(entry, tree)]
        yield " ".join(words)


def _more(entry: Entry, tree: Tree) -> list[str]:
    if entry.type is FileType.SYMLINK:
        return ["->", str(entry.target)]
    if entry.type is FileType.DIR:
        return []
    data = content(entry, tree)
    assert entry.size == len(data), entry.path
    return [f"size={len(data)}", f"sha256={sha256(data).hexdigest()}"]


def dumped(root: Path) -> list[str]:
    """Return the lines of treedump in the same form."""
    return [_plain(line) for line in treedump.dump(root, times=False) if not line.startswith("/ ")]


def _plain(line: str) -> str:
    line = line.partition(" links=")[0]
    head, arrow, target = line.partition(" -> ")
    return head.rpartition(" size=")[0] + arrow + target if arrow else line


COMPOSITIONS = [
    *("nonet node", "node zlogin", "nginx", "zlogin", "zlogin nginx node"),
    *("wipe", "node narrow wipe"),  # with what else mvi's scripts are written
]


@needs("root", "ksh", "userns")
@pytest.mark.parametrize("names", COMPOSITIONS)
def test_the_tree_is_that_of_zmvix(names: str, source: Source, tmp_path: Path) -> None:
    expected = zmvix.build(tmp_path / "root", source.zone, source.checkout, names.split())
    selected = source.select(*names.split(), keep_going=True)
    assert list(lines(selected, source.tree)) == dumped(expected)


@needs("root", "ksh", "userns")
def test_a_zone_on_disk_is_that_of_zmvix(source: Source, tmp_path: Path) -> None:
    expected = zmvix.build(tmp_path / "root", source.zone, source.checkout, ["nonet", "node"])
    zone, store = tmp_path / "zone", tmp_path / "store"
    words: list[str | Path] = [
        zone,
        "nonet",
        "node",
        "--keep-going",
        "--source",
        source.zone,
        "--store",
        store,
    ]
    before = treedump.dump(source.zone)
    partialroot("populate", *words, "--manifests", source.checkout)
    assert on_disk(zone) == dumped(expected)
    assert treedump.dump(source.zone) == before
    again = partialroot("populate", *words, "--manifests", source.checkout, "--json").document
    assert not again["changed"]


def on_disk(zone: Path) -> list[str]:
    """Return the lines of a zone as it is when the brand has mounted its image."""
    image = [line for line in dumped(zone / "image") if line.startswith(("/usr", "/lib", "/sbin"))]
    shared = {line.split(" ")[0] for line in image}
    private = [line for line in dumped(zone / "root") if line.split(" ")[0] not in shared]
    return sorted([*private, *image], key=lambda line: line.split(" ")[0])


def test_what_a_zone_can_do_without_is_what_zmvix_removes() -> None:
    """Most of it is in none of the packages that the compositions above install."""
    words = [line.split() for line in zmvix.GONE.strip().split("\n")]
    removed = {f"/{path}" for how, *paths in words if how != "rmdir" for path in paths}
    emptied = {f"/{path}" for how, *paths in words if how == "rmdir" for path in paths}
    assert set(UNWANTED.split()) == removed
    assert set(UNWANTED_EMPTY.split()) == emptied


def errors(selection: Selection) -> list[tuple[str, str]]:
    return [(one.name, one.needed_by) for one in selection.missing if one.severity == "error"]


def test_what_zmvix_drops_silently_is_missing(source: Source) -> None:
    assert errors(source.select("nginx", "node")) == [
        ("/usr/lib/libpcre.so.1.2.10", "nginx.files:1"),
        ("/usr/lib/libpcre.so.1", "nginx.files:2"),
        ("/lib/libssl.so.1.1 (there is /lib/libssl.so.3)", "nginx.files:4"),
        ("/lib/libcrypto.so.1.1 (there is /lib/libcrypto.so.3)", "nginx.files:5"),
        (
            "/usr/versions/node-v18/bin/node (there is /usr/versions/node-v22/bin/node)",
            "node.files:19",
        ),
    ]


def test_a_missing_package_or_directory_is_missing(source: Source, tmp_path: Path) -> None:
    more = {"my.pkgs": "TRIBnone.1.0\n", "my.files": "usr/lib/security/pam_roles.so.1\n"}
    other = Source(source.zone, mvi_checkout.make(tmp_path / "mvi", **more))
    assert errors(other.select("my")) == [
        ("package TRIBnone", "my.pkgs:1"),
        ("/usr/lib/security (to hold pam_roles.so.1; no .dirs file lists it)", "my.files:1"),
    ]


@needs("root")
def test_all_of_it_is_said_at_once_and_nothing_is_touched(source: Source, tmp_path: Path) -> None:
    words: list[str | Path] = [
        "--source",
        source.zone,
        "--manifests",
        source.checkout,
        "--store",
        tmp_path / "store",
    ]
    done = partialroot("populate", tmp_path / "zone", "nginx", "node", *words, code=2)
    assert "node-v18/bin/node" in done.err
    assert "libcrypto.so.1.1" in done.err
    assert "--keep-going leaves out what mvi's lists name" in done.err
    assert os.listdir(tmp_path) == []


@needs("ksh", "userns")
def test_what_the_closure_finds_is_a_warning_or_added(source: Source) -> None:
    literal = source.select("zlogin")
    names = {one.name: one.severity for one in literal.missing}
    assert names["/usr/lib/libpool.so.1"] == "warning"
    assert not errors(literal)
    paths = {entry.path for entry in literal.entries}
    assert "/usr/lib/libpool.so.1" not in paths
    complete = source.select("zlogin", add_closure=True)
    added = {entry.path for entry in complete.entries} - paths
    assert {"/usr/lib/libpool.so.1", "/lib/libofmt.so.1"} <= added
    assert {one.name for one in complete.missing} & added == set()


@needs("ksh", "userns")
def test_name_services_of_every_class_are_missed_or_added(source: Source, tmp_path: Path) -> None:
    """mvi has the 32-bit one only, and node is a 64-bit program (linker facts 5.5)."""
    needed = {one.name: one.needed_by for one in source.select("node", keep_going=True).missing}
    assert needed["/lib/amd64/nss_files.so.1"] == "/etc/nsswitch.conf: passwd"
    assert "/lib/nss_files.so.1" not in needed
    complete = source.select("node", keep_going=True, add_closure=True)
    assert RootPath("/lib/amd64/nss_files.so.1") in {entry.path for entry in complete.entries}
    scripts = {
        "own-fix.sh": "echo 'passwd: ldap' > etc/nsswitch.conf\n",
        "link-fix.sh": "cd etc\nln -sf x nsswitch.conf\n",
    }
    other = Source(source.zone, mvi_checkout.make(tmp_path / "mvi", **scripts))
    names = {one.name.rpartition("/")[2] for one in other.select("own").missing}
    assert {"nss_ldap.so.1", "nss_nis.so.1"} <= names  # what it does not say is looked up in NIS first
    assert not any("nss_" in one.name for one in other.select("link").missing)


@needs("ksh", "userns")
def test_the_order_of_the_command_line_is_that_of_the_scripts(source: Source, tmp_path: Path) -> None:
    scripts = {f"{one}-fix.sh": f"echo {one} >> etc/order\n" for one in "ab"}
    starts = {f"{one}.rc": f"#!/sbin/sh\necho {one}\n" for one in "ab"}
    other = Source(source.zone, mvi_checkout.make(tmp_path / "mvi", **scripts, **starts))
    for names in (["a", "b"], ["b", "a"]):
        entries = {str(entry.path): entry for entry in other.select(*names).entries}
        assert (entries["/etc/order"].text or b"").decode().split() == names
        rc = (entries["/etc/mvi.rc"].text or b"").decode()
        assert rc.index(f"/etc/mvi-{names[0]}.rc") < rc.index(f"/etc/mvi-{names[1]}.rc")


@needs("ksh", "userns")
def test_a_checkout_may_be_named_from_where_one_is(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mvi_checkout.make(tmp_path / "mvi", **{"x-fix.sh": "cp $MVI_DIR/x-fix.sh etc/copied\n"})
    monkeypatch.chdir(tmp_path)
    here, there = (Source(source.zone, place) for place in (Path("mvi"), tmp_path / "mvi"))
    entries = {str(entry.path): entry for entry in here.select("x").entries}
    assert entries["/etc/copied"].text == b"cp $MVI_DIR/x-fix.sh etc/copied\n"
    assert here.library.definitions(["x"]) == there.library.definitions(["x"])  # else a zone were stale


@needs("ksh", "userns")
@pytest.mark.parametrize("script", ["rm -rf etc", "mv etc usr; ln -s usr/etc etc"])
def test_without_a_directory_for_what_starts_it_there_is_no_zone(
    script: str, source: Source, tmp_path: Path
) -> None:
    checkout = mvi_checkout.make(tmp_path / "mvi", **{"x-fix.sh": f"{script}\n"})
    (checkout / "x.pkgs").write_text("TRIBgone\n")
    with pytest.raises(ConflictError) as caught:
        Source(source.zone, checkout).select("x", keep_going=True)
    assert caught.value.path == "/etc"
    assert [one.name for one in caught.value.missing] == ["package TRIBgone"]
    assert "fix script" in str(caught.value.hint)


@needs("ksh", "userns")
def test_toml_beside_fragments(source: Source, tmp_path: Path) -> None:
    checkout = mvi_checkout.make(tmp_path / "mvi")
    (checkout / "site.toml").write_text(
        'programs = ["cat"]\n[text."/etc/motd"]\ncontent = "ours"\n'
        '[start]\ncommand = ["/usr/bin/cat", "a b"]\n'
    )
    other = Source(source.zone, checkout)
    words: list[str | Path] = ["zlogin", "site", "--source", other.zone, "--manifests", checkout, "--json"]
    document = partialroot("plan", *words).document
    entries = {entry["path"]: entry for entry in document["entries"]}
    assert entries["/usr/bin/cat"]["reasons"][0]["rule"] == "program"
    assert entries["/usr/bin/login"]["reasons"][0] == {"rule": "file", "origin": "zlogin.files:2"}
    assert entries["/etc/motd"]["size"] == 4
    profile = other.library.compose(["zlogin", "site"], {})
    assert rc_script(profile.fragments, profile.start).endswith(
        "exec /usr/bin/cat 'a b' >/dev/console 2>&1 </dev/console\n"
    )


# --- the library --------------------------------------------------------------------------------------


def test_fragments_are_profiles(source: Source) -> None:
    summaries = {one.name: one.summary for one in source.library.names()}
    assert summaries["node"] == "mvi: 2 packages, 3 directories, 19 files, an rc script, a fix script"
    assert summaries["nonet"] == "mvi: a fix script"
    assert summaries["zlogin"] == "mvi: 1 directory, 12 files, a fix script"
    assert summaries["base"].startswith("init")
    node = source.library.find("node")
    assert [item.text for item in node.fragments[0].packages] == ["TRIBgcc4runtime", "TRIBv-node-v22"]
    shown = partialroot(
        "profiles", "show", "zlogin", "--manifests", source.checkout, "--platform", "illumos"
    ).out
    assert {"  zlogin", "    directories = /usr/lib/security"} <= set(shown.splitlines())
    assert node.fragments[0].files[-1] == Item("/usr/versions/node-v18/bin/node", "node.files:19")


def test_the_base_comes_first_whatever_the_order(source: Source) -> None:
    for names in (["node"], ["node", "zmvi"], ["zmvi", "node"]):
        fragments = source.library.compose(names, {}).fragments
        assert {one.name for one in fragments} == {"node", "zmvi"}
        base = next(one for one in fragments if one.name == "zmvi")
        assert base.files[0].text == "/usr/bin/getent"
        found = literal(fragments, source.tree, source.packages, ())
        assert "/usr/bin/getent" in found.entries


def test_without_the_base_lists_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.files").write_text("usr/bin/ls\n")
    with pytest.raises(ProfileError, match="no profile is called 'zmvi'"):
        Library([tmp_path], "illumos").compose(["mine"], {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/usr/bin/ls", "begins with a slash"),
        ("usr/../etc", "has a '..'"),
        ("usr/bin/\x1b[m", "cannot be printed"),
    ],
)
def test_lines_that_are_no_paths(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.files").write_text(f"# comment\n\n{line}\n")
    with pytest.raises(ProfileError) as caught:
        Library([tmp_path], "illumos").find("mine")
    assert message in caught.value.message
    assert caught.value.path == "mine.files:3"


@needs("root")
def test_fragments_that_others_can_write_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine-fix.sh").write_text("true\n")
    (tmp_path / "mine-fix.sh").chmod(0o666)
    with pytest.raises(ProfileError, match="others can write it"):
        Library([tmp_path], "illumos").find("mine")


def test_toml_wins_over_a_fragment_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('summary = "mine"\n')
    (tmp_path / "mine.files").write_text("usr/bin/ls\n")
    assert Library([tmp_path], "illumos").find("mine").summary == "mine"


@needs("ksh", "userns")
def test_a_database_that_may_be_cut_off_is_told_once(source: Source, tmp_path: Path) -> None:
    zone = globalzone.build(tmp_path / "zone")
    contents = zone / "var/sadm/install/contents"
    contents.write_text("".join(f"{line}\n" for line in contents.read_text().split("\n")[:-2]))
    for profiles in (["zlogin"], ["whole"], ["zlogin", "whole"]):
        words: list[str | Path] = [*profiles, "--source", zone, "--json"]
        if "zlogin" in profiles:
            words += ["--manifests", source.checkout]
        document = partialroot("plan", *words).document
        told = [one for one in document["warnings"] if "may be cut off" in one]
        assert told == [
            "/var/sadm/install/contents may be cut off: it does not end with the comment of pkgadd(8)"
        ]


@needs("root")  # it edits a file that only root may write
def test_a_file_that_was_edited_is_left_out(tmp_path: Path) -> None:
    zone = globalzone.build(tmp_path / "zone")
    (zone / "etc/motd").write_text("edited")
    (zone / "etc/datemsk").write_text("edited")  # not editable: there is no copy of it as it was shipped
    source = Source(zone, mvi_checkout.make(tmp_path / "mvi"))
    found = literal(source.library.compose(["zmvi"], {}).fragments, source.tree, source.packages, ())
    motd = found.entries[RootPath("/etc/motd")]
    assert motd.source == "/var/sadm/pkg/SUNWcs/save/pspool/SUNWcs/reloc/etc/motd"
    assert RootPath("/etc/datemsk") not in found.entries
    assert [one for one in found.warnings if one.startswith("/etc/datemsk is left out")]
