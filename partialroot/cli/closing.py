"""closure: what programs need at run time."""

from argparse import Namespace

from partialroot.cli import messages, show
from partialroot.cli.show import Branch
from partialroot.closure import Closure, Object
from partialroot.pipeline.closing import find_closure
from partialroot.zone.place import store_place


def closure(args: Namespace) -> int:
    """Show what programs need at run time; exit 2 when some of it is not there."""
    found = find_closure(store_place(args.store), args.source, args.paths, modules=args.modules)
    if args.json:
        from partialroot.cli import documents

        print(documents.encode(documents.closure_document(found)))
    else:
        _print(found)
    if not args.quiet:
        messages.say_missing(found.missing)
    return 2 if any(one.severity == "error" for one in found.missing) else 0


def _print(found: Closure) -> None:
    """Print what was found as a tree: each object below the one that first needed it."""
    branches: dict[str, Branch] = {}
    roots = []
    for one in found.objects:
        branch = branches.setdefault(one.real, Branch(_object_text(one)))
        above = branches.get(one.needed_by)
        if above is None or above is branch:
            roots.append(branch)
        else:
            above.below.append(branch)
    show.tree(roots)


def _object_text(one: Object) -> str:
    real = f" -> {one.real}" if one.real != one.path else ""
    variant = ", for other processors" if one.variant else ""
    return f"{one.path}{real} ({one.rule}{variant})"
