"""The command line: its verbs, its options, and what the words of ``populate`` mean."""

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, NoReturn

from partialroot.cli.values import METHODS, positive, seconds
from partialroot.errors import UsageError

RUNTIMES = ("auto", "runc", "bwrap", "chroot")

_SUMMARY = "Build minimal zone roots in place from the files of the running system."


class Parser(argparse.ArgumentParser):
    """Like argparse's, but a mistake is an error of ours, so that --json can report it."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, naming the nearest option where there is none of that name."""
        from partialroot.profiles.wording import suggestion

        wrong = re.search(r"unrecognized arguments: .*?(--[^\s=]+)", message)
        options = re.findall(r"--[a-z-]+", self.format_usage())
        hint = suggestion(wrong[1], options, "options") if wrong else f"see {self.prog} --help"
        raise UsageError(message, hint=hint)


class Verb(NamedTuple):
    """A verb: what it does, an example, and what adds its arguments to a parser."""

    summary: str
    example: str
    add: Callable[[Parser], None]
    takes_command: bool = False


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the command line, understood; options and other words may be mixed.

    Only the verb's own parser is made: that is quick. Raises UsageError.
    """
    if not words or words[0] not in VERBS:
        _refuse_unknown_verb(words)
        return top_parser().parse_args(words)
    name, verb = words[0], VERBS[words[0]]
    parser = _filled(Parser(prog=f"partialroot {name}", **_about(verb)), name)
    own, command = _without_command(words) if verb.takes_command else (words, ())
    arguments = parser.parse_intermixed_args(own[1:])
    arguments.command = command
    return arguments


def _without_command(words: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """Return what comes before the first ``--``, and the command behind it."""
    if "--" not in words:
        return words, ()
    at = words.index("--")
    return words[:at], tuple(words[at + 1 :])


def _refuse_unknown_verb(words: Sequence[str]) -> None:
    """Raise UsageError, naming the nearest verb, when the first word is none and no option either."""
    if words and not words[0].startswith("-"):
        from partialroot.profiles.wording import suggestion

        raise UsageError(f"there is no verb {words[0]!r}", hint=suggestion(words[0], VERBS, "verbs"))


def top_parser() -> Parser:
    """Return the parser of the whole command line: for help, mistakes, and the shells' completion."""
    top = Parser(prog="partialroot", description=_SUMMARY, allow_abbrev=False, formatter_class=_formatter)
    top.add_argument("--version", action="store_true", help="print the version and nothing else")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for name, verb in VERBS.items():
        _filled(verbs.add_parser(name, help=verb.summary, **_about(verb)), name)
    return top


def _about(verb: Verb) -> dict[str, Any]:
    example = f"example: partialroot {verb.example}"
    return {
        "description": verb.summary,
        "epilog": example,
        "allow_abbrev": False,
        "formatter_class": _formatter,
    }


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter; argparse asks one about every argument, and to ask for its width imports shutil."""
    return argparse.HelpFormatter(prog, width=_columns() - 2)


@cache
def _columns() -> int:
    """Return the width of the terminal, as shutil does."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _filled(parser: Parser, name: str) -> Parser:
    """Add a verb's arguments to a parser, with those that every verb has."""
    parser.set_defaults(verb=name)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no report and no warnings")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every path")
    parser.add_argument("--store", metavar="DIR", help="where images and the register of zones live")
    VERBS[name].add(parser)
    return parser


def _source_options(verb: Parser) -> None:
    verb.add_argument("--source", metavar="ROOT", default="/", help="the root the files come from")
    verb.add_argument("--platform", choices=("linux", "illumos"), help="default: what the source is")


def _profile_options(verb: Parser) -> None:
    _source_options(verb)
    verb.add_argument(
        "--manifests", metavar="DIR", action="append", default=[], help="look for profiles here first"
    )
    verb.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], dest="settings", help="a parameter"
    )
    verb.add_argument(
        "--share", metavar="auto|LIST", default="auto", help=f"the methods allowed: {','.join(METHODS)}"
    )
    verb.add_argument(
        "--trust-zone", action="store_true", help="the zone may write the source's files and use its network"
    )
    _mvi_options(verb)


