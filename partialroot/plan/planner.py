"""Selection and host facts -> Plan: one action per destination, each with its method and the reason for it.

Pure: everything the host can or cannot do was tried before and is in ``HostFacts``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from partialroot.errors import ConflictError, Missing, MissingError
from partialroot.model import Action, Entry, Layer, Method, Plan, Selection
from partialroot.nodes import Content, FileType
from partialroot.paths import RootPath, host_path
from partialroot.plan import cloned
from partialroot.plan.digest import digest, golden_key
from partialroot.plan.facts import HostFacts

AUTO = ("auto",)
_ALL = frozenset({Method.MOUNT, Method.LINK, Method.CLONE, Method.COPY})
_GOLDEN = "{} private paths are copied once for all zones that have the same"


class Sharing(NamedTuple):
    """What ``--share`` and ``--trust-zone`` allow."""

    methods: frozenset[Method] = _ALL
    link_into_root: bool = False

    @classmethod
    def parse(cls, words: Iterable[str], *, trust_zone: bool, read_only: bool) -> "Sharing":
        """Read the words of ``--share``; copying is always possible.

        Raises ConflictError for hard links straight into a root the zone could write: that would let the
        zone's root write the source's files.
        """
        words = tuple(words)
        if words == AUTO:
            return cls()
        methods = frozenset(Method(word) for word in words) | {Method.COPY}
        into_root = Method.LINK in methods and Method.MOUNT not in methods
        if into_root and not (trust_zone or read_only):
            raise ConflictError(
                "hard links in a root that the zone can write would let it write the source's files",
                hint="add 'mount' to --share, make the profile read_only, or say --trust-zone",
            )
        return cls(methods, into_root)


def refuse_missing(selection: Selection) -> None:
    """Raise MissingError with everything needed that is not in the source, all at once (P7)."""
    wanting = [one for one in selection.missing if one.severity == "error"]
    if wanting:
        raise MissingError(wanting)


def without_unreadable(selection: Selection, contents: Mapping[RootPath, Content]) -> Selection:
    """Leave out the files that could not be measured because this user may not read them.

    What is left out is missing: an error where a profile names it, else a warning.
    """
    lost = [entry for entry in selection.entries if entry.source and entry.source not in contents]
    if not lost:
        return selection
    gone = {entry.path for entry in lost}
    return selection._replace(
        entries=tuple(entry for entry in selection.entries if entry.path not in gone),
        missing=(*selection.missing, *map(_unreadable, lost)),
    )


def _unreadable(entry: Entry) -> Missing:
    named = any(reason.rule in ("program", "file", "start") for reason in entry.reasons)
    severity = "error" if named else "warning"
    return Missing(f"{entry.source} (may not be read)", entry.reasons[0].origin, severity)


def plan(
    selection: Selection, facts: HostFacts, contents: Mapping[RootPath, Content], sharing: Sharing
) -> Plan:
    """Return what to do at each destination; whether that fits is asked next (``plan.space``)."""
    chooser = _Chooser(selection, facts, contents, sharing)
    actions = tuple(chooser.action(entry) for entry in selection.entries)
    private = tuple(action for action in actions if action.entry.layer is Layer.PRIVATE)
    common = tuple(cloned.common(private))
    tops = tuple(top for top in selection.tops if top in chooser.mounted)
    no_golden = chooser.why_no_golden(private)
    return Plan(
        profiles=selection.profiles,
        source=selection.source,
        platform=selection.platform,
        shared=tuple(action for action in actions if action.entry.layer is Layer.SHARED),
        private=private,
        digest=digest(actions) if chooser.has_image else None,
        image_home=facts.image_home,
        tops=tops,
        missing=selection.missing,
        warnings=(*selection.warnings, *_losses(actions, facts, chooser)),
        settings=selection.settings,
        views=selection.views,
        golden=None if no_golden else golden_key(common, tops, selection.platform),
        why_golden=no_golden or _GOLDEN.format(len(common)),
        definitions=selection.definitions,
    )


class _Chooser:
    """Chooses a method for each entry."""

    def __init__(
        self, selection: Selection, facts: HostFacts, contents: Mapping[RootPath, Content], sharing: Sharing
    ) -> None:
        self._facts = facts
        self._contents = contents
        self._sharing = sharing
        self._source, self._views = selection.source, selection.views
        self._tops = frozenset(selection.tops)
        self._mount_points = frozenset(facts.mount_points)
        self._points: dict[str, str] = {}
        self._twins: dict[tuple[Layer, int, int], RootPath] = {}
        self.no_image = self._why_no_image()
        self.has_image = not self.no_image and any(entry.layer is Layer.SHARED for entry in selection.entries)
        self.mounted: set[RootPath] = set()

    def why_no_golden(self, private: Iterable[Action]) -> str:
        """Say why zones' roots are no copies of one with these private entries; "" if they are."""
        if not self.has_image:
            return self.no_image or "nothing is shared"
        if Method.CLONE not in self._sharing.methods:
            return "--share leaves clone out"
        golden = self._facts.golden
        return golden.why_not or golden.least.why_not(action.entry for action in private)

    def _why_no_image(self) -> str:
        if Method.MOUNT not in self._sharing.methods:
            return "--share leaves mount out"
        return self._facts.no_mount

    def action(self, entry: Entry) -> Action:
        """Return what happens at the entry's path; without an image everything is in the private layer."""
        action = self._action(entry)
        if entry.layer is Layer.SHARED and not self.has_image:
            return action._replace(entry=entry._replace(layer=Layer.PRIVATE))
        return action

    def _action(self, entry: Entry) -> Action:
        if entry.type is FileType.DIR:
            return self._directory(entry)
        if entry.type is FileType.SYMLINK:
            return Action(entry, Method.SYMLINK, "a symlink of the source" if entry.node else "made here")
        if entry.text is not None:
            return Action(entry, Method.WRITE, "its content is in a profile", content_of(entry))
        return self._file(entry)

    def _directory(self, entry: Entry) -> Action:
        if self.has_image and entry.path in self._tops:
            self.mounted.add(entry.path)
            return Action(entry, Method.MOUNT, "shared: the image's directory, read-only")
        return Action(entry, Method.MKDIR, "a directory")

    def _file(self, entry: Entry) -> Action:
        node = entry.node
        assert node is not None and entry.source is not None
        content = self._contents[entry.source]
        method, why = self._method(entry, content)
        if method is Method.LINK or node.nlink < 2:
            return Action(entry, method, why, content)
        twin = self._twins.setdefault((self._home(entry), node.dev, node.ino), entry.path)
        if twin == entry.path:
            return Action(entry, method, why, content)
        return Action(entry, Method.LINK, f"the same file as {twin}", content, twin)

    def _home(self, entry: Entry) -> Layer:
        return entry.layer if self.has_image else Layer.PRIVATE

    def _method(self, entry: Entry, content: Content) -> tuple[Method, str]:
        point = self._point(entry)
        shared = self._home(entry) is Layer.SHARED
        no_link = self._why_no_link(entry, content, point, shared)
        if not no_link:
            return (
                Method.LINK,
                "the image shares the source's inode" if shared else "a link into a root trusted with it",
            )
        clones = self._facts.clones if shared else self._facts.root_clones
        no_clone = (
            "--share leaves clone out"
            if Method.CLONE not in self._sharing.methods
            else clones.get(point, "not tried")
        )
        if not no_clone:
            return Method.CLONE, no_link
        return Method.COPY, f"{no_link}; no clone: {no_clone}"

    def _why_no_link(self, entry: Entry, content: Content, point: str, shared: bool) -> str:
        node = entry.node
        assert node is not None
        if not shared and not (entry.layer is Layer.SHARED and self._sharing.link_into_root):
            return self.no_image if entry.layer is Layer.SHARED else "private: the zone may write it"
        if Method.LINK not in self._sharing.methods:
            return "--share leaves link out"
        if node.mode & 0o6000:
            return "setuid or setgid: an upgrade changes the old inode's mode"
        if any(name == "security.capability" for name, _ in content.xattrs):
            return "file capabilities: an upgrade may change the old inode"
        if content.immutable:
            return "immutable: link(2) refuses it"
        if node.nlink >= self._facts.link_max - 1:
            return f"it has {node.nlink} links already"
        links = self._facts.links if shared else self._facts.root_links
        return links.get(point, "not tried")

    def _point(self, entry: Entry) -> str:
        """Return the mount point that holds the source file (or is it), remembered by directory."""
        assert entry.source is not None
        place = host_path(self._source, self._views, entry.source)
        if place in self._mount_points:
            return place
        directory = place.rpartition("/")[0] or "/"
        if directory not in self._points:
            above = filter(RootPath(directory).is_below, self._mount_points)
            self._points[directory] = max(above, key=len, default="/")
        return self._points[directory]


