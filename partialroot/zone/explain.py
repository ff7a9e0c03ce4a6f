"""Why is this in the zone: the chain of reasons from a path down to a line of a profile. Pure."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from partialroot.errors import UsageError
from partialroot.model import Receipt
from partialroot.nodes import Reason
from partialroot.paths import RootPath

MOST_LINKS = 40  # as the kernel follows in one path
_NEAREST = 3

Reasons = Mapping[RootPath, Sequence[Reason]]


class Step(NamedTuple):
    """One link of the chain: ``path`` is there for ``reason``, and for the ``others`` too."""

    path: RootPath
    reason: Reason
    others: tuple[Reason, ...]


def explain(receipt: Receipt, shared: Reasons, path: RootPath) -> tuple[Step, ...]:
    """Return the shortest chain from ``path`` to a line of a profile; ``shared`` is why the image is so.

    Symlinks among the path's directories are followed as far as the receipt knows them. Raises UsageError,
    naming the nearest paths, when the zone does not have it.
    """
    reasons = {**shared, **{record.path: record.reasons for record in receipt.entries}}
    links = {record.path: record.target for record in receipt.entries if record.target is not None}
    asked = path if path in reasons else _followed(path, links)
    if asked not in reasons:
        nearest = ", ".join(_nearest(path, reasons))
        hint = f"did you mean {nearest}?" if nearest else None
        raise UsageError("is not in the zone by any profile", path=path, hint=hint)
    return _chain(reasons, asked)


def _chain(reasons: Reasons, path: RootPath) -> tuple[Step, ...]:
    """Search breadth first, so that a cycle cannot hold us and the shortest chain is found.

    Where every reason leads into a cycle, the chain ends where it would begin to repeat.
    """
    best: tuple[Step, ...] = ()
    waiting: deque[tuple[RootPath, tuple[Step, ...]]] = deque([(path, ())])
    seen = {path}
    while waiting:
        here, chain = waiting.popleft()
        for reason in reasons[here]:
            others = tuple(other for other in reasons[here] if other != reason)
            longer = (*chain, Step(here, reason, others))
            if reason.origin not in reasons:
                return longer
            best = best or longer
            if reason.origin not in seen:
                origin = RootPath(reason.origin)
                seen.add(origin)
                waiting.append((origin, longer))
    return best


def _followed(path: RootPath, links: Mapping[RootPath, str]) -> RootPath:
    """Follow the symlinks among the directories of ``path``."""
    for _ in range(MOST_LINKS):
        link = min((above for above in path.ancestors if above in links), key=len, default=None)
        if link is None:
            break
        path = joined(link.parent, links[link], path[len(link) + 1 :])
    return path


def joined(directory: RootPath, target: str, rest: str) -> RootPath:
    """Return what a symlink to ``target`` in ``directory`` leads to, or ``rest`` below that."""
    from posixpath import join, normpath

    return RootPath("/" + normpath(join(directory, target, rest)).lstrip("/"))


def _nearest(path: RootPath, known: Iterable[RootPath]) -> list[str]:
    """Return the paths one may have meant: of the same name, else of a similar spelling."""
    same_name = sorted(one for one in known if one.name == path.name)
    if same_name:
        return [str(one) for one in same_name[:_NEAREST]]
    from difflib import get_close_matches

    return get_close_matches(path, [str(one) for one in known], n=_NEAREST)
