"""What a trace adds to a profile: lines, directories, accounts, its start, remarks on what stays out."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from partialroot.globs import is_glob
from partialroot.learn.needs import VARIABLE, Need, Needs
from partialroot.learn.propose import Line, counted, is_library, literal, nameable, propose
from partialroot.learn.trace import Trace
from partialroot.learn.wording import Place, quoted
from partialroot.model import Layer, Profile
from partialroot.paths import RootPath
from partialroot.plan.policy import Excludes, layer_of
from partialroot.plan.vet import why_secret
from partialroot.source.accounts import parse_group, parse_passwd
from partialroot.source.packages import Packages
from partialroot.source.programs import find_program
from partialroot.source.tree import Tree

PASSWD, GROUP = RootPath("/etc/passwd"), RootPath("/etc/group")
PAM = RootPath("/etc/pam.d")
# They look at the directory that they are in, whatever it is to them.
_SHELLS = frozenset({"sh", "dash", "bash", "ksh", "ksh93", "zsh", "busybox"})
_LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.")


class Source(NamedTuple):
    """Where files come from: its tree and packages, and the top directories that zones share."""

    tree: Tree
    packages: Packages
    tops: tuple[RootPath, ...]


class Known(NamedTuple):
    """What a profile brings already: the paths it selects, itself, and what it leaves out on purpose.

    ``filled`` are the directories that it makes, not only those it uses, for the zone to write to.
    """

    paths: Collection[RootPath]
    profile: Profile
    excludes: Excludes
    filled: frozenset[RootPath] = frozenset()

    def lacks(self, need: Need) -> bool:
        """Whether something that was asked for is not there, though nobody wants it left out."""
        return any(part not in self.paths for part in need.parts) and not self.excludes.why(need.found.real)


class Lesson(NamedTuple):
    """What is to be added. ``secrets`` are those that the run read and the profile does not name."""

    lines: tuple[Line, ...] = ()
    places: tuple[Place, ...] = ()
    remarks: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


def program_lines(needs: Needs, known: Known, tree: Tree, first: str | None) -> Iterator[Line]:
    """Yield the programs that were executed and are lacking, and in any case the ``first``."""
    for path, need in needs.programs.items():
        if (known.lacks(need) or path == first) and nameable(path):
            yield Line("programs", _program(path, tree), "started" if path == first else counted(need))


def _program(path: RootPath, tree: Tree) -> str:
    """Return a program's name where that is enough to find it, else its path."""
    found = find_program(tree, path.name) if path.name and not is_glob(path.name) else None
    is_found = found is not None and tree.resolve(found).real == tree.resolve(path).real
    return path.name if is_found else literal(path)


def pam_services(needs: Needs, known: Known) -> Iterator[str]:
    """Yield the services whose PAM stacks were read."""
    for path, need in needs.files.items():
        if path.parent == PAM and not path.name.startswith("common-") and known.lacks(need):
            yield path.name


def file_lines(
    needs: Needs, known: Known, source: Source, own: Iterable[RootPath], *, libraries: bool
) -> tuple[Line, ...]:
    """Return lines for the files that are lacking and may be had for the asking.

    Without ``libraries``, shared ones are left for later: most come with what needs them.
    """
    plain = _told_apart(needs, known, source).plain
    wanted = (need for need in plain if libraries or not is_library(need.path))
    return propose(wanted, source.tree, source.packages, own)


def name_lines(needs: Needs, known: Known, source: Source) -> tuple[Line, ...]:
    """Return lines for the files that are still lacking, by name and nothing else."""
    plain = _told_apart(needs, known, source).plain
    return tuple(Line("files", literal(need.path), counted(need)) for need in plain)


def rest(trace: Trace, needs: Needs, known: Known, source: Source, *, secrets: bool) -> Lesson:
    """Return all but the lines for plain files and programs.

    ``secrets`` says whether what the run read of these is wanted.
    """
    told = _told_apart(needs, known, source)
    lines, remarks = list(_private(needs, known, source)), told.remarks
    if secrets:
        lines += (Line("secrets", literal(path), f"a secret: {why}") for path, why in told.secret.items())
    else:
        remarks += (_remark(path, why) for path, why in told.secret.items())
    places = tuple(_places(needs, known, source))
    lines += _accounts(trace, known, source.tree, places)
    remarks += _left(needs, known, trace)
    return Lesson(tuple(lines), places, tuple(remarks), tuple(told.secret))


