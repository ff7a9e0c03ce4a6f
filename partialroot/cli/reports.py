"""Reports for people: what a plan, a populate, a closure looks like on stdout."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from partialroot.cli import show
from partialroot.cli.documents import totals
from partialroot.cli.show import Branch
from partialroot.model import Plan
from partialroot.nodes import FileType
from partialroot.plan import cloned

MOST_LINES = 20
"""So many zones have a line each."""

if TYPE_CHECKING:  # a verb imports only what it uses
    from partialroot.host.linux.boot import Booted
    from partialroot.pipeline.inspecting import ZoneStatus
    from partialroot.pipeline.populating import Populated
    from partialroot.pipeline.previewing import Preview
    from partialroot.pipeline.zones import Outcome
    from partialroot.zone.explain import Step


def print_plan(plan: Plan, *, verbose: bool = True) -> None:
    """Print one row per destination, then the sums."""
    if verbose:
        show.table(
            ("METHOD", "LAYER", "MODE", "OWNER", "SIZE", "PATH", "WHY"),
            (
                (
                    action.method,
                    action.entry.layer,
                    f"{action.entry.mode:04o}",
                    f"{action.entry.uid}:{action.entry.gid}",
                    action.entry.size if action.entry.type is FileType.FILE else "",
                    action.entry.path,
                    action.why,
                )
                for action in cloned.actions(plan)
            ),
        )
    show.line(summary(plan))


def print_previews(zones: "Iterable[Outcome[Preview]]") -> None:
    """Print a line for each zone: whether the plan would change it."""
    for one in zones:
        if one.value is not None:
            new = one.value.changed and one.value.brought is None
            would = "would be built" if new else "would change" if one.value.changed else "nothing to do"
            show.line(f"{one.zonepath}: {would}")


def summary(plan: Plan) -> str:
    """Return the sums of a plan in one line."""
    sums = totals(plan)
    methods = ", ".join(f"{name} {count}" for name, count in sums["by_method"].items())
    shared, private = show.size(sums["shared_bytes"]), show.size(sums["private_bytes"])
    copied = show.size(sums["copied_bytes"])
    return f"{sums['files']} files: {shared} shared, {private} private, {copied} copied ({methods})"


def print_chain(chain: "Sequence[Step]") -> None:
    """Print why a path is there, down to the profile's line."""
    top = at = Branch(str(chain[0].path))
    for step in chain:
        others = f" (and {len(step.others)} more)" if step.others else ""
        below = Branch(f"{step.reason.rule}: {step.reason.origin}{others}")
        at.below.append(below)
        at = below
    show.tree([top])


def print_profile(document: Mapping[str, Any]) -> None:
    """Print a composed profile as a tree: each key with its values, a wish with its details."""
    show.tree(Branch(key, list(_branches(value))) for key, value in document.items())


def _branches(value: object) -> Iterator[Branch]:
    """Yield a value's lines: of a list one for each item, of a table one for each key."""
    if isinstance(value, Mapping):
        yield from (_branch(key, one) for key, one in value.items())
    elif isinstance(value, list):
        yield from (_wish(one) if isinstance(one, Mapping) else Branch(str(one)) for one in value)
    else:
        yield from (Branch(line) for line in str(value).splitlines())


def _branch(key: str, value: object) -> Branch:
    """Return a key with its value: on one line where that is short."""
    below = list(_branches(value))
    return (
        Branch(f"{key} = {below[0].text}") if len(below) == 1 and not below[0].below else Branch(key, below)
    )


def _wish(wish: Mapping[str, Any]) -> Branch:
    """Return a wish by its path, one of mvi's fragments by its name."""
    title = "path" if "path" in wish else "name"
    return Branch(wish[title], _branches({key: value for key, value in wish.items() if key != title}))


def print_populated(done: "Populated", *, verbose: bool) -> None:
    """Print what was done to each zone, or of many how many; then each plan's sums once."""
    built = [zone for zone in done.zones if zone.error is None]
    if len(done.zones) > MOST_LINES and not verbose:
        changed = sum(bool(zone.value) for zone in built)
        columns = (len(done.zones), changed, len(built) - changed, len(done.zones) - len(built))
        show.table(("ZONES", "POPULATED", "NOTHING TO DO", "FAILED"), [columns])
    else:
        for zone in built:
            show.line(f"{zone.zonepath}: {'populated' if zone.value else 'nothing to do'}")
    if built:
        for plan in done.plans:
            print_plan(plan, verbose=verbose)
        show.line(f"{done.seconds:.2f} s")


def print_status(states: "Iterable[ZoneStatus]") -> None:
    """Print a row for each zone, and below it what is wrong and what runs."""
    rows = []
    for one in states:
        rows.append((one.state, str(len(one.processes)), one.zonepath, "; ".join(one.because)))
        rows += [("", str(process.pid), "", process.command) for process in one.processes]
    if rows:
        show.table(("STATE", "PROCESSES", "ZONEPATH", "BECAUSE"), rows)


def boot_line(zonepath: str, booted: "Booted") -> str:
    """Return what was started, in one line."""
    address = f", at {booted.address}" if booted.address else ""
    return f"{zonepath}: runs by {booted.runtime}, process {booted.pid}{address}"


def print_findings(findings: Iterable[Mapping[str, Any]]) -> None:
    """Print what verify or audit found, a row each."""
    columns = ("severity", "kind", "zonepath", "path", "expected", "actual")
    rows = [[one[column] for column in columns] for one in findings]
    if rows:
        show.table([column.upper() for column in columns], rows)
