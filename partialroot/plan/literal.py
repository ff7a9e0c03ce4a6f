"""What mvi's lists put into a zone, taken at their word: the root that zmvix.sh builds of the same packages.

zmvix.sh installs the packages, sets aside all they have in /usr, /lib and /sbin, takes back what the lists
name, and removes from the rest what a zone can do without. Here the packages are those of the source.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from partialroot.errors import Missing
from partialroot.model import Entry, Fragment, Layer
from partialroot.nodes import FileType, Item, Node, Reason
from partialroot.paths import RootPath
from partialroot.plan.entries import directory, entry_of, with_content_of
from partialroot.plan.wishes import newest
from partialroot.profiles.mvi import BASE
from partialroot.source.packages import Packages, pristine
from partialroot.source.tree import Tree

STAGED = ("/usr", "/lib", "/sbin")

_LINKS = 40  # as many symlinks as a path may pass
_DEV = RootPath("/dev")

# What the packages bring and the zone does not get, with all below it; and empty directories.
UNWANTED = """
    /boot /dev /devices /kernel /platform /reconfigure
    /etc/brand /etc/cfgadm /etc/clri /etc/cron /etc/cron.d /etc/dacf.conf /etc/dcopy /etc/dev /etc/devlink.tab
    /etc/dfs /etc/dgroup.tab /etc/dhcp /etc/dumpdates /etc/fmthard /etc/format /etc/format.dat /etc/fs/hsfs
    /etc/fsck /etc/fsdb /etc/ftpd /etc/ftpusers /etc/grpck /etc/inet/ike /etc/inet/ipsecalgs
    /etc/inet/ipsecinit.sample /etc/inet/secret /etc/init.d /etc/install /etc/killall /etc/labelit
    /etc/logadm.conf /etc/logadm.d /etc/magic /etc/mail /etc/mailcap /etc/mime.types /etc/mkfs /etc/mknod
    /etc/mount /etc/mountall /etc/nsswitch.ad /etc/nsswitch.ldap /etc/nwam /etc/opt /etc/prtconf
    /etc/prtvtoc /etc/rc? /etc/rc?.d /etc/rcm /etc/reboot /etc/remote /etc/saf /etc/sasl
    /etc/security/audit /etc/security/auth_attr.d /etc/security/dev /etc/security/exec_attr.d
    /etc/security/lib /etc/security/prof_attr.d /etc/setmnt /etc/skel /etc/svc/profile /etc/swap
    /etc/swapadd /etc/sysdef /etc/sysevent /etc/system.d /etc/tar /etc/tm /etc/umount /etc/umountall
    /etc/user_attr.d /etc/utmpx /etc/versions /etc/whodo /etc/wtmpx /etc/zfs /etc/zones
    /var/adm/aculog /var/adm/spellhist /var/cron /var/games /var/idmap /var/logadm /var/mail /var/opt
    /var/preserve /var/sadm /var/saf /var/spool /var/svc
"""
UNWANTED_EMPTY = """
    /export /home /mnt /opt /var/adm/exacct /var/adm/log /var/adm/streams /var/audit
