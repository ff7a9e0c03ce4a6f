"""Plans, sites and requests made by hand, for the tests of what happens at a zonepath."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from partialroot.model import Action, Entry, Layer, Method, Plan, Request, ZoneSettings
from partialroot.nodes import Content, FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.zone.apply import Site
from partialroot.zone.binds import LinuxBinds
from partialroot.zone.store import Store

REQUEST = Request(("test",), (), (), "/", "linux", ("auto",))
WHY = (Reason("wanted", "test.toml:1"),)
OLD = 10**18
"""The modification time of everything made here."""
KINDS = (FileType.FILE, FileType.DIR, FileType.SYMLINK)


def node_of(host: Path) -> Node:
    """Return what lstat(2) says of a path of the host."""
    return Node.of(os.lstat(host), os.readlink(host) if host.is_symlink() else None)


def taken(source: Path, path: str, layer: Layer, method: Method | None = None) -> Action:
    """Return the action that takes one path of the source as it is."""
    host = Path(f"{source}{path}")
    node = node_of(host)
    methods = {FileType.DIR: Method.MKDIR, FileType.SYMLINK: Method.SYMLINK}
    files = {Layer.SHARED: Method.LINK, Layer.PRIVATE: Method.COPY}
    chosen = method or methods.get(node.type) or files[layer]
    entry = Entry(
        RootPath(path),
        node.type,
        node.mode,
        node.uid,
        node.gid,
        layer,
        WHY,
        node.size if node.type is FileType.FILE else 0,
        node.mtime_ns,
        node.target,
        RootPath(path),
        node,
    )
    return Action(entry, chosen, "test", content_of(host) if node.type is FileType.FILE else None)


def content_of(host: Path) -> Content:
    """Return the checksum and the xattrs of a file."""
    xattrs = tuple((name, os.getxattr(host, name)) for name in sorted(os.listxattr(host)))
    return Content(hashlib.sha256(host.read_bytes()).hexdigest(), xattrs)


def text(path: str, content: str | bytes, mode: int = 0o644, layer: Layer = Layer.PRIVATE) -> Action:
    """Return the action that writes a file of a profile."""
    data = content.encode() if isinstance(content, str) else content
    entry = Entry(RootPath(path), FileType.FILE, mode, 0, 0, layer, WHY, len(data), OLD, text=data)
    return Action(entry, Method.WRITE, "test", Content(hashlib.sha256(data).hexdigest()))


def directory(path: str, mode: int = 0o755, layer: Layer = Layer.PRIVATE) -> Action:
    """Return the action that makes a directory."""
    return Action(Entry(RootPath(path), FileType.DIR, mode, 0, 0, layer, WHY, 0, OLD), Method.MKDIR, "test")


def link(path: str, target: str) -> Action:
    """Return the action that makes a symlink in the root."""
    entry = Entry(RootPath(path), FileType.SYMLINK, 0o777, 0, 0, Layer.PRIVATE, WHY, 0, OLD, target)
    return Action(entry, Method.SYMLINK, "test")


def plan_of(source: Path, store: Path, actions: Iterable[Action], tops: Sequence[str] = ()) -> Plan:
    """Return a plan of ``actions``; its image's digest depends on the shared ones."""
    plan = Plan(
        profiles=("test",),
        source=source,
        platform="linux",
        shared=(),
        private=(),
        digest=None,
        image_home=store / "images",
        tops=tuple(RootPath(top) for top in tops),
        missing=(),
        warnings=(),
        settings=ZoneSettings(),
    )
    plan = with_actions(plan, actions)
    shared = [
        repr((action.entry.path, action.entry.mode, action.entry.target, action.content))
        for action in plan.shared
    ]
    digest = hashlib.sha256("".join(shared).encode()).hexdigest() if shared else None
    return plan._replace(digest=digest)


def with_actions(plan: Plan, actions: Iterable[Action]) -> Plan:
    """Return the plan with other actions; its digest stays."""
    ordered = sorted(actions, key=lambda action: action.entry.path)
    shared = tuple(action for action in ordered if action.entry.layer is Layer.SHARED)
    private = tuple(action for action in ordered if action.entry.layer is not Layer.SHARED)
    return plan._replace(shared=shared, private=private)


def whole_plan(
    source: Path, store: Path, shared: Sequence[str] = ("/usr",), more: Iterable[Action] = ()
) -> Plan:
    """Return a plan that takes all of a source: the trees of ``shared`` by link, the rest by copy."""
    actions = []
    for host in [source, *sorted(source.rglob("*"))]:
        path = f"/{host.relative_to(source)}" if host != source else "/"
        is_shared = any(path == top or path.startswith(f"{top}/") for top in shared)
        if node_of(host).type in KINDS:
            method = Method.MOUNT if path in shared else None
            actions.append(taken(source, path, Layer.SHARED if is_shared else Layer.PRIVATE, method))
    return plan_of(source, store, with_twins([*actions, *more]), shared)


def with_twins(actions: Iterable[Action]) -> list[Action]:
    """Make copies of one source inode links to the first copy, as the planner does."""
    first: dict[tuple[Layer, int, int], RootPath] = {}
    result = []
    for action in sorted(actions, key=lambda action: action.entry.path):
        node = action.entry.node
        if node and action.method in (Method.COPY, Method.CLONE) and node.nlink > 1:
            twin = first.setdefault((action.entry.layer, node.dev, node.ino), action.entry.path)
            if twin != action.entry.path:
                action = action._replace(method=Method.LINK, twin=twin)
        result.append(action)
    return result


def site_at(store: Path, zonepath: Path, *, mount: bool = True) -> Site:
    """Return a site; the store is made if it is not there."""
    return Site(Store(store), zonepath, LinuxBinds() if mount else None)
