"""populate, plan, remove, profiles: what is built, and what would be."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partialroot.cli import documents, messages, reports, show, values
from partialroot.cli.common import code, finish, say_outcomes, zone_documents, zonepaths
from partialroot.errors import UsageError
from partialroot.model import Plan
from partialroot.pipeline import planning
from partialroot.pipeline.sources import Options, reading
from partialroot.zone.place import store_path

if TYPE_CHECKING:  # who only looks does not need what builds zones
    from partialroot.host.linux.boot import Booted
    from partialroot.pipeline.fleets import Wanted
    from partialroot.pipeline.previewing import Preview
    from partialroot.pipeline.zones import Outcome

    Previewed = tuple[Sequence[Plan], Sequence[Outcome[Preview]]]


def _options(args: Namespace) -> Options:
    return Options(
        store=store_path(args.store),
        source=Path(os.path.abspath(args.source)),
        platform=args.platform,
        manifests=tuple(Path(place) for place in args.manifests),
        share=values.methods(args.share),
        parameters=values.parameters(args.settings),
        trust_zone=args.trust_zone,
        address=values.address(getattr(args, "address", None)),
        hostname=values.hostname(getattr(args, "hostname", None)),
        keep_going=args.keep_going,
        add_closure=args.add_closure,
        run_fix_scripts=args.run_fix_scripts,
    )


def populate(args: Namespace) -> int:
    """Build zones, or bring them to what the profiles say now."""
    options = _options(args)
    wanted = _wanted(args, options)
    if args.dry_run:
        from partialroot.pipeline.previewing import preview

        return _show_plans(args, lambda: preview(options, wanted))
    from partialroot.pipeline import populating
    from partialroot.pipeline.workers import allowed_cores

    with messages.progress("populating") as tell:
        done = populating.populate(options, wanted, workers=args.jobs or allowed_cores(), tell=tell)
    booted = _boot(args, done.zones)
    if args.json:
        print(documents.encode(documents.populate_document(done, booted)))
    elif not args.quiet:
        reports.print_populated(done, verbose=args.verbose)
        for one in booted:
            if one.value is not None:
                show.line(reports.boot_line(one.zonepath, one.value))
    _say_plans(args, done.plans)
    say_outcomes([*done.zones, *booted])
    return code([*done.zones, *booted])


def _wanted(args: Namespace, options: Options) -> "list[Wanted]":
    """Return the zones that are to be, with what each of them asks for."""
    from partialroot.pipeline import fleets

    if args.fleet is not None:
        values.refuse_own(args.hostname, args.address)
        return fleets.of_fleet(options, Path(os.path.abspath(args.fleet)), values.zones_only(args.words))
    return fleets.alike(options, *values.zones_and_profiles(args.words))


def _boot(args: Namespace, zones: "Iterable[Outcome[bool]]") -> "tuple[Outcome[Booted], ...]":
    """Start the zones that were populated, if that is asked for."""
    if not args.boot:
        return ()
    from partialroot.cli.operating import say_losses
    from partialroot.pipeline import running

    outcomes = running.boot(
        store_path(args.store),
        [one.zonepath for one in zones if one.error is None],
        runtime="auto",
        foreground=False,
        address=None,
        trust_zone=args.trust_zone,
    )
    say_losses([one.value for one in outcomes if one.value is not None])
    return outcomes


def plan(args: Namespace) -> int:
    """Show what populate would do."""
    for word in args.words:
        if word.startswith("/") and not word.endswith(".toml"):
            raise UsageError("plan takes profiles only", path=word, hint=f"populate --dry-run {word} ...")
    return _show_plans(args, lambda: ([planning.only_plan(_options(args), args.words)], ()))


def _show_plans(args: Namespace, make: Callable[[], "Previewed"]) -> int:
    from time import monotonic

    started = monotonic()
    plans, zones = make()
    if args.json:
        plan = documents.plans_document(plans, False, monotonic() - started)
        about = zone_documents("preview", zones, documents.preview_document) if zones else {}
        print(documents.encode({**plan, **about}))
    else:
        for one in plans:
            reports.print_plan(one)
        reports.print_previews(zones)
    _say_plans(args, plans)
    say_outcomes(zones)
    return code(zones)


def _say_plans(args: Namespace, plans: Sequence[Plan]) -> None:
    """Say what is missing, and what to be warned of; once, though several plans have it."""
    missing = dict.fromkeys(one for plan in plans for one in plan.missing)
    _say_plan(args, missing, dict.fromkeys(one for plan in plans for one in plan.warnings))


def _say_plan(args: Namespace, missing: Iterable[Any], warnings: Iterable[str]) -> None:
    if not args.quiet:
        messages.say_missing(missing)
        messages.say_warnings(warnings)


def remove(args: Namespace) -> int:
    """Take zones away."""
    from partialroot.pipeline import populating
    from partialroot.pipeline.workers import allowed_cores

    with messages.progress("removing") as tell:
        outcomes = populating.remove(
            store_path(args.store), zonepaths(args), workers=allowed_cores(), tell=tell
        )
    return finish(args, outcomes, lambda _: {"removed": True}, lambda zone, _: f"{zone}: removed")


def profiles(args: Namespace) -> int:
    """List, show or check profiles."""
    return {"list": _profiles_list, "show": _profiles_show, "check": _profiles_check}[args.action](args)


def _profiles_list(args: Namespace) -> int:
    from partialroot.pipeline.choosing import library

    found = library(_options(args)).names()
    if args.json:
        print(documents.encode({"profiles": [{**one._asdict(), "file": str(one.file)} for one in found]}))
    else:
        show.table(("NAME", "SUMMARY", "FILE"), found)
    return 0


def _profiles_show(args: Namespace) -> int:
    from partialroot.pipeline.choosing import compose

    profile = compose(_options(args), _named(args))
    if args.json:
        print(documents.encode({"profile": documents.profile_document(profile)}))
    else:
        reports.print_profile(documents.profile_document(profile))
    return 0


def _profiles_check(args: Namespace) -> int:
    from partialroot.pipeline.choosing import make_selection

    with reading(_options(args)) as options:
        selection = make_selection(options, _named(args))[0]
    wanting = documents.wanting(selection.missing)
    if args.json:
        missing = [documents.missing_document(one) for one in selection.missing]
        about = {"profiles": args.words, "missing": missing, "warnings": selection.warnings}
        print(documents.encode({**about, **wanting}))
    elif not wanting and not args.quiet:
        show.line(f"{' '.join(args.words)}: complete, {len(selection.entries)} paths")
    _say_plan(args, selection.missing, selection.warnings)
    return 2 if wanting else 0


def _named(args: Namespace) -> Sequence[str]:
    if not args.words:
        raise UsageError("no PROFILE is given", hint="see partialroot profiles list")
    words: Sequence[str] = args.words
    return words