class _Told(NamedTuple):
    """Files that are lacking: secrets with why they are, what is none, remarks on what cannot be named."""

    secret: dict[RootPath, str]
    plain: list[Need]
    remarks: list[str]


def _told_apart(needs: Needs, known: Known, source: Source) -> _Told:
    told = _Told({}, [], [])
    copied = {path: need for path, need in needs.changed.items() if not _is_state(path, known)}
    for path, need in {**needs.files, **copied}.items():
        if not known.lacks(need):
            continue
        shared = layer_of(need.found.real, source.tops) is Layer.SHARED
        why = why_secret(source.tree, need.found.real, need.node, shared=shared)
        if not nameable(path):
            told.remarks.append(f"left out, as no profile can name it: {path}")
        elif why is not None:
            told.secret[path] = why
        else:
            told.plain.append(need)
    return told


def _remark(path: RootPath, why: str) -> str:
    return f"left out, a secret ({why}); to copy it: secrets = [{quoted(literal(path))}]"


def _left(needs: Needs, known: Known, trace: Trace) -> Iterator[str]:
    """Yield remarks on this machine's state, and on sockets of others that a zone does not reach."""
    for path, need in sorted(needs.changed.items()):
        if known.lacks(need) and nameable(path) and _is_state(path, known) and not _is_filled(path, known):
            yield f"left out, state of this machine; to begin with a copy: files = [{quoted(literal(path))}]"
    for socket in sorted(trace.sockets):
        if nameable(socket):
            yield f"connected to {socket}: a zone has only the sockets of its own programs"


def _is_state(path: RootPath, known: Known) -> bool:
    """Whether a file that was read and written is a machine's, not of what the application came with."""
    return _is_filled(path, known) or any(path.is_below(top) for top in VARIABLE)


def _is_filled(path: RootPath, known: Known) -> bool:
    """Whether a path is below a directory that the profile makes for the zone to fill."""
    return not known.filled.isdisjoint(path.ancestors)


# --- directories ------------------------------------------------------------------------------------


def _places(needs: Needs, known: Known, source: Source) -> Iterator[Place]:
    """Yield directories that were written to, with mode and owner, then those that were only looked into."""
    users = {user.uid: user.name for user in reversed(parse_passwd(_text(source.tree, PASSWD)).values())}
    groups = {group.gid: group.name for group in reversed(parse_group(_text(source.tree, GROUP)).values())}
    done: set[RootPath] = set()
    for path, names in needs.written.items():
        found = source.tree.resolve(path)
        if found.node is None or not _is_own(found.real, known, source) or not nameable(path):
            continue
        done.add(found.real)
        mode, uid, gid = found.node.mode, found.node.uid, found.node.gid
        owner, group = users.get(uid, str(uid)), groups.get(gid, str(gid))
        what = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        yield Place(path, f"written: {what}", f"{mode:04o}", owner if uid else None, group if gid else None)
    for path, need in needs.directories.items():
        if len(path) < 2 or _is_filled(path, known):
            continue
        if known.lacks(need) and need.found.real not in done and nameable(path):
            done.add(need.found.real)
            yield Place(path, f"looked into {counted(need)}")


def _is_own(real: RootPath, known: Known, source: Source) -> bool:
    """Whether a directory is one that the profile must still make for the zone to write."""
    is_private = layer_of(real, source.tops) is Layer.PRIVATE and not _is_filled(real, known)
    return is_private and real not in known.paths and not known.excludes.why(real) and len(real) > 1


def _private(needs: Needs, known: Known, source: Source) -> Iterator[Line]:
    """Yield what was written below a directory that zones share."""
    private = [RootPath(item.text) for item in known.profile.private]
    for path in needs.written:
        real = source.tree.resolve(path).real
        if layer_of(real, source.tops) is Layer.SHARED and not any(real.is_below(one) for one in private):
            yield Line("private", real, f"written: {', '.join(needs.written[path][:3])}")


