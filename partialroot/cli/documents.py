"""The JSON objects that scripts read: stable, sorted, ``"format": 1`` (docs/json.md)."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from partialroot.errors import Missing, MissingError, PartialRootError
from partialroot.model import (
    Action,
    DirectoryWish,
    EditWish,
    Fragment,
    Layer,
    Method,
    Plan,
    Profile,
    Record,
    Start,
    TextWish,
)
from partialroot.nodes import FileType, Item
from partialroot.plan import cloned

if TYPE_CHECKING:  # a verb imports only what it uses
    from partialroot.closure import Closure
    from partialroot.host.linux.boot import Booted
    from partialroot.pipeline.inspecting import ZoneStatus
    from partialroot.pipeline.learning import Result
    from partialroot.pipeline.populating import Populated
    from partialroot.pipeline.previewing import Preview
    from partialroot.pipeline.pruning import Pruned
    from partialroot.pipeline.refreshing import Refreshed
    from partialroot.pipeline.zones import Outcome
    from partialroot.zone.change import Brought
    from partialroot.zone.explain import Step

Document = dict[str, Any]

_PLAN: Document = {
    "profiles": [],
    "source": None,
    "platform": None,
    "changed": False,
    "image": None,
    "golden": {"key": None, "why": ""},
    "entries": [],
    "missing": [],
    "warnings": [],
    "plans": [],
    "totals": {"files": 0, "shared_bytes": 0, "private_bytes": 0, "copied_bytes": 0, "by_method": {}},
    "seconds": 0.0,
}
_EMPTY: Mapping[str, Document] = {
    "plan": _PLAN,
    "populate": {**_PLAN, "zones": []},
    "closure": {"objects": [], "missing": []},
    "profiles": {"profile": None, "profiles": [], "missing": [], "warnings": []},
    "learn": {
        "profile": None,
        "changed": False,
        "text": None,
        "added": [],
        "lookups": 0,
        "processes": 0,
        "secrets": [],
        "missing": [],
        "warnings": [],
    },
    "explain": {"zonepath": None, "path": None, "chain": [], "removed": None},
    "export": {
        "zonepath": None,
        "file": None,
        "oci": None,
        "manifest": None,
        "files": 0,
        "bytes": 0,
        "left_out": [],
    },
    "doctor": {"checks": []},
    "affected": {"zones": [], "unread": []},
    "sbom": {
        "zonepath": None,
        "out": None,
        "bom": None,
        "files": 0,
        "packages": 0,
        "partial": 0,
        "warnings": [],
    },
    "verify": {"zones": [], "findings": []},
    "audit": {"zones": [], "findings": []},
    **{verb: {"zones": []} for verb in ("status", "refresh", "rollback")},
    "prune": {"changed": False, "images": [], "leftovers": [], "stale": [], "bytes": 0},
    **{verb: {"zones": []} for verb in ("mount", "unmount", "boot", "halt", "remove")},
}

_NOT_REFRESHED: Document = {
    "changed": False,
    "staged": False,
    "image": {"before": None, "after": None},
    "added": [],
    "removed": [],
    "modified": [],
    "kept": [],
}
# What is said of a zone to which a verb could do nothing.
_NOTHING_DONE: Mapping[str, Document] = {
    "populate": {"changed": False, "booted": None},
    "preview": {
        "changed": False,
        "image": {"before": None, "after": None},
        "added": None,
        "removed": None,
        "modified": None,
        "kept": None,
        "before": None,
    },
    "verify": {"findings": None},
    "audit": {"findings": None},
    "mount": {"changed": False, "mounts": []},
    "unmount": {"changed": False, "mounts": []},
    "boot": {
        "runtime": None,
        "pid": None,
        "address": None,
        "not_isolated": [],
        "warnings": [],
        "log": None,
    },
    "halt": {"changed": False},
    "affected": {},
    **dict.fromkeys(("refresh", "rollback"), _NOT_REFRESHED),
    "remove": {"removed": False},
}


def encode(document: Mapping[str, Any]) -> str:
    """Return a document as the one JSON object that goes to stdout."""
    return json.dumps({"format": 1, **document}, sort_keys=True)


def _plan_document(plan: Plan, sums: Document, changed: bool, seconds: float) -> Document:
    """Describe a plan: what goes where by which method, and why."""
    return {
        "profiles": list(plan.profiles),
        "source": str(plan.source),
        "platform": plan.platform,
        "changed": changed,
        "image": plan.digest,
        "golden": {"key": plan.golden, "why": plan.why_golden},
        "entries": [entry_document(action) for action in cloned.actions(plan)],
        "missing": [missing_document(one) for one in plan.missing],
        "warnings": list(plan.warnings),
        "totals": sums,
        "seconds": round(seconds, 3),
    }


def plans_document(plans: Sequence[Plan], changed: bool, seconds: float) -> Document:
    """Describe plans: the first in full, and of each what makes it another."""
    short: list[Document] = [
        {"profiles": list(one.profiles), "image": one.digest, "totals": totals(one)} for one in plans
    ]
    return {**_plan_document(plans[0], short[0]["totals"], changed, seconds), "plans": short}


def entry_document(action: Action) -> Document:
    """Describe one destination."""
    entry = action.entry
    return {
        "path": entry.path,
        "type": str(entry.type),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "target": entry.target,
        "sha256": action.content.sha256 if action.content else None,
        "layer": str(entry.layer),
        "method": str(action.method),
        "why": action.why,
        "reasons": [{"rule": reason.rule, "origin": reason.origin} for reason in entry.reasons],
    }


def populate_document(done: "Populated", booted: "Sequence[Outcome[Booted]]") -> Document:
    """Describe what was built, and what was started of it; a zone's error is that of whichever failed."""
    plan = plans_document(done.plans, done.changed, done.seconds)
    started = {one.zonepath: one for one in booted}
    zones = []
    for one in done.zones:
        run = started.get(one.zonepath)
        about = None
        if one.error is None:
            about = {"changed": bool(one.value), "booted": run and run.value and boot_document(run.value)}
        zones.append(
            zone_document("populate", one.zonepath, about, one.error or (run.error if run else None))
        )
    failed = next((zone["error"] for zone in zones if zone["error"]), None)
    return {**plan, "zones": zones, **({"error": failed} if failed else {})}


