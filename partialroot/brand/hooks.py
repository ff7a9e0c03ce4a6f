"""The one entry of all hooks: ``hook NAME ZONE ZONEPATH ...``, as config.xml has them.

Exit codes (zones facts 1.5): 0 is done. 254 makes zoneadm delete what is in the zonepath, without a look at
mounts, and the zone configured again: so it is only for an install that left nothing. 253 is a hook that
was called in a wrong way. 255 is every other failure.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from partialroot.brand import arguments, process
from partialroot.brand.arguments import Call
from partialroot.errors import MissingError, PartialRootError, UsageError

if TYPE_CHECKING:
    from partialroot.brand.life import Life
    from partialroot.pipeline.sources import Options

OK, USAGE, NOT_COMPLETE, FATAL = 0, 253, 254, 255
BY_ZONEADMD = {"prestatechange", "poststatechange", "query"}


Enter = Callable[[], "Life"]
"""Makes what works on the zone, when it is known that there is work: its imports take their time."""


def main(argv: Sequence[str] | None = None, options: "Callable[[], Options] | None" = None) -> int:
    """Run a hook and return its exit code. ``options`` makes others than those of the installed brand."""
    name, *words = (sys.argv[1:] if argv is None else argv) or [""]
    process.settle(by_zoneadmd=name in BY_ZONEADMD)
    try:
        if name == "zap_upgrade":
            return zap_upgrade(words)
        hook = _HOOKS.get(name)
        if hook is None:
            raise UsageError("is not a hook", path=ascii(name))
        if hook is verify_adm and words[2:3] != ["uninstall"]:
            return OK
        call = arguments.parse_call(words)
        return hook(call, lambda: _enter(call, options))
    except PartialRootError as error:
        say(error)
        return USAGE if isinstance(error, UsageError) else FATAL
    except KeyboardInterrupt:
        say("interrupted")
        return FATAL
    except Exception as error:  # an admin reads this: one sentence, and never a traceback
        say(f"unexpected: {type(error).__name__}: {error}")
        return FATAL


def say(what: object) -> None:
    """Tell the administrator."""
    print(f"partial-root: {what}", file=sys.stderr)


def _enter(call: Call, options: "Callable[[], Options] | None") -> "Life":
    from pathlib import Path

    from partialroot.brand.life import Life
    from partialroot.pipeline.sources import Options
    from partialroot.zone.place import ROOT_STORE

    return Life(call, options() if options else Options(store=Path(ROOT_STORE), platform="illumos"), say)


# --- the hooks ----------------------------------------------------------------------------------------


def install(call: Call, enter: Enter) -> int:
    """Build the zone; when that fails leave nothing, if that is possible, and say so by the code."""
    life = enter()
    try:
        life.install(arguments.parse_install(call.words))
    except PartialRootError as error:
        for one in () if isinstance(error, MissingError) else error.missing:
            say(f"missing: {one.name}, needed by {one.needed_by}")
        say(error)
        return NOT_COMPLETE if life.is_vacant() else FATAL
    return OK


def verify_adm(call: Call, enter: Enter) -> int:
    """Before an uninstall, unmount what is left: the later hooks come too late for that (1.6).

    For all else all is well, at once and whatever the zonepath: zoneadm asks for ``list``, too, and what
    lists a zone here would be asked again, and so on for ever; with ``attach -n`` there is none (1.2).
    """
    del call
    enter().unmount_leftovers()
    return OK


def uninstall(call: Call, enter: Enter) -> int:
    """Take all of the zone away."""
    letters, life = arguments.parse_uninstall(call.words), enter()
    if "n" in letters:
        for line in life.would_uninstall():
            print(line)
        return FATAL  # 0 would say that it is gone
    life.uninstall(verbose="v" in letters)
    return OK


def prestatechange(call: Call, enter: Enter) -> int:
    """Before the zone is made ready: have its root mounted, nothing in it, and all of it up to date."""
    if _command(call) == "0":
        enter().prepare()
    return OK


def poststatechange(call: Call, enter: Enter) -> int:
    """After a halt: have the root mounted. May come twice, and while much is still mounted (1.7)."""
    if _command(call) == "4":
        enter().settle_after_halt()
    return OK


def sysboot(call: Call, enter: Enter) -> int:
    """When the system boots: have the root of a zone mounted that does not boot by itself."""
    del call
    enter().mount()
    return OK


def query(call: Call, enter: Enter) -> int:
    """Print the dataset that the zone may do with as it likes; nothing at all would be a trap (1.7)."""
    if call.words != ("datasets",):
        raise UsageError("can only tell datasets", path=ascii(" ".join(call.words)))
    from partialroot.host.illumos.datasets import Datasets

    del enter
    print(Datasets(call.zonepath).container(), end="")
    return OK


def attach(call: Call, enter: Enter) -> int:
    """Take the zone that lies in the zonepath as one of this system."""
    del call
    enter().attach()
    return OK


def detach(call: Call, enter: Enter) -> int:
    """Make the zonepath one that can be carried to another system."""
    del call
    enter().detach()
    return OK


def clone(call: Call, enter: Enter) -> int:
    """Make the zone from a snapshot of another."""
    source = arguments.parse_clone(call.words)
    enter().clone(source)
    return OK


def zap_upgrade(words: Sequence[str]) -> int:
    """``zap upgrade`` made a new boot environment; when it boots there the zone is brought up to date."""
    call = arguments.parse_upgrade(words)
    say(f"{call.zone} will be brought up to date when it boots in the new boot environment")
    return OK


def _command(call: Call) -> str:
    """Return CMD of ``STATE CMD ALTROOT``; ALTROOT is mostly empty and so not there."""
    if len(call.words) < 2:
        raise UsageError("is called with a state and a command", path=ascii(" ".join(call.words)))
    return call.words[1]


_HOOKS: Mapping[str, Callable[[Call, Enter], int]] = {
    hook.__name__: hook
    for hook in (
        install,
        verify_adm,
        uninstall,
        prestatechange,
        poststatechange,
        sysboot,
        query,
        attach,
        detach,
        clone,
    )
}