"""


class Literal:
    """The entries by path, and what was listed but cannot be had."""

    def __init__(self, entries: dict[RootPath, Entry]) -> None:
        self.entries = entries
        self.missing: list[Missing] = []
        self.warnings: list[str] = []


def literal(
    fragments: Iterable[Fragment], tree: Tree, packages: Packages, tops: tuple[RootPath, ...]
) -> Literal:
    """Return what the fragments list, in their order, before any fix script has run.

    A package that is not installed, a file that no listed package has, or that has no directory to be in, is
    missing: an error. Raises SourceError when the package database cannot be read.
    """
    return _Builder(tree, packages, tops).build(sorted(fragments, key=lambda one: one.name != BASE))


class _Builder:
    def __init__(self, tree: Tree, packages: Packages, tops: tuple[RootPath, ...]) -> None:
        self._tree = tree
        self._packages = packages
        self._tops = tops
        self._stage: dict[RootPath, Entry] = {}
        self._root: dict[RootPath, Entry] = {}
        self._taken: set[RootPath] = set()
        self._result = Literal(self._root)

    def build(self, fragments: list[Fragment]) -> Literal:
        for fragment in fragments:
            for item in fragment.packages:
                self._install(item)
        for fragment in fragments:
            for item in fragment.directories:
                self._make_directory(RootPath(item.text), Reason("directory", item.where))
            for item in fragment.files:
                self._take(item)
        self._clean_up()
        for entry in list(self._root.values()):
            if entry.layer is Layer.PRIVATE and entry.type is FileType.FILE:
                self._make_pristine(entry)
        return self._result

    # --- packages -----------------------------------------------------------------------------------

    def _install(self, item: Item) -> None:
        """Take what a package has: into the stage what is shared, into the root all else."""
        files = self._packages.files(item.text)
        if files is None:
            self._miss(f"package {item.text}", item)
        reason = Reason(f"package {item.text}", item.where)
        for path in files or ():
            node = self._tree.lstat(path)
            if node is None:
                self._result.warnings.append(f"package {item.text}: {path} is not in the source")
                continue
            self._add(path, node, reason)
            for parent in path.ancestors:
                self._add(parent, self._tree.lstat(parent), Reason("parent", path))

    def _add(self, path: RootPath, node: Node | None, reason: Reason) -> None:
        place = self._stage if any(path.is_below(top) for top in STAGED) else self._root
        if node is None or path in place:
            return
        if node.type not in (FileType.FILE, FileType.DIR, FileType.SYMLINK):
            self._result.warnings.append(f"{path}: a {node.type} is not installed ({reason.origin})")
            return
        place[path] = entry_of(path, node, (reason,), self._tops)

    def _make_pristine(self, entry: Entry) -> None:
        """Give the zone a file as it was shipped, never what this system has made of it."""
        copy = self._packages.pristine_copy(entry.path)
        node = None if copy is None else self._tree.lstat(copy)
        if copy is not None and node is not None:
            self._root[entry.path] = with_content_of(entry, copy, node)
        elif not pristine(self._tree, self._packages, entry.path):
            del self._root[entry.path]
            self._result.warnings.append(f"{entry.path} is left out: it is not as its package installed it")

    # --- lists --------------------------------------------------------------------------------------

    def _make_directory(self, path: RootPath, reason: Reason) -> None:
        """Make a directory and those above, as ``mkdir -p`` does: root's, 0755, unless they are there."""
        for one in (*reversed(list(path.ancestors)), path):
            place = self._place(one)
            if place not in self._root:
                self._root[place] = directory(place, reason, self._tops)

    def _take(self, item: Item) -> None:
        """Move a listed file, or a directory with all below, from the stage to the root."""
        path = RootPath(item.text)
        staged, place = self._tree.place(path), self._place(path)
        if staged not in self._stage:
            if staged not in self._taken and place not in self._root:
                other = newest(one for one in self._stage if _unversioned(one) == _unversioned(staged))
                self._miss(f"{path} (there is {other})" if other else path, item)
            return
        parent = self._root.get(place.parent)
        if parent is None or parent.type is not FileType.DIR:
            self._miss(f"{place.parent} (to hold {place.name}; no .dirs file lists it)", item)
            return
        reason = Reason("file", item.where)
        whole = self._stage[staged].type is FileType.DIR
        for old in [old for old in self._stage if old.is_below(staged)] if whole else [staged]:
            self._taken.add(old)
            entry, new = self._stage.pop(old), RootPath(place + old[len(staged) :])
            self._root[new] = entry._replace(path=new, reasons=(reason, *entry.reasons))

    def _miss(self, name: str, item: Item) -> None:
        self._result.missing.append(
            Missing(name, item.where, "error", self._packages.supplier(name.split(" (")[0]))
        )

    def _place(self, path: RootPath) -> RootPath:
        """Return where ``path`` is in the root: symlinks above it are followed, not its own."""
        for _ in range(_LINKS):
            links = (self._root.get(one) for one in reversed(list(path.ancestors)))
            link = next((one for one in links if one is not None and one.target is not None), None)
            if link is None:
                return path
            path = RootPath(_joined(link.path.parent, link.target or "") + path[len(link.path) :])
        return path

    # --- clean-up -----------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        for unwanted in UNWANTED.split():
            for path in [path for path in self._root if _is_or_is_below(path, unwanted)]:
                del self._root[path]
        for empty in map(RootPath, UNWANTED_EMPTY.split()):
            if sum(path.is_below(empty) for path in self._root) == 1:
                del self._root[empty]
        self._root[_DEV] = directory(_DEV, Reason("mount point", "zmvix.sh"), self._tops)


def _unversioned(path: RootPath) -> str:
    """Return a path without its version numbers: what lists name is often there in another version."""
    return re.sub(r"[0-9][0-9.]*", "#", path)


def _is_or_is_below(path: RootPath, pattern: str) -> bool:
    """Return whether ``path`` or a directory above it matches ``pattern``, whose only glob is ``?``."""
    depth = pattern.count("/")
    if path.count("/") < depth:
        return False
    return fnmatchcase("/" + "/".join(path.parts[:depth]), pattern)


def _joined(base: RootPath, target: str) -> RootPath:
    """Return where a symlink in ``base`` leads to."""
    parts = [] if target.startswith("/") else list(base.parts)
    for part in target.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return RootPath("/" + "/".join(parts))
