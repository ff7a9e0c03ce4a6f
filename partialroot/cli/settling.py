"""refresh, where there is nothing to do: told at once, and nothing imported that only a plan would need."""

from argparse import Namespace
from pathlib import Path

from partialroot.zone.place import store_place
from partialroot.zone.settled import Settled
from partialroot.zone.store import zone_key


def refresh(args: Namespace) -> int:
    """Bring zones up to date with the source, or show what that would change."""
    places = tuple(dict.fromkeys(args.zonepaths))
    quick = Settled(store_place(args.store))
    found = {} if args.all else {one: quick.digest(one, zone_key(Path(one))) for one in places}
    digests = {one: digest[0] for one, digest in found.items() if digest is not None}
    if not digests or len(digests) < len(places):
        from partialroot.cli import refreshing

        return refreshing.refresh(args)
    _tell(args, digests)
    return 0


def _tell(args: Namespace, digests: dict[str, str | None]) -> None:
    if args.json:
        from partialroot.cli import documents

        zones = [documents.zone_document("refresh", one, None, None) for one in digests]
        about = [
            {**zone, "image": dict.fromkeys(("before", "after"), digests[zone["zonepath"]])} for zone in zones
        ]
        print(documents.encode({"zones": about}))
    elif not args.quiet:
        from partialroot.cli import show

        for one in digests:
            show.line(f"{one}: nothing to do")
