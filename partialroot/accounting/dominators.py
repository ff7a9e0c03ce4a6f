"""Dominators of a graph: what every way from the root to a node goes through.

The algorithm is that of Cooper, Harvey and Kennedy (A Simple, Fast Dominance Algorithm, 2001): nodes in
reverse postorder, each with the nearest common dominator of its predecessors, until nothing changes. On
graphs like ours one or two rounds do.
"""

from collections.abc import Iterator, Sequence

UNREACHED = -1


def immediate_dominators(successors: Sequence[Sequence[int]], root: int = 0) -> tuple[list[int], list[int]]:
    """Return the immediate dominator of each node, and the reached nodes in reverse postorder.

    A node's dominators come before it in that order. The root's own dominator is the root; of a node that it
    does not lead to it is UNREACHED.
    """
    order = _reverse_postorder(successors, root)
    rank = {node: place for place, node in enumerate(order)}
    predecessors: list[list[int]] = [[] for _ in successors]
    for node in order:
        for successor in successors[node]:
            predecessors[successor].append(node)
    dominators = [UNREACHED] * len(successors)
    dominators[root] = root
    while _improve(dominators, order, predecessors, rank):
        pass
    return dominators, order


def _improve(
    dominators: list[int], order: Sequence[int], predecessors: Sequence[Sequence[int]], rank: dict[int, int]
) -> bool:
    """Go once through all nodes but the root; return whether anything changed."""
    changed = False
    for node in order[1:]:
        best = UNREACHED
        for before in predecessors[node]:
            if dominators[before] != UNREACHED:
                best = before if best == UNREACHED else _common(best, before, dominators, rank)
        if dominators[node] != best:
            dominators[node] = best
            changed = True
    return changed


def _common(one: int, other: int, dominators: Sequence[int], rank: dict[int, int]) -> int:
    """Return the nearest node that dominates both."""
    while one != other:
        while rank[one] > rank[other]:
            one = dominators[one]
        while rank[other] > rank[one]:
            other = dominators[other]
    return one


def _reverse_postorder(successors: Sequence[Sequence[int]], root: int) -> list[int]:
    """Return the nodes that ``root`` leads to, each after one that leads to it; chains may be long."""
    finished: list[int] = []
    seen = {root}
    path: list[tuple[int, Iterator[int]]] = [(root, iter(successors[root]))]
    while path:
        node, rest = path[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                path.append((successor, iter(successors[successor])))
                break
        else:
            finished.append(node)
            path.pop()
    return finished[::-1]