def missing_document(missing: Missing) -> Document:
    """Describe something the source lacks."""
    return missing._asdict()


def totals(plan: Plan) -> Document:
    """Sum up a plan: files, bytes by layer, bytes that were copied though meant to be shared, methods."""
    every = cloned.actions(plan)
    files = [action for action in every if action.entry.type is FileType.FILE]
    own = [action for action in files if action.twin is None]
    copied = (Method.COPY, Method.CLONE)
    return {
        "files": len(files),
        "shared_bytes": sum(one.entry.size for one in own if one.entry.layer is Layer.SHARED),
        "private_bytes": sum(one.entry.size for one in own if one.entry.layer is Layer.PRIVATE),
        "copied_bytes": sum(one.entry.size for one in own if one.method in copied),
        "by_method": dict(sorted(Counter(str(action.method) for action in every).items())),
    }


def zone_document(
    verb: str, zonepath: str, done: Document | None, error: PartialRootError | None
) -> Document:
    """Describe what a verb did to one zone, always with the same keys."""
    return {
        "zonepath": zonepath,
        **(_NOTHING_DONE[verb] if done is None else done),
        "error": error_document(error)["error"] if error else None,
    }


def failed_document(verb: str | None, error: PartialRootError) -> Document:
    """Describe a verb that failed: its object, empty, with the error."""
    return {**_EMPTY.get(verb or "", {}), **error_document(error)}


def error_document(error: PartialRootError) -> Document:
    """Describe an error; what is missing is listed as in a plan."""
    about: Document = {
        "error": {"kind": error.kind, "message": error.message, "path": error.path, "hint": error.hint}
    }
    if error.missing:
        about["missing"] = [missing_document(one) for one in error.missing]
    return about


def wanting(missing: Iterable[Missing]) -> Document:
    """Return the error of what cannot be built for what is missing; empty if it can."""
    errors = [one for one in missing if one.severity == "error"]
    return {"error": error_document(MissingError(errors))["error"]} if errors else {}


def closure_document(found: "Closure") -> Document:
    """Describe a closure: each object once, with who first needed it."""
    return {
        "objects": [one._asdict() for one in found.objects],
        "missing": [missing_document(one) for one in found.missing],
        **wanting(found.missing),
    }


