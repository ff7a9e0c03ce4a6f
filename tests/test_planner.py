"""The planner: which method, why, and when it refuses; pure, so every host can be played."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.errors import ConflictError, Missing, MissingError, SpaceError
from partialroot.model import Action, Entry, Layer, Method, Plan, Selection, ZoneSettings
from partialroot.nodes import Content, FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.plan.facts import Golden, HostFacts, Least
from partialroot.plan.planner import Sharing, plan, refuse_missing, without_unreadable
from partialroot.plan.space import There, check_space

WHY = (Reason("file", "test.toml:1"),)
PLENTY = (1 << 40, 1 << 30)


def node(ino: int = 1, mode: int = 0o755, nlink: int = 1, size: int = 10, uid: int = 0) -> Node:
    return Node(FileType.FILE, mode, uid, 0, size, 5, 5, 1, ino, nlink)


def file(path: str, found: Node | None = None) -> Entry:
    found = found or node()
    layer = Layer.SHARED if path.startswith("/usr/") else Layer.PRIVATE
    where = RootPath(path)
    return Entry(
        where, FileType.FILE, found.mode, found.uid, 0, layer, WHY, found.size, source=where, node=found
    )


def directory(path: str) -> Entry:
    layer = Layer.SHARED if path.startswith("/usr") else Layer.PRIVATE
    return Entry(RootPath(path), FileType.DIR, 0o755, 0, 0, layer, WHY)


def selection(*entries: Entry, missing: tuple[Missing, ...] = ()) -> Selection:
    usr = RootPath("/usr")
    every = sorted([directory("/usr"), *entries], key=lambda entry: entry.path)
    return Selection(("test",), Path("/"), "linux", tuple(every), missing, (), (usr,), ZoneSettings())


def host(
    *,
    links: Mapping[str, str] | None = None,
    root_links: str = "",
    clones: str = "no reflinks",
    root_clones: str = "no reflinks",
    no_mount: str = "",
    lost: frozenset[tuple[int, int]] = frozenset(),
    free: tuple[int, int] = PLENTY,
) -> HostFacts:
    links = links or {"/": ""}
    return HostFacts(
        image_home=Path("/store/images"),
        mount_points=tuple(links),
        links=links,
        clones=dict.fromkeys(links, clones),
        root_links=dict.fromkeys(links, root_links),
        root_clones=dict.fromkeys(links, root_clones),
        no_mount=no_mount,
        lost_owners=lost,
        link_max=100,
        free_image=free,
        free_root=free,
    )


def planned(
    *entries: Entry,
    facts: HostFacts | None = None,
    content: Content | None = None,
    sharing: Sharing | None = None,
) -> Plan:
    contents = {entry.path: content or Content("ab" * 32) for entry in entries}
    return plan(selection(*entries), facts or host(), contents, sharing or Sharing())


def only(made: Plan, path: str) -> Action:
    return next(action for action in made.actions if action.entry.path == path)


def test_shared_files_are_linked_and_private_ones_copied() -> None:
    made = planned(file("/usr/bin/a"), file("/etc/b"))
    assert only(made, "/usr/bin/a").method is Method.LINK
    assert only(made, "/etc/b").method is Method.COPY
    assert only(made, "/usr").method is Method.MOUNT
    assert made.tops == ("/usr",)
    assert made.digest is not None


@pytest.mark.parametrize(
    ("found", "content", "why"),
    [
        (node(mode=0o4755), Content("0"), "setuid or setgid"),
        (node(mode=0o2755), Content("0"), "setuid or setgid"),
        (node(), Content("0", (("security.capability", b"x"),)), "file capabilities"),
        (node(), Content("0", (), True), "immutable"),
        (node(nlink=99), Content("0"), "99 links already"),
    ],
)
def test_what_must_not_be_linked_is_copied_and_says_why(found: Node, content: Content, why: str) -> None:
    action = only(planned(file("/usr/bin/a", found), content=content), "/usr/bin/a")
    assert action.method is Method.COPY
    assert why in action.why


def test_a_mount_that_cannot_link_clones_or_copies() -> None:
    entries = (file("/usr/bin/a"), file("/usr/local/bin/b", node(2)))
    links = {"/": "", "/usr/local": "EXDEV"}
    copied = only(planned(*entries, facts=host(links=links)), "/usr/local/bin/b")
    assert (copied.method, copied.why) == (Method.COPY, "EXDEV; no clone: no reflinks")
    cloned = only(planned(*entries, facts=host(links=links, clones="")), "/usr/local/bin/b")
    assert (cloned.method, cloned.why) == (Method.CLONE, "EXDEV")
    assert only(planned(*entries, facts=host(links=links)), "/usr/bin/a").method is Method.LINK


def test_links_that_this_host_cannot_make_are_a_warning() -> None:
    setuid = file("/usr/local/bin/su", node(3, mode=0o4755))
    entries = (file("/usr/bin/a"), file("/usr/local/bin/b", node(2)), setuid, file("/etc/c"))
    assert planned(*entries).warnings == (), "what is never linked is no loss"
    facts = host(links={"/": "", "/usr/local": "EXDEV"})
    assert planned(*entries, facts=facts).warnings == (
        "by copy instead of link: 1 files, 10 bytes: EXDEV; no clone: no reflinks",
    )


def test_without_mounts_everything_is_private_and_nothing_linked() -> None:
    made = planned(file("/usr/bin/a"), facts=host(no_mount="no CAP_SYS_ADMIN"))
    action = only(made, "/usr/bin/a")
    assert action.method is Method.COPY
    assert action.entry.layer is Layer.PRIVATE
    assert "no CAP_SYS_ADMIN" in action.why
    assert made.digest is None
    assert made.tops == ()
    assert any("nothing is shared: no CAP_SYS_ADMIN" in warning for warning in made.warnings)


def test_a_second_name_of_a_copied_inode_is_a_link_to_our_copy() -> None:
    twin = node(7, mode=0o4755, nlink=2)
    made = planned(file("/usr/bin/a", twin), file("/usr/bin/b", twin), file("/etc/c", twin))
    assert only(made, "/usr/bin/a").twin is None
    assert only(made, "/usr/bin/b").twin == "/usr/bin/a"
    assert only(made, "/usr/bin/b").method is Method.LINK
    assert only(made, "/etc/c").twin is None, "a twin in the other layer would join the layers"


@pytest.mark.parametrize("words", [("link",), ("link", "copy"), ("clone", "link")])
def test_links_into_a_writable_root_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConflictError, match="would let it write"):
        Sharing.parse(words, trust_zone=False, read_only=False)


def test_a_root_on_another_mount_gets_no_links() -> None:
    sharing = Sharing.parse(("link",), trust_zone=True, read_only=False)
    made = planned(file("/usr/bin/a"), sharing=sharing, facts=host(root_links="on another mount"))
    assert only(made, "/usr/bin/a").method is Method.COPY
    assert "on another mount" in only(made, "/usr/bin/a").why


def test_a_file_that_is_a_mount_point_itself_is_not_as_its_directory() -> None:
    facts = host(links={"/": "", "/usr/bin/a": "on another mount"})
    made = planned(file("/usr/bin/a"), file("/usr/bin/b"), facts=facts)
    assert only(made, "/usr/bin/a").method is Method.COPY
    assert only(made, "/usr/bin/b").method is Method.LINK


@pytest.mark.parametrize(("trust", "read_only"), [(True, False), (False, True)])
def test_links_into_a_trusted_or_read_only_root_are_for_shared_files_only(
    trust: bool, read_only: bool
) -> None:
    sharing = Sharing.parse(("link",), trust_zone=trust, read_only=read_only)
    made = planned(file("/usr/bin/a"), file("/etc/b"), sharing=sharing)
    assert only(made, "/usr/bin/a").method is Method.LINK
    assert only(made, "/etc/b").method is Method.COPY


def test_share_leaves_methods_out() -> None:
    sharing = Sharing.parse(("mount", "clone"), trust_zone=False, read_only=False)
    made = planned(file("/usr/bin/a"), facts=host(clones=""), sharing=sharing)
    assert only(made, "/usr/bin/a").method is Method.CLONE
    assert "--share leaves link out" in only(made, "/usr/bin/a").why


def fits(*entries: Entry, facts: HostFacts, there: There = There()) -> str:  # noqa: B008
    """Return why what these entries take does not fit; "" if it does."""
    try:
        check_space(planned(*entries, facts=facts), facts, there)
    except SpaceError as error:
        return str(error)
    return ""


def test_what_cannot_fit_is_refused() -> None:
    assert "the zonepath's file system has 10 bytes free" in fits(file("/etc/b"), facts=host(free=(10, 100)))
    assert "has 1 inodes free" in fits(file("/etc/b"), file("/etc/c"), facts=host(free=(1 << 30, 1)))
    assert not fits(file("/usr/bin/a"), facts=host(free=(10, 10)))


def test_an_image_that_is_there_takes_no_space() -> None:
    facts = host(links={"/": "on another mount"}, free=(10, 100))
    assert "the image's file system" in fits(file("/usr/bin/a"), facts=facts)
    assert not fits(file("/usr/bin/a"), facts=facts, there=There(image=True))


@pytest.mark.parametrize("home", [Layer.SHARED, Layer.PRIVATE])
def test_a_golden_layer_takes_space_once(home: Layer) -> None:
    """And each root that is a copy of it, on write, what profiles write."""
    written = file("/etc/motd")._replace(text=b"hello", source=None, node=None, size=5)
    entries = (file("/usr/bin/a"), file("/etc/b", node(size=10_000)), written)
    enough = host()._replace(golden=Golden("", Least(1, 1), home))
    little = (5_000, 2)
    tight = enough._replace(free_image=little) if home is Layer.SHARED else enough._replace(free_root=little)
    where = "the image's" if home is Layer.SHARED else "the zonepath's"
    assert where in fits(*entries, facts=tight)
    assert not fits(*entries, facts=tight, there=There(golden=True))
    assert not fits(*entries, facts=enough)
    no_room = enough._replace(free_root=(10, 2))
    assert "the zonepath's" in fits(*entries, facts=no_room, there=There(golden=True))


def test_owners_that_cannot_be_given_are_warned_of() -> None:
    made = planned(file("/etc/b", node(uid=33)), facts=host(lost=frozenset({(33, 0)})))
    assert any("33:0 cannot be given" in warning for warning in made.warnings)


def test_all_that_is_missing_is_said_at_once() -> None:
    missing = (
        Missing("libx.so", "/usr/bin/a", "error", "libx"),
        Missing("nod", "node.toml:3", "error"),
        Missing("libopt.so", "/usr/bin/a", "warning"),
    )
    with pytest.raises(MissingError) as caught:
        refuse_missing(selection(missing=missing))
    assert [one.name for one in caught.value.missing] == ["libx.so", "nod"]
    assert caught.value.hint == "install libx, or leave out what needs it"
    refuse_missing(selection(missing=missing[2:]))


def test_what_may_not_be_read_is_missing() -> None:
    chosen = selection(file("/usr/bin/a"), file("/etc/b"))
    kept = without_unreadable(chosen, {RootPath("/usr/bin/a"): Content("0")})
    assert [entry.path for entry in kept.entries] == ["/usr", "/usr/bin/a"]
    assert kept.missing == (Missing("/etc/b (may not be read)", "test.toml:1", "error"),)


PATHS = st.lists(st.sampled_from(["/usr/bin/a", "/usr/bin/b", "/usr/lib/c", "/etc/d", "/var/e"]), unique=True)
NODES = st.builds(
    node,
    ino=st.integers(1, 3),
    mode=st.sampled_from([0o644, 0o755, 0o4755]),
    nlink=st.integers(1, 200),
)


@given(
    PATHS, st.lists(NODES, min_size=5, max_size=5), st.sampled_from(["", "no"]), st.sampled_from(["", "no"])
)
def test_no_plan_lets_a_zone_write_the_source(
    paths: list[str], nodes: list[Node], no_mount: str, no_link: str
) -> None:
    entries = [file(path, found) for path, found in zip(paths, nodes, strict=False)]
    made = planned(*entries, facts=host(links={"/": no_link}, no_mount=no_mount))
    assert [action.entry.path for action in made.actions] == sorted({*paths, "/usr"})
    for action in made.actions:
        to_source = action.method is Method.LINK and action.twin is None
        assert not (to_source and action.entry.layer is Layer.PRIVATE)
        assert not (to_source and action.entry.mode & 0o6000)
        assert action.why


@given(st.permutations(["/usr/bin/a", "/usr/bin/b", "/usr/lib/c", "/etc/d"]))
def test_the_digest_knows_no_order_and_no_private_file(paths: list[str]) -> None:
    entries = [file(path) for path in paths]
    assert (
        planned(*entries).digest == planned(file("/usr/lib/c"), file("/usr/bin/a"), file("/usr/bin/b")).digest
    )


def test_the_digest_changes_with_what_is_shared() -> None:
    digests = {
        planned(file("/usr/bin/a", node(mode=mode)), content=Content(sha, xattrs)).digest
        for mode in (0o755, 0o644)
        for sha in ("00", "11")
        for xattrs in ((), (("user.a", b"1"),), (("user.a", b"2"),))
    }
    assert len(digests) == 12
    same = {planned(file("/usr/bin/a", node(ino))).digest for ino in (1, 2)}
    assert len(same) == 1, "neither inode nor time is part of it"
