"""From a profile's words to paths of the source: programs, packages, files, secrets."""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from partialroot.errors import ConflictError, Missing
from partialroot.globs import is_glob
from partialroot.model import Profile, Start
from partialroot.nodes import FileType, Item, Reason
from partialroot.paths import ROOT, RootPath
from partialroot.plan.draft import Draft
from partialroot.plan.environment import Named
from partialroot.source.programs import find_program, is_program
from partialroot.source.tree import Tree

if TYPE_CHECKING:
    from partialroot.source.packages import Packages

_NUMBER = "([0-9]+)"


def newest(paths: Iterable[RootPath]) -> RootPath | None:
    """Return the last of several paths that differ in a version: ``node-v22`` comes after ``node-v9``."""
    return max(paths, key=_by_version, default=None)


def _by_version(path: RootPath) -> list[list[tuple[int, str]]]:
    """Return the components of a path, each as its numbers and the texts between them."""
    return [
        [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(_NUMBER, name) if part]
        for name in path.parts
    ]


def find_start(start: Start, tree: Tree) -> Start:
    """Return a start whose command is a path where it was a glob: of all programs that match the newest."""
    if not start.command or not is_glob(start.command[0]):
        return start
    program = newest(path for path in tree.glob(start.command[0]) if is_program(tree.resolve(path).node))
    return start if program is None else start._replace(command=(program, *start.command[1:]))


def named_literally(profile: Profile) -> Iterator[RootPath]:
    """Yield the paths that are written out, neither globs nor names."""
    for item in (*profile.files, *profile.secrets, *profile.programs):
        if item.text.startswith("/") and not is_glob(item.text):
            yield RootPath.parse(item.text)


def with_overlays(
    profile: Profile, overlays: Iterable[str], packages: "Packages"
) -> tuple[Profile, list[Missing]]:
    """Return the profile with the packages of overlays named beside it, and the overlays there are not."""
    names = list(dict.fromkeys(overlays))
    known = [name for name in names if packages.group(name) is not None]
    items = (Item(name, f"overlay {name}") for name in known)
    missing = [Missing(f"overlay {name}", "command line", "error") for name in names if name not in known]
    return profile._replace(packages=(*profile.packages, *items)), missing


def gather(profile: Profile, draft: Draft) -> None:
    """Choose what the profile asks for in words, without what that needs to run."""
    for item in profile.programs:
        _program(item, draft)
    for item in profile.packages:
        _package(item, draft)
    for item in profile.files:
        if not _files(item, draft, draft.named, draft.lenient):
            draft.miss(item.text, item.where)
    for item in profile.optional:
        _files(item, draft, draft.named, draft.lenient)
    for item in profile.secrets:
        if not _files(item, draft, draft.granted, draft.granted):
            draft.miss(item.text, item.where)


def gather_data(named: Iterable[Named], draft: Draft) -> None:
    """Choose what settings of the zone name; what is not there is a warning."""
    for item, must in named:
        if draft.is_excluded(RootPath.parse(item.text)):
            continue
        if not _files(item, draft, draft.lenient, draft.lenient) and must:
            draft.miss(item.text, item.where, "warning")


def _program(item: Item, draft: Draft) -> None:
    found = list(_program_paths(item.text, draft.tree))
    for path in found:
        exclude = draft.excludes.why(path)
        if exclude is not None:
            if not is_glob(item.text):
                draft.warnings.append(f"{path} ({item.where}) is left out: {exclude.where} excludes it")
            continue
        program = draft.add_resolved(path, Reason("program", item.where))
        draft.named.add(program.real)
        if program.node is not None and program.node.type is not FileType.FILE:
            draft.miss(f"{path} (there, but no file)", item.where)
    if not found:
        draft.miss(item.text, item.where)


def _program_paths(text: str, tree: Tree) -> Iterator[RootPath]:
    if "/" not in text:
        found = find_program(tree, text)
        if found is not None:
            yield found
    elif is_glob(text):
        yield from (path for path in tree.glob(text) if is_program(tree.resolve(path).node))
    elif tree.resolve(path := RootPath.parse(text)).node is not None:
        yield path


def _package(item: Item, draft: Draft) -> None:
    """Choose what a package has, several by a glob, or a group of them (an overlay) by its name."""
    packages = draft.packages
    names: Iterable[str] = [item.text]
    if is_glob(item.text):
        names = [name for name in packages.installed() if fnmatchcase(name, item.text)]
    elif packages.files(item.text) is None and (group := packages.group(item.text)) is not None:
        names = _installed(group, item, draft)
    lists = [(name, packages.files(name)) for name in names]
    if not lists or any(files is None for _, files in lists):
        draft.miss(f"package {item.text}", item.where)
    for name, files in lists:
        _package_files(name, files or (), item, draft)


def _installed(group: Iterable[str], item: Item, draft: Draft) -> list[str]:
    """Return the packages of a group that are installed; the others are worth a warning, no more."""
    there = set(draft.packages.installed())
    absent = [name for name in group if name not in there]
    if absent:
        draft.warnings.append(f"{item.text} ({item.where}): not installed here: {', '.join(absent)}")
    return [name for name in group if name in there]


def _package_files(name: str, files: tuple[RootPath, ...], item: Item, draft: Draft) -> None:
    reason = Reason(f"package {name}", item.where)
    gone = []
    for path in files:
        node = draft.tree.lstat(path)  # first, as the tree then knows where it is
        if draft.is_excluded(path):
            continue
        if node is None:
            gone.append(path)
        elif path != ROOT:
            draft.add(path, node, reason)
            draft.by_package.add(path)
            draft.lenient.add(path)
    if gone:
        draft.warnings.append(
            f"package {name}: {len(gone)} of its paths are not in the source, {gone[0]} first"
        )


def _files(item: Item, draft: Draft, named: set[RootPath], reached: set[RootPath]) -> bool:
    """Choose what one item of ``files`` stands for; False if that is nothing.

    ``named`` gets what is written literally, ``reached`` what is found below it or by a glob.
    """
    if is_glob(item.text):
        return _globbed(item, draft, reached)
    path = RootPath.parse(item.text)
    reason = Reason("file", item.where)
    found = draft.add_resolved(path, reason)
    if found.node is None:
        return False
    if found.node.type not in (FileType.FILE, FileType.DIR):
        raise ConflictError(
            f"a {found.node.type} cannot be installed", path=path, hint=f"remove it from {item.where}"
        )
    if found.node.type is FileType.DIR:
        draft.add_below(found.real, reason, reached)
    named.add(found.real)
    return True


def _globbed(item: Item, draft: Draft, reached: set[RootPath]) -> bool:
    reason = Reason("glob", item.where)
    paths = draft.tree.glob(item.text)
    for path in paths:
        if draft.is_excluded(path):
            continue
        found = draft.add_resolved(path, reason)
        reached.add(found.real)
        if found.node is None:
            draft.add_links(found.links, path)  # a dangling symlink is taken as it is
        elif found.node.type is FileType.DIR:
            draft.add_below(found.real, reason, reached)
    return bool(paths)