def learn_document(file: str, changed: bool, result: "Result") -> Document:
    """Describe what was learned, and the profile that says it."""
    lines = result.learned.lines
    return {
        "profile": file,
        "changed": changed,
        "text": result.text,
        "added": [{"key": one.key, "text": one.text, "why": one.why} for one in lines],
        "lookups": len(result.trace.lookups),
        "processes": result.trace.processes,
        "secrets": list(result.secrets),
        "missing": [missing_document(one) for one in result.missing],
        "warnings": list(result.warnings),
        **wanting(result.missing),
    }


def chain_document(zonepath: str, path: str, chain: "Iterable[Step]") -> Document:
    """Describe why a path is in a zone."""
    return {
        "zonepath": zonepath,
        "path": path,
        "chain": [
            {
                "path": step.path,
                "rule": step.reason.rule,
                "origin": step.reason.origin,
                "others": [one._asdict() for one in step.others],
            }
            for step in chain
        ],
    }


def profile_document(profile: Profile) -> Document:
    """Describe a composed profile: what it says, without what it leaves open."""
    return {
        name: _plain(value) for name, value in profile._asdict().items() if value not in (None, (), {}, "")
    }


def _plain(value: object) -> Any:
    """Return a profile's value as JSON has it: an item's text; of a wish, the fields that say something."""
    if isinstance(value, Item):
        return value.text
    if isinstance(value, (DirectoryWish, TextWish, EditWish, Start, Fragment)):
        said = value._asdict().items()
        return {name: _plain_field(name, one) for name, one in said if one not in (None, (), False)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _plain_field(name: str, value: object) -> Any:
    return f"{value:04o}" if name == "mode" else _plain(value)


def status_document(status: "ZoneStatus") -> Document:
    """Describe a zone's state and what runs in it."""
    return {
        "zonepath": status.zonepath,
        "state": status.state,
        "because": list(status.because),
        "exists": status.exists,
        "profiles": None if status.profiles is None else list(status.profiles),
        "image": status.image,
        "running": bool(status.processes),
        "processes": [{"pid": one.pid, "command": one.command} for one in status.processes],
        "error": error_document(status.error)["error"] if status.error else None,
    }


def refreshed_document(done: "Refreshed") -> Document:
    """Describe what a refresh or rollback did to a zone, or would do."""
    return {"changed": done.changed, "staged": done.staged, **_brought(done.brought)}


def preview_document(shown: "Preview") -> Document:
    """Describe what a populate would do to a zone; all of a new one is the plan's."""
    if shown.brought is None:
        return {**_NOTHING_DONE["preview"], "changed": shown.changed}
    before = [record_document(record) for record in shown.before]
    return {"changed": shown.changed, **_brought(shown.brought), "before": before}


def record_document(record: Record) -> Document:
    """Describe what was measured of a path, in the words that a plan has for it."""
    return {
        "path": record.path,
        "type": str(record.type),
        "mode": f"{record.mode:04o}",
        "uid": record.uid,
        "gid": record.gid,
        "size": record.size,
        "target": record.target,
        "sha256": record.sha256,
        "method": str(record.method),
    }


def _brought(brought: "Brought") -> Document:
    return {
        "image": {"before": brought.digests[0], "after": brought.digests[1]},
        "added": list(brought.added),
        "removed": list(brought.removed),
        "modified": list(brought.changed),
        "kept": [{"path": path, "beside": beside} for path, beside in brought.kept],
    }


def pruned_document(done: "Pruned") -> Document:
    """Describe what prune removed, or would remove, and what it could not judge."""
    return {
        "changed": bool(done.images or done.leftovers),
        "images": [{"path": str(one.path), "bytes": one.size} for one in done.images],
        "leftovers": [{"path": str(one.path), "bytes": one.size} for one in done.leftovers],
        "stale": [{"path": str(one.path), "why": one.why, "hint": one.hint} for one in done.stale],
        "bytes": done.size,
    }


def boot_document(booted: "Booted") -> Document:
    """Describe a started zone."""
    return {
        "runtime": booted.runtime,
        "pid": booted.pid,
        "address": booted.address,
        "not_isolated": list(booted.not_isolated),
        "warnings": list(booted.warnings),
        "log": str(booted.log) if booted.log else None,
    }
