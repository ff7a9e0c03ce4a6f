"""The command line: the only place that prints or exits."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from partialroot import __version__
from partialroot.errors import ApplyError, PartialRootError

# A verb is a function of that name in one of these; only what a verb uses is imported.
MODULES = {
    verb: f"partialroot.cli.{module}"
    for module, verbs in {
        "building": ("populate", "plan", "remove", "profiles"),
        "closing": ("closure",),
        "accounting": ("sbom",),
        "holding": ("affected",),
        "looking": ("explain", "status", "verify", "audit", "doctor"),
        "learning": ("learn",),
        "exporting": ("export",),
        "settling": ("refresh",),
        "refreshing": ("rollback", "prune"),
        "operating": ("mount", "unmount", "boot", "halt"),
    }.items()
    for verb in verbs
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Data goes to stdout, everything else to stderr. With ``--json`` an error is also part of the object on
    stdout.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words[0] if words else None
    ours = words[: words.index("--")] if "--" in words else words  # learn's command has its own
    as_json = "--json" in ours
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except PartialRootError as error:
        return _report(error, verb, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: say no more
        return 1
    except OSError as error:  # what no stage had to expect: a disk that fails while a directory is read
        from partialroot.zone.fs import failed

        return _report(failed(error, str(error.filename or "")), verb, as_json=as_json)
    except KeyboardInterrupt as interrupt:
        from partialroot.cli import messages

        for note in getattr(interrupt, "__notes__", ()):  # what could not be undone
            messages.say(note)
        return _report(ApplyError("interrupted"), verb, as_json=as_json)


def _run(words: Sequence[str]) -> int:
    if words[:1] == ["--version"]:  # scripts ask for it first: argparse takes longer than all the rest
        print(f"partialroot {__version__}")
        return 0
    from partialroot.cli.arguments import parse

    arguments = parse(words)
    run = getattr(import_module(MODULES[arguments.verb]), arguments.verb)
    code: int = run(arguments)
    return code


def command() -> NoReturn:
    """Run as a process of its own: what ``partialroot`` on the command line is.

    A command makes up to a million values that all stay until its end; looking for garbage among them
    again and again takes a fifth of the time of a large plan, and finds nothing. Nor is there anything to be
    found when the interpreter ends: it would go through all of them once more.
    """
    gc.disable()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us: what is said is lost, no more
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # from here on an interrupt undoes what was begun
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = main()
    gc.freeze()
    sys.exit(code)


def _report(error: PartialRootError, verb: str | None, *, as_json: bool) -> int:
    from partialroot.cli import documents, messages

    if as_json:
        print(documents.encode(documents.failed_document(verb, error)))
    messages.say_error(error)
    return error.code