# --- accounts ---------------------------------------------------------------------------------------


def _accounts(trace: Trace, known: Known, tree: Tree, places: Iterable[Place]) -> Iterator[Line]:
    """Yield who processes became, to whom they gave files, and who owns what they write."""
    users, groups = parse_passwd(_text(tree, PASSWD)), parse_group(_text(tree, GROUP))
    uids = trace.uids | {users[one.owner].uid for one in places if one.owner in users}
    gids = trace.gids | {groups[one.group].gid for one in places if one.group in groups}
    have = {item.text for item in known.profile.users}
    new = [user for user in users.values() if user.uid in uids and user.name not in have]
    yield from (Line("users", user.name, "processes ran as, or files are of, this user") for user in new)
    have_groups = {item.text for item in known.profile.groups}
    own = {users[name].gid for name in have & users.keys()} | {user.gid for user in new}
    for group in groups.values():
        if group.gid in gids - own and group.name not in have_groups:
            yield Line("groups", group.name, "processes ran as, or files are of, this group")


def _text(tree: Tree, path: RootPath) -> str:
    if tree.resolve(path).node is None:
        return ""
    return tree.read(path).decode("utf-8", "surrogateescape")


# --- how it starts ----------------------------------------------------------------------------------


def start(
    command: Sequence[str], directory: str, needs: Needs, trace: Trace, platform: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the words that start the zone, and their parameters: the port, where one word has it.

    A zone starts in ``/``; where the run used files of its own directory by what they are called there, the
    command goes there first.
    """
    words = tuple(command)
    ports = sorted({one.port for one in trace.listening})
    parameters: dict[str, str] = {}
    for port in ports:
        at = [number for number, word in enumerate(words) if number and _has_port(word, port)]
        if len(at) == 1 and not parameters:
            parameters["port"] = str(port)
            words = (*words[: at[0]], _port(port).sub("@port@", words[at[0]]), *words[at[0] + 1 :])
    if words and directory != "/" and _uses_directory(directory, command, needs, trace):
        words = _in(directory, words, platform)
    return words, parameters


def _port(port: int) -> "re.Pattern[str]":
    return re.compile(rf"(?<![\d.]){port}(?![\d.])")


def _has_port(word: str, port: int) -> bool:
    return len(_port(port).findall(word)) == 1


def _uses_directory(directory: str, command: Sequence[str], needs: Needs, trace: Trace) -> bool:
    used = {*needs.files, *needs.programs, *needs.changed} - {RootPath(word) for word in command}
    if any(path.parent == directory or path in trace.relative for path in used):
        return True
    looked = needs.directories.get(RootPath(directory))
    return looked is not None and any(name.rpartition("/")[2] not in _SHELLS for name in looked.programs)


def _in(directory: str, words: tuple[str, ...], platform: str) -> tuple[str, ...]:
    """Return a command that is run in a directory; only GNU's env(1) has -C."""
    if platform == "illumos":
        return ("/bin/sh", "-c", 'cd "$0" && exec "$@"', directory, *words)
    return ("/usr/bin/env", "-C", directory, *words)


def own_directories(command: Sequence[str], directory: str, needs: Needs, tree: Tree) -> tuple[RootPath, ...]:
    """Return the directories of files that a command names, and where it was run if it used files there."""
    named = (RootPath(os.path.normpath(os.path.join(directory, word))) for word in command if word)
    parents = {path.parent for path in named if path in needs.files or path in needs.programs}
    if any(path.parent == directory for path in needs.files):
        parents.add(RootPath(directory))
    tops = sorted(tree.resolve(one).real for one in parents)
    return tuple(one for one in tops if not any(one != top and one.is_below(top) for top in tops))


def only_loopback(trace: Trace) -> bool:
    """Whether all that listens can be reached from the machine itself only."""
    return bool(trace.listening) and all(_LOOPBACK.match(one.address) for one in trace.listening)
