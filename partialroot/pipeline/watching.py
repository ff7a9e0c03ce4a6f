"""verify --watch: run a zone under watch, and tell what it looked for in vain though the source has it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from partialroot.errors import BootError, ProfileError
from partialroot.host import tracing
from partialroot.host.probes import check
from partialroot.learn.interpret import interpret
from partialroot.learn.lesson import Known, Source, file_lines, program_lines, rest
from partialroot.learn.missed import missed
from partialroot.learn.needs import Needs
from partialroot.learn.trace import Trace
from partialroot.learn.wording import pasted
from partialroot.model import Finding, Profile, Receipt
from partialroot.pipeline.choosing import compose
from partialroot.pipeline.exercise import Exercise, exercise
from partialroot.pipeline.opening import packages_of
from partialroot.pipeline.running import Boot, start
from partialroot.pipeline.sources import Options, open_tree
from partialroot.pipeline.zones import Outcome, each, need_receipt, opened
from partialroot.plan.policy import Excludes, shared_tops
from partialroot.plan.wishes import named_literally
from partialroot.zone import receipt as receipts
from partialroot.zone.apply import Site
from partialroot.zone.store import Store

if TYPE_CHECKING:
    from partialroot.host.linux.boot import Booted

KIND = "lookup"


class Watch(NamedTuple):
    """How a zone is run under watch, and what it is asked."""

    exercise: Exercise = Exercise()
    runtime: str = "auto"


def watch(store: Path, zonepaths: Sequence[str], wish: Watch) -> tuple[Outcome[list[Finding]], ...]:
    """Boot zones that do not run, one after the other, exercise each, halt it, and return what it missed."""
    check(wish.exercise.probes)
    return each(zonepaths, lambda one: _watch_one(Store(store), Path(one), wish))


def _watch_one(store: Store, zonepath: Path, wish: Watch) -> Outcome[list[Finding]]:
    with opened(store, zonepath) as (site, notes):
        trace, failed, more = _run(site, wish)
        source, known, unread = _compared(store, need_receipt(zonepath))
        found = list(_findings(missed(trace, known, source), trace, known, source))
    if failed is not None and not found:
        raise failed
    failure = (f"{zonepath}: {failed}",) if failed is not None else ()
    return Outcome(str(zonepath), found, notes=(*notes, *more, *unread, *failure))


def _run(site: Site, wish: Watch) -> tuple[Trace, BootError | None, tuple[str, ...]]:
    """Return what the zone did until it was exercised, why it was not if so, and what to tell of it."""
    from partialroot.host.linux.halt import halt

    watched: list[tuple[str, tracing.Watched]] = []
    failed: BootError | None = None
    notes: tuple[str, ...] = ()
    with ExitStack() as stack:

        def follow(runtime: str, pid: int) -> None:
            watched.append((runtime, stack.enter_context(tracing.following(pid))))

        try:
            booted, notes = start(site, Boot(wish.runtime, watch=follow))
            with suppress(KeyboardInterrupt):  # from the keyboard: it was exercised enough
                _exercise(site.zonepath, booted, watched[-1][1], wish.exercise)
        except BootError as error:
            if not watched:
                raise
            failed = error
        finally:
            if watched:
                halt(site.zonepath)
        runtime, last = watched[-1]
        last.stop(grace=0)  # there is nothing left, or it is not where it should be
        # What runc and bwrap execute first is the zone's program; chroot(8) is executed first and goes there.
        entered = "chroot" if runtime == "chroot" else "exec"
        root = str(site.zonepath / "root")
        return interpret(last.calls(), entered=entered, root=root), failed, notes


def _exercise(zonepath: Path, booted: "Booted", watched: tracing.Watched, wish: Exercise) -> None:
    """Exercise the zone from its own network: there a probe means what it meant to learn.

    Raises BootError when a probe did not succeed, or the zone ended meanwhile and failed.
    """
    from partialroot.host.linux.bundle import Bundle
    from partialroot.host.linux.network import inside
    from partialroot.host.linux.processes import zone_processes

    def gone() -> str:
        return "" if zone_processes(zonepath / "root") else "its last process has ended"

    inside(booted.pid, lambda: exercise(watched, wish, gone))
    if gone() and (code := booted.wait()):
        said = Bundle(zonepath).last_words() or "it said nothing"
        raise BootError(f"the zone's first process ended, with exit code {code}: {said}")


def _compared(store: Store, receipt: Receipt) -> tuple[Source, Known, tuple[str, ...]]:
    """Return the source, what the zone has of it, and what to tell."""
    request = receipt.request
    options = Options(
        store=store.root,
        source=Path(request.source),
        platform=request.platform,
        manifests=tuple(map(Path, request.manifests)),
        parameters=dict(request.parameters),
    )
    notes: tuple[str, ...] = ()
    try:
        profile = compose(options, request.profiles)
    except ProfileError as error:
        profile = Profile("", "")
        notes = (f"{receipt.zonepath}: what its profiles exclude is told, too: {error}",)
    tree = open_tree(options)
    shared = receipts.read_manifest(Path(receipt.image)) if receipt.image else ()
    paths = frozenset(record.path for record in (*receipt.entries, *shared))
    source = Source(tree, packages_of(tree), shared_tops(request.platform, tree.lstat))
    return source, Known(paths, profile, Excludes(tree, profile.exclude, named_literally(profile))), notes


def _findings(needs: Needs, trace: Trace, known: Known, source: Source) -> Iterator[Finding]:
    """Yield the lines to paste, each as a finding: where it is wanted, the line, how often and by whom."""
    lesson = rest(trace._replace(uids=frozenset(), gids=frozenset()), needs, known, source, secrets=True)
    lines = (
        *program_lines(needs, known, source.tree, None),
        *file_lines(needs, known, source, (), libraries=True),
        *lesson.lines,
    )
    for line in lines:
        yield Finding(line.text, KIND, pasted(line), line.why)
    for place in lesson.places:
        yield Finding(place.path, KIND, pasted(place), place.why)