def _mvi_options(verb: Parser) -> None:
    verb.add_argument(
        "--keep-going", action="store_true", help="mvi's lists: leave out what no listed package has"
    )
    verb.add_argument(
        "--closure",
        action="store_true",
        help="mvi's lists: add what the listed programs need",
        dest="add_closure",
    )
    verb.add_argument(
        "--run-fix-scripts",
        action="store_true",
        help="mvi's fix scripts: run them even if nothing confines them",
    )


def _zone_words(verb: Parser) -> None:
    verb.add_argument("zonepaths", metavar="ZONEPATH", nargs="*", help="a zone's directory")
    verb.add_argument("--all", action="store_true", help="every zone of the store")


def _populate(verb: Parser) -> None:
    verb.add_argument(
        "words", metavar="ZONEPATH|PROFILE", nargs="*", help="absolute: a zonepath; else a profile"
    )
    verb.add_argument("--fleet", metavar="FILE", help="zones with what each has of its own; some, or all")
    _profile_options(verb)
    verb.add_argument("-n", "--dry-run", action="store_true", help="show the plan, touch nothing")
    verb.add_argument("--address", metavar="ADDRESS", help="the zone's network address")
    verb.add_argument("--hostname", metavar="NAME", help="the zone's name (default: its directory's)")
    verb.add_argument("--boot", action="store_true", help="start the zones when they are built")
    _jobs(verb)


def _jobs(verb: Parser) -> None:
    verb.add_argument(
        "--jobs", metavar="N", type=positive, help="processes for many zones (default: the cores allowed)"
    )


def _plan(verb: Parser) -> None:
    verb.add_argument("words", metavar="PROFILE", nargs="+")
    _profile_options(verb)


def _closure(verb: Parser) -> None:
    verb.add_argument("paths", metavar="PATH", nargs="+")
    verb.add_argument("--modules", action="store_true", help="with dlopen notes, NSS and PAM modules")
    _source_options(verb)


def _affected(verb: Parser) -> None:
    verb.add_argument("words", metavar="PATH|PACKAGE[@VERSION]", nargs="+", help="absolute: a path")


def _sbom(verb: Parser) -> None:
    verb.add_argument("zonepath", metavar="ZONEPATH")
    verb.add_argument("--out", metavar="FILE", help="write it there (default: the standard output)")


def _explain(verb: Parser) -> None:
    verb.add_argument("zonepath", metavar="ZONEPATH")
    verb.add_argument("path", metavar="PATH")
    verb.add_argument("--what-if-removed", action="store_true", help="tell what would go with it")


def _status(verb: Parser) -> None:
    _zone_words(verb)
    verb.add_argument("--size", action="store_true", help="tell where bytes and files come from")


def _verify(verb: Parser) -> None:
    _zone_words(verb)
    verb.add_argument("--strict", action="store_true", help="edited and extra files count, too")
    verb.add_argument("--watch", action="store_true", help="run the zone, and tell what it looks for in vain")
    _probing(verb)
    _runtime(verb)


def _probing(verb: Parser) -> None:
    verb.add_argument(
        "--probe",
        metavar="URL|COMMAND",
        action="append",
        default=[],
        dest="probes",
        help="ask the service this, and wait until it answers (repeatable)",
    )
    verb.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=30.0, help="for each probe (default 30)"
    )
    verb.add_argument(
        "--for", metavar="SECONDS", type=seconds, dest="seconds", help="go on for so long after that"
    )


def _runtime(verb: Parser) -> None:
    verb.add_argument("--runtime", choices=RUNTIMES, default="auto", help="what isolates the zone")


def _learn(verb: Parser) -> None:
    verb.add_argument("--out", metavar="FILE.toml", required=True, help="the profile to write")
    verb.add_argument("--merge", metavar="FILE.toml", help="add to this profile; what it says stays")
    verb.add_argument(
        "--uses", metavar="PROFILE", action="append", help="a profile to build on (default: base)"
    )
    verb.add_argument(
        "--trace", metavar="FILE", action="append", default=[], help="learn from what strace or truss wrote"
    )
    verb.add_argument(
        "--secrets", action="store_true", help="name the secrets it reads, so that they are copied"
    )
    _probing(verb)
    _source_options(verb)
    verb.add_argument(
        "--manifests", metavar="DIR", action="append", default=[], help="look for profiles here first"
    )