def content_of(entry: Entry) -> Content:
    """Return the content of an entry we write ourselves."""
    from hashlib import sha256

    return Content(sha256(entry.text or b"").hexdigest())


def _lost_links(actions: Iterable[Action], facts: HostFacts) -> Iterator[str]:
    """Say what is brought into the image in another way than by links, because this host cannot link it."""
    reasons = tuple(filter(None, facts.links.values()))
    if not reasons:
        return
    sizes: dict[tuple[Method, str], list[int]] = {}
    for action in actions:
        instead = action.entry.layer is Layer.SHARED and action.method in (Method.CLONE, Method.COPY)
        if instead and action.why.startswith(reasons):
            sizes.setdefault((action.method, action.why), []).append(action.entry.size)
    for (method, why), lost in sorted(sizes.items()):
        yield f"by {method} instead of link: {len(lost)} files, {sum(lost)} bytes: {why}"


def _losses(actions: Iterable[Action], facts: HostFacts, chooser: _Chooser) -> Iterable[str]:
    """Say what this host makes us lose: sharing, links, and owners that cannot be given (P8, P9)."""
    if chooser.no_image:
        yield f"nothing is shared: {chooser.no_image}"
    yield from _lost_links(actions, facts)
    lost: dict[tuple[int, int], list[RootPath]] = {}
    for action in actions:
        owner = (action.entry.uid, action.entry.gid)
        if owner in facts.lost_owners and action.method is not Method.LINK:
            lost.setdefault(owner, []).append(action.entry.path)
    for (uid, gid), paths in sorted(lost.items()):
        yield f"the owner {uid}:{gid} cannot be given here: {len(paths)} paths, {paths[0]} first"
