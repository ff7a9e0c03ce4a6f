"""Which package each file of a plan was taken from."""

from collections.abc import Iterable, Mapping

from partialroot.model import Action, Entry, Plan, Supplier
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.plan.policy import PRIVATE_HOME


def taken(entries: Iterable[Entry]) -> list[RootPath]:
    """Return the paths by which packages may know the files of entries, without those we make ourselves."""
    return [path for entry in entries if (path := _packaged(entry)) is not None]


def with_suppliers(plan: Plan, suppliers: Mapping[RootPath, Supplier]) -> Plan:
    """Return the plan with the supplier of each file that has one among ``suppliers``."""
    return plan._replace(
        shared=tuple(_with_supplier(action, suppliers) for action in plan.shared),
        private=tuple(_with_supplier(action, suppliers) for action in plan.private),
    )


def _with_supplier(action: Action, suppliers: Mapping[RootPath, Supplier]) -> Action:
    path = _packaged(action.entry)
    return action if path is None or path not in suppliers else action._replace(supplier=suppliers[path])


def _packaged(entry: Entry) -> RootPath | None:
    """Return where a package has the file, not where it is moved to be private or kept as a copy."""
    if entry.type is not FileType.FILE or entry.node is None or entry.text is not None:
        return None
    return RootPath(entry.path[len(PRIVATE_HOME) :]) if entry.path.is_below(PRIVATE_HOME) else entry.path
