"""What zones get whose roots are copies of a golden layer."""

from collections.abc import Iterable, Iterator

from partialroot.model import Action, Method, Plan


def common(private: Iterable[Action]) -> Iterator[Action]:
    """Yield what is in the golden layer: all but what profiles write, in which zones may differ."""
    return (action for action in private if action.method is not Method.WRITE)


def actions(plan: Plan) -> list[Action]:
    """Return all actions on a zone, sorted by path: what the golden layer has copied, it gets as a clone."""
    if plan.golden is None:
        return plan.actions
    private = (as_cloned(plan, action) for action in plan.private)
    return plan._replace(private=tuple(private)).actions


def as_cloned(plan: Plan, action: Action) -> Action:
    """Return what a zone gets where the golden layer was made by a private action."""
    if action.method is not Method.COPY:
        return action
    return action._replace(method=Method.CLONE, why=f"of the golden layer: {plan.why_golden}")
