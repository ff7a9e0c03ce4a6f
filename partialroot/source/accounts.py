"""Users and groups: the source's, and the few of them that a zone needs."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from partialroot.errors import PartialRootError
from partialroot.paths import RootPath

NO_LOGIN = "/usr/sbin/nologin"
_SHELL = "/bin/sh"


class Keeping(NamedTuple):
    """How a system keeps accounts whose password nobody knows.

    ``mark`` is the password in passwd(5), ``locked`` that in shadow(5), or "" where no shadow is needed.
    ``no_login`` is the shell of who has none.
    """

    mark: str
    locked: str
    no_login: str


LINUX = Keeping("*", "", NO_LOGIN)
# login and su ask pam_unix_account, which finds nobody without a line of shadow, and lets in no locked
# account (*LK*). NP is no hash of any password, and what system accounts have. There is no nologin(8).
ILLUMOS = Keeping("x", "NP", "/usr/bin/false")


class User(NamedTuple):
    """A line of passwd(5), without the password."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str

    def line(self, mark: str) -> str:
        """Return the line with ``mark`` as the password."""
        return f"{self.name}:{mark}:{self.uid}:{self.gid}:{self.gecos}:{self.home}:{self.shell}"


class Group(NamedTuple):
    """A line of group(5), without the password."""

    name: str
    gid: int
    members: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}:*:{self.gid}:{','.join(self.members)}"


def parse_passwd(text: str) -> dict[str, User]:
    """Return the users by name, in order.

    Lines that are no users are passed over, as the C library does; of two of one name the first counts.
    """
    users: dict[str, User] = {}
    for name, _, uid, gid, gecos, home, shell in _lines(text, 7):
        if _is_number(uid) and _is_number(gid):
            users.setdefault(name, User(name, int(uid), int(gid), gecos, home, shell))
    return users


def parse_group(text: str) -> dict[str, Group]:
    """Return the groups by name, in order, by the same rules."""
    groups: dict[str, Group] = {}
    for name, _, gid, members in _lines(text, 4):
        if _is_number(gid):
            groups.setdefault(name, Group(name, int(gid), tuple(filter(None, members.split(",")))))
    return groups


def _lines(text: str, count: int) -> Iterator[list[str]]:
    """Yield the fields of the lines that have ``count``; comments and NIS marks (``+``) are no names."""
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) == count and fields[0] and fields[0][0] not in "#+-":
            yield fields


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32 - 1


def zone_accounts(
    passwd: str,
    group: str,
    users: Iterable[str],
    groups: Iterable[str],
    uids: Iterable[int],
    gids: Iterable[int],
    has: Callable[[str], bool],
    keeping: Keeping = LINUX,
) -> tuple[str, str, frozenset[str]]:
    """Return the zone's passwd and group, and the names asked for that the source does not know.

    Kept are the named, the owners of what is in the zone (by number), and the groups of users who are kept.
    Nobody has a password. ``has`` says whether the zone has a program: a user whose shell it lacks gets
    /bin/sh if it has that, but only in place of another shell (its name ends in ``sh``), else nologin.
    """
    all_users, all_groups = parse_passwd(passwd), parse_group(group)
    names, group_names = set(users), set(groups)
    owners = _numbered(((user.uid, user.name) for user in all_users.values()), uids)
    kept = {user.name: user for user in all_users.values() if user.name in names | owners}
    numbers = {*gids, *(user.gid for user in kept.values())}
    owning = _numbered(((one.gid, one.name) for one in all_groups.values()), numbers)
    kept_groups = [
        one._replace(members=tuple(member for member in one.members if member in kept))
        for one in all_groups.values()
        if one.name in group_names | owning or not kept.keys().isdisjoint(one.members)
    ]
    unknown = frozenset((names - all_users.keys()) | (group_names - all_groups.keys()))
    kept_users = [user._replace(shell=_shell(user.shell, has, keeping)) for user in kept.values()]
    return _text(user.line(keeping.mark) for user in kept_users), _text(kept_groups), unknown


def shadow_of(passwd: str, keeping: Keeping) -> str:
    """Return the shadow(5) of a passwd: nobody's password is any that could be typed, and none gets old."""
    return _text(f"{name}:{keeping.locked}:::::::" for name in parse_passwd(passwd))


def _numbered(known: Iterable[tuple[int, str]], wanted: Iterable[int]) -> set[str]:
    """Return the names that the numbers have: of several the first, as getpwuid(3) finds it."""
    names: dict[int, str] = {}
    for number, name in known:
        names.setdefault(number, name)
    return {names[number] for number in wanted if number in names}


def _shell(shell: str, has: Callable[[str], bool], keeping: Keeping) -> str:
    """Return the shell a user has in the zone; an empty field stands for /bin/sh (passwd(5))."""
    wanted = shell or _SHELL
    if _is_path(wanted) and has(wanted):
        return wanted
    return _SHELL if wanted.endswith("sh") and has(_SHELL) else keeping.no_login


def _is_path(text: str) -> bool:
    try:
        return RootPath.parse(text) == text
    except PartialRootError:
        return False


def _text(lines: Iterable[object]) -> str:
    return "".join(f"{line}\n" for line in lines)
