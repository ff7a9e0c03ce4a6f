"""What must not leave the source: secrets nobody asked for, and edited files nobody named (P6)."""

import os

from partialroot.errors import ConflictError
from partialroot.model import FileType, Node
from partialroot.paths import RootPath
from partialroot.plan.draft import Draft
from partialroot.plan.policy import is_editable
from partialroot.source.packages import pristine
from partialroot.source.secrets import is_closed, secret_reason

_HEAD = 4096
_KEY_SUFFIXES = (".pem", ".key")


def vet(draft: Draft) -> None:
    """Drop secrets and edited files from the draft, each with a warning that says how to supply it.

    An edited file is replaced by the copy that the source kept as it was shipped, where it did. Raises
    ConflictError for secrets that ``files`` or ``programs`` name literally, and for what only a global zone
    may have.
    """
    _refuse_global_only(draft)
    refused = []
    for path, node in list(draft.nodes.items()):
        if node.type is not FileType.FILE or path in draft.granted:
            continue
        why = _why_secret(draft, path, node)
        if why is not None and path in draft.named:
            refused.append(f"{path} ({why})")
        elif why is not None:
            _ship_or_drop(draft, path, why, "name it in secrets to copy it")
        else:
            _vet_edited(draft, path)
    if refused:
        raise ConflictError(
            "secrets are copied only when secrets = [...] names them: " + ", ".join(refused),
            hint="move them from files to secrets, if the zone is to have them",
        )


def _refuse_global_only(draft: Draft) -> None:
    """What came in bulk has been left out; what is left was named."""
    wrong = sorted(path for path in draft.named | draft.granted if draft.packages.global_only(path))
    if wrong:
        raise ConflictError(
            "only a global zone may have " + ", ".join(wrong), hint="take them out of the profile"
        )


def _why_secret(draft: Draft, path: RootPath, node: Node) -> str | None:
    """Say why a file is a secret; it is opened only where its place and mode do not tell already."""
    closed = path.is_below("/etc") and is_closed(draft.tree, path)
    return secret_reason(path, node, None, closed=closed) or secret_reason(
        path, node, _head(draft, path, node)
    )


def _vet_edited(draft: Draft, path: RootPath) -> None:
    by_package = path in draft.by_package and not path.is_below("/usr")
    if path in draft.named or not is_editable(path, by_package):
        return
    if not pristine(draft.tree, draft.packages, path):
        remedy = "name it in files to copy it, or give its content in [text]"
        _ship_or_drop(draft, path, "it is not as its package installed it", remedy)


def _ship_or_drop(draft: Draft, path: RootPath, why: str, remedy: str) -> None:
    """Take a file as it was shipped, if the source kept that; else leave it out."""
    shipped = draft.shipped(path)
    if shipped != path and draft.tree.lstat(shipped) is not None:
        draft.instead[path] = shipped
        draft.warnings.append(f"{path} is taken as it was shipped: {why}")
    else:
        draft.drop(path, f"{path} is left out: {why}; {remedy}")


def _head(draft: Draft, path: RootPath, node: Node) -> bytes | None:
    """Return a file's first bytes where a private key might be; most files are not opened for this."""
    if path.is_below("/usr") and not path.endswith(_KEY_SUFFIXES):
        return None
    with os.fdopen(draft.tree.open_node(path, node), "rb") as file:
        return file.read(_HEAD)
