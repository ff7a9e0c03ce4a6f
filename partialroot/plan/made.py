"""What a zone gets that no source file supplies: texts, edited files, directories, accounts, loader cache."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from partialroot.closure import ldcache
from partialroot.errors import ProfileError
from partialroot.model import Profile
from partialroot.nodes import FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.plan.draft import Draft
from partialroot.profiles.edits import apply_edit
from partialroot.source.accounts import Keeping, parse_group, parse_passwd, shadow_of, zone_accounts

PASSWD, GROUP, SHADOW = RootPath("/etc/passwd"), RootPath("/etc/group"), RootPath("/etc/shadow")
LOADER_CACHE = RootPath("/etc/ld.so.cache")


class Made(NamedTuple):
    """A file (``text`` is its content) or a directory (``text`` None) of our own making."""

    path: RootPath
    mode: int
    uid: int
    gid: int
    text: bytes | None
    reason: Reason

    @property
    def type(self) -> FileType:
        """A file when there is a content, else a directory."""
        return FileType.DIR if self.text is None else FileType.FILE


class Owners:
    """The source's users and groups, by name or number."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.passwd = draft.text(PASSWD)
        self.group = draft.text(GROUP)
        self._uids = {name: user.uid for name, user in parse_passwd(self.passwd).items()}
        self._gids = {name: group.gid for name, group in parse_group(self.group).items()}

    def uid(self, name: str | None, where: str) -> int:
        """Return the number of a user; None is root."""
        return self._number(name, self._uids, "user", where)

    def gid(self, name: str | None, where: str) -> int:
        """Return the number of a group; None is root's."""
        return self._number(name, self._gids, "group", where)

    def _number(self, name: str | None, numbers: Mapping[str, int], kind: str, where: str) -> int:
        if name is None or name.isdecimal():
            return int(name or 0)
        if name not in numbers:
            self._draft.miss(f"{kind} {name}", where)
        return numbers.get(name, 0)


def make(
    profile: Profile,
    draft: Draft,
    cached: Iterable[ldcache.Library],
    platform: Iterable[Made],
    keeping: Keeping,
) -> tuple[Made, ...]:
    """Return what we write ourselves, later ones winning over earlier ones of the same path.

    ``platform`` is what the zone's platform needs, ``keeping`` how it keeps accounts; the profile's own word
    is stronger.
    """
    owners = Owners(draft)
    made: dict[RootPath, Made] = {}
    for one in (
        *platform,
        *_directories(profile, draft, owners),
        *_loader_cache(cached),
        *_texts(profile, draft, owners),
    ):
        made[one.path] = one
    for one in _edits(profile, draft, made):
        made[one.path] = one
    return (*_accounts(profile, draft, owners, made, keeping), *made.values())


def canonical(draft: Draft, path: RootPath) -> RootPath:
    """Return where writing ``path`` really lands: symlinked parents are chosen and followed."""
    if path.parent == path:
        return path
    found = draft.tree.resolve(path.parent)
    if found.node is None:
        return canonical(draft, path.parent) / path.name
    draft.add_links(found.links, path)
    return found.real / path.name


def _directories(profile: Profile, draft: Draft, owners: Owners) -> Iterator[Made]:
    for wish in profile.directories:
        path = canonical(draft, wish.path)
        node = draft.tree.lstat(path)
        like = node if node is not None and node.type is FileType.DIR else None
        uid = owners.uid(wish.owner, wish.where) if wish.owner or not like else like.uid
        gid = owners.gid(wish.group, wish.where) if wish.group or not like else like.gid
        mode = wish.mode if wish.mode is not None else like.mode if like else 0o755
        yield Made(path, mode, uid, gid, None, Reason("directory", wish.where))


def _texts(profile: Profile, draft: Draft, owners: Owners) -> Iterator[Made]:
    for wish in profile.texts:
        uid, gid = owners.uid(wish.owner, wish.where), owners.gid(wish.group, wish.where)
        content = wish.content.encode("utf-8", "surrogateescape")
        yield Made(canonical(draft, wish.path), wish.mode, uid, gid, content, Reason("text", wish.where))


def _loader_cache(cached: Iterable[ldcache.Library]) -> Iterator[Made]:
    """The loader finds libraries outside its default directories only through its cache."""
    libraries = tuple(cached)
    if libraries:
        text = ldcache.build(libraries)
        yield Made(LOADER_CACHE, 0o644, 0, 0, text, Reason("loader cache", libraries[0].path))


def _edits(profile: Profile, draft: Draft, made: Mapping[RootPath, Made]) -> Iterator[Made]:
    for wish in profile.edits:
        path = draft.tree.resolve(canonical(draft, wish.path)).real
        base, node = made.get(path), draft.nodes.get(path)
        if base is None and node is None:
            draft.miss(f"{wish.path} (to edit it, it must be selected)", wish.where)
            continue
        before = base.text if base is not None else draft.tree.read(path)
        after = apply_edit((before or b"").decode("utf-8", "surrogateescape"), wish)
        yield _like(path, base or node, after.encode("utf-8", "surrogateescape"), Reason("edit", wish.where))


def _like(path: RootPath, base: Made | Node | None, text: bytes, reason: Reason) -> Made:
    if base is None or base.type is not FileType.FILE:
        raise ProfileError("only regular files can be edited", path=path, hint=f"see {reason.origin}")
    return Made(path, base.mode, base.uid, base.gid, text, reason)


def _accounts(
    profile: Profile, draft: Draft, owners: Owners, made: Mapping[RootPath, Made], keeping: Keeping
) -> Iterator[Made]:
    """Passwd and group with only who is needed: named users and groups, and owners of what is chosen.

    Where the platform wants a shadow it is made too, unless the source's own is asked for as a secret.
    """
    wanted = (*profile.users, *profile.groups)
    if not wanted:
        return
    things: list[Node | Made] = [*draft.nodes.values(), *made.values()]
    passwd, group, unknown = zone_accounts(
        owners.passwd,
        owners.group,
        users=[item.text for item in profile.users],
        groups=[item.text for item in profile.groups],
        uids={thing.uid for thing in things},
        gids={thing.gid for thing in things},
        has=lambda path: _has(draft, path),
        keeping=keeping,
    )
    for item in wanted:
        if item.text in unknown:
            draft.miss(f"user or group {item.text}", item.where)
    files = [(PASSWD, passwd, 0o644), (GROUP, group, 0o644)]
    if keeping.locked and SHADOW not in draft.granted:
        files.append((SHADOW, shadow_of(passwd, keeping), 0o400))
    for path, text, mode in files:
        like = draft.tree.lstat(path)
        gid = like.gid if like is not None else 0
        data = text.encode("utf-8", "surrogateescape")
        yield Made(path, mode, 0, gid, data, Reason("users", wanted[0].where))


def _has(draft: Draft, path: str) -> bool:
    found = draft.tree.resolve(RootPath.parse(path))
    return found.real in draft.nodes
