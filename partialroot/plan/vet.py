"""What must not leave the source: secrets nobody asked for, and edited files nobody named (P6)."""

import os
from collections.abc import Iterable, Sequence

from partialroot.errors import ConflictError, Missing
from partialroot.model import Layer
from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.plan.draft import Draft, Verdict
from partialroot.plan.policy import is_editable, layer_of
from partialroot.source.packages import pristine
from partialroot.source.secrets import is_closed, key_reason, secret_reason
from partialroot.source.tree import Tree

_HEAD = 4096
_STACKS = ("/etc/pam.conf", "/etc/pam.d/")  # without one of these nobody can log in (pam.conf(5))
_KEY_SUFFIXES = (".pem", ".key")


def vet(draft: Draft, tops: tuple[RootPath, ...]) -> list[str]:
    """Drop secrets and edited files from the draft, each with a warning that says how to supply it.

    Returns the secrets that ``files`` or ``programs`` name literally, each with why it is one.

    What is below the shared ``tops`` nobody is expected to edit. An edited file is replaced by the copy
    that the source kept as it was shipped, where it did. Raises ConflictError for what only a global zone
    may have.
    """
    _refuse_global_only(draft)
    refused = []
    for path, node in list(draft.nodes.items()):
        if node.type is not FileType.FILE or path in draft.granted:
            continue
        why, edited = draft.verdicts.get(path) or _look_at(draft, path, node, tops)
        if why is not None and path in draft.named:
            refused.append(f"{path} ({why})")
        elif why is not None:
            _ship_or_drop(draft, path, why, "name it in secrets to copy it")
        elif edited:
            remedy = "name it in files to copy it, or give its content in [text]"
            _ship_or_drop(draft, path, "it is not as its package installed it", remedy)
    return refused


def taken_from(draft: Draft, path: RootPath, tops: tuple[RootPath, ...]) -> RootPath:
    """Return where the content of a file of the zone comes from: itself, or what was shipped (see vet)."""
    node, shipped = draft.tree.lstat(path), _kept(draft, path)
    if node is None or shipped is None or path in draft.granted:
        return path
    why, edited = draft.verdicts[path] = draft.verdicts.get(path) or _look_at(draft, path, node, tops)
    return shipped if edited or why is not None else path


def refuse_secrets(refused: Sequence[str], missing: Iterable[Missing]) -> None:
    """Raise ConflictError if there are secrets to refuse; it also has what is missing (P7: all at once)."""
    if refused:
        error = ConflictError(
            "secrets are copied only when secrets = [...] names them: " + ", ".join(refused),
            hint="move them from files to secrets, if the zone is to have them",
        )
        error.missing = tuple(missing)
        raise error


def _refuse_global_only(draft: Draft) -> None:
    """What came in bulk has been left out; what is left was named."""
    wrong = sorted(path for path in draft.named | draft.granted if draft.packages.global_only(path))
    if wrong:
        raise ConflictError(
            "only a global zone may have " + ", ".join(wrong), hint="take them out of the profile"
        )


def why_secret(tree: Tree, path: RootPath, node: Node, *, shared: bool) -> str | None:
    """Say why a regular file is a secret, None if it is none; opened only where place and mode do not tell.

    ``path`` is canonical; ``shared`` whether it lies where zones only read.
    """
    why = why_by_place(tree, path, node)
    if why is not None or not _is_opened(path, shared):
        return why
    with tree.opened(path, node) as descriptor:
        return key_reason(os.pread(descriptor, _HEAD, 0))


def _look_at(draft: Draft, path: RootPath, node: Node, tops: tuple[RootPath, ...]) -> Verdict:
    """Judge a file; what must be read for that is opened once."""
    why = why_by_place(draft.tree, path, node)
    shared = layer_of(path, tops) is Layer.SHARED
    if why is not None or not _is_opened(path, shared):
        return why, False
    with draft.tree.opened(path, node) as descriptor:
        return judge(draft, path, tops, descriptor, os.pread(descriptor, _HEAD, 0))


def judge(draft: Draft, path: RootPath, tops: tuple[RootPath, ...], descriptor: int, head: bytes) -> Verdict:
    """Judge an open file that begins with ``head``, whose place and mode do not make it a secret."""
    shared = layer_of(path, tops) is Layer.SHARED
    why = key_reason(head[:_HEAD]) if _is_opened(path, shared) else None
    by_hand = shared or path in draft.named or not is_editable(path, path in draft.by_package)
    return why, why is None and not by_hand and not pristine(
        draft.tree, draft.packages, path, descriptor, head
    )


def why_by_place(tree: Tree, path: RootPath, node: Node) -> str | None:
    """Say why a regular file is a secret by its place and mode, None if these do not tell."""
    closed = path.is_below("/etc") and is_closed(tree, path)
    return secret_reason(path, node, None, closed=closed)


def _is_opened(path: RootPath, shared: bool) -> bool:
    """Whether a file's beginning is looked at, as a private key begins with its kind; few shared ones are."""
    return not shared or path.endswith(_KEY_SUFFIXES)


def _ship_or_drop(draft: Draft, path: RootPath, why: str, remedy: str) -> None:
    """Take a file as it was shipped, if the source kept that; else leave it out: a lack where it is used."""
    shipped = _kept(draft, path)
    if shipped is not None:
        draft.instead[path] = shipped
        draft.warnings.append(f"{path} is taken as it was shipped: {why}")
        return
    if path.startswith(_STACKS):
        for rule, origin in draft.reasons[path]:
            if rule == "pam":
                draft.miss(f"{path} ({why}; {remedy})", origin)
    draft.drop(path, f"{path} is left out: {why}; {remedy}")


def _kept(draft: Draft, path: RootPath) -> RootPath | None:
    """Return where the source keeps a file as it was shipped, None where it does not."""
    shipped = draft.shipped(path)
    return None if shipped == path or draft.tree.lstat(shipped) is None else shipped
