"""What goes to stderr: errors, warnings, notes; one line each, safe for any terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from partialroot.errors import Missing, MissingError, PartialRootError
from partialroot.paths import safe_name


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show on a terminal that work is under way, and for how long; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(safe_name(text), total=None)
        yield


@contextmanager
def progress(text: str) -> Iterator[Callable[[tuple[int, int]], None]]:
    """Yield what is to be told how many are done of how many: it shows that on a terminal, elsewhere nothing.

    It is drawn only then: no thread of it is there when processes are forked.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(safe_name(text), total=None)
        bar.refresh()

        def tell(state: tuple[int, int]) -> None:
            bar.update(task, completed=state[0], total=state[1], refresh=True)

        yield tell


def say(text: str) -> None:
    """Print one line to stderr."""
    print(f"partialroot: {safe_name(text)}", file=sys.stderr)


def say_error(error: PartialRootError) -> None:
    """Print what went wrong, where, and what to do."""
    say_missing(error.missing)
    if isinstance(error, MissingError):
        say(f"error: {len(error.missing)} missing from the source; nothing was touched")
    else:
        where = f"{error.path}: " if error.path else ""
        say(f"error: {where}{error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def say_missing(missing: Iterable[Missing]) -> None:
    """Print a line for everything that is missing: who needs it, which package has it."""
    for one in missing:
        package = f"; package {one.package} has it" if one.package else ""
        say(f"missing ({one.severity}): {one.name}, needed by {one.needed_by}{package}")


def say_warnings(warnings: Iterable[str]) -> None:
    """Print warnings."""
    for warning in warnings:
        say(f"warning: {warning}")