def _refresh(verb: Parser) -> None:
    _zone_words(verb)
    verb.add_argument("-n", "--dry-run", action="store_true", help="show what would change, touch nothing")
    _jobs(verb)


def _rollback(verb: Parser) -> None:
    _zone_words(verb)
    verb.add_argument("-n", "--dry-run", action="store_true", help="show what would change, touch nothing")


def _prune(verb: Parser) -> None:
    verb.add_argument("-n", "--dry-run", action="store_true", help="show what would go, touch nothing")
    verb.add_argument("--previous", action="store_true", help="also what zones could go back to")


def _boot(verb: Parser) -> None:
    _zone_words(verb)
    _runtime(verb)
    verb.add_argument("--foreground", action="store_true", help="stay until the zone's first process ends")
    verb.add_argument("--address", metavar="ADDRESS", help="the zone's network address")
    verb.add_argument("--trust-zone", action="store_true", help="allow the host's network")


def _halt(verb: Parser) -> None:
    _zone_words(verb)
    verb.add_argument(
        "--grace", metavar="SECONDS", type=seconds, default=10.0, help="before SIGKILL (default 10)"
    )


def _export(verb: Parser) -> None:
    verb.add_argument("zonepath", metavar="ZONEPATH", help="a zone's directory")
    verb.add_argument("file", metavar="FILE", nargs="?", help="a tarball: .tar.gz, .tgz or .tar")
    verb.add_argument("--oci", metavar="DIR", help="make an OCI image layout there")
    verb.add_argument("--manifest", choices=("mtree", "p5m"), help="print the list of its files")


def _doctor(verb: Parser) -> None:
    verb.add_argument("zonepaths", metavar="ZONEPATH", nargs="*", help="where zones will be")
    _source_options(verb)


def _profiles(verb: Parser) -> None:
    verb.add_argument("action", choices=("list", "show", "check"))
    verb.add_argument("words", metavar="PROFILE", nargs="*")
    _profile_options(verb)


VERBS: Mapping[str, Verb] = {
    "populate": Verb("build or update zones", "populate /zones/web node --set port=8001", _populate),
    "plan": Verb("show what populate would do", "plan node", _plan),
    "closure": Verb("show what programs need at run time", "closure /usr/bin/ssh", _closure),
    "explain": Verb("say why a path is in a zone", "explain /zones/web /usr/bin/node", _explain),
    "affected": Verb("say which zones hold a path or a package", "affected openssl@3.0.11-1", _affected),
    "sbom": Verb("list a zone's files and packages (CycloneDX)", "sbom /zones/web --out web.cdx.json", _sbom),
    "status": Verb("say which zones are current, and what runs in them", "status --all", _status),
    "verify": Verb("compare zones with their receipts", "verify /zones/web", _verify),
    "audit": Verb("look for what zones could misuse", "audit --all", _zone_words),
    "refresh": Verb("bring zones up to date with the source", "refresh -n --all", _refresh),
    "rollback": Verb("bring zones back to before their last change", "rollback -n /zones/web", _rollback),
    "prune": Verb("remove images that no zone uses, and what was left behind", "prune -n", _prune),
    "mount": Verb("bring the shared layer up again", "mount --all", _zone_words),
    "unmount": Verb("take the shared layer down", "unmount /zones/web", _zone_words),
    "boot": Verb("start zones", "boot /zones/web", _boot),
    "halt": Verb("stop zones", "halt /zones/web", _halt),
    "remove": Verb("take zones away, and images nobody uses", "remove /zones/web", _zone_words),
    "learn": Verb(
        "run a command (after --), and write the profile of a zone for it",
        "learn --out app.toml --probe http://127.0.0.1:8000/ -- node /srv/app/server.js 8000",
        _learn,
        takes_command=True,
    ),
    "export": Verb("write a zone as a tarball or an OCI image", "export /zones/web web.tar.gz", _export),
    "doctor": Verb(
        "say what this host offers to zones, and what to do about what it lacks", "doctor", _doctor
    ),
    "profiles": Verb("list, show or check profiles", "profiles check node", _profiles),
}
