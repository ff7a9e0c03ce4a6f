"""The plan of a zone whose profiles differ in parameters only, from the plan of another such zone.

What parameters put into texts, edits and the start command changes a few private entries, and no more: the
closure, the image and all that was measured stay.
"""

from collections.abc import Iterator
from typing import NamedTuple

from partialroot.model import EditWish, Plan, Profile, Start, TextWish
from partialroot.nodes import NOTHING
from partialroot.paths import RootPath
from partialroot.plan.planner import content_of
from partialroot.profiles.edits import apply_edit
from partialroot.source.tree import Tree

# The closure reads these where a profile writes them: /etc/pam.d, /etc/ld-musl-x86_64.path and the like.
_READ = ("/etc/pam", "/etc/nsswitch.conf", "/etc/ld")


class _Text(NamedTuple):
    """What a file that we write holds by one plan, and by the other."""

    path: RootPath
    before: str
    after: str


def vary(plan: Plan, made: Profile, profile: Profile, tree: Tree) -> Plan | None:
    """Return the plan of ``profile``, where ``plan`` is that of ``made``; None where it must be made anew.

    Raises ProfileError for an edit that cannot be done.
    """
    in_script = plan.platform != "linux" and made.start != profile.start  # init's script has the command
    if profile.fragments or in_script or _core(made) != _core(profile):
        return None
    texts = {text.path: text for text in _texts(made, profile, tree) if text.before != text.after}
    private = list(plan.private)
    for number, action in enumerate(private):
        text = texts.get(action.entry.path)
        if text and action.entry.text == _encoded(text.before):
            data = _encoded(text.after)
            entry = action.entry._replace(text=data, size=len(data))
            private[number] = action._replace(entry=entry, content=content_of(entry))
            del texts[text.path]
    if texts:  # shared, or at another place than its profile says
        return None
    settings = plan.settings._replace(start=_started(plan.settings.start, profile.start))
    return plan._replace(private=tuple(private), settings=settings)


def _core(profile: Profile) -> Profile:
    """Return what the plan depends on beyond the content of files that we write."""
    start = profile.start
    return profile._replace(
        parameters=NOTHING,
        places=NOTHING,
        texts=tuple(one if _is_read(one) else one._replace(content="") for one in profile.texts),
        edits=tuple(one._replace(drop=(), substitute=(), append=()) for one in profile.edits),
        start=start and start._replace(command=start.command[:1]),
    )


def _is_read(text: TextWish) -> bool:
    """Whether a text's content decides what else is in the zone: scripts, and what the closure follows."""
    return bool(text.mode & 0o111) or text.content.startswith("#!") or text.path.startswith(_READ)


def _texts(made: Profile, profile: Profile, tree: Tree) -> Iterator[_Text]:
    """Yield what is written by both, edits last: these have the texts, or the source's files, to change."""
    known = {}
    for old, new in zip(made.texts, profile.texts, strict=True):
        known[old.path] = _Text(old.path, old.content, new.content)
    yield from known.values()
    for edit, other in zip(made.edits, profile.edits, strict=True):
        if edit != other or edit.path in known:
            base = known.get(edit.path) or _source(edit, tree)
            yield _Text(edit.path, apply_edit(base.before, edit), apply_edit(base.after, other))


def _source(edit: EditWish, tree: Tree) -> _Text:
    text = tree.read(edit.path).decode("utf-8", "surrogateescape")
    return _Text(edit.path, text, text)


def _started(start: Start | None, wished: Start | None) -> Start | None:
    """Return the start of the plan, whose program was found, with the other's arguments."""
    if start is None or wished is None:
        return start
    return start._replace(command=(*start.command[:1], *wished.command[1:]))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
