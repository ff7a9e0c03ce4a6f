"""What words and options of the command line mean."""

from collections.abc import Sequence

from partialroot.errors import UsageError

METHODS = ("mount", "link", "clone", "copy")


def zones_and_profiles(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell zonepaths from profiles, in any mixture.

    In this order: what ends in ``.toml`` is a profile's file, what begins with ``/`` a zonepath, what
    contains ``/`` an error, anything else a profile's name. Raises UsageError unless there is one of each.
    """
    zonepaths, profiles = [], []
    for word in words:
        if word.endswith(".toml"):
            profiles.append(word)
        elif word.startswith("/"):
            zonepaths.append(word)
        elif "/" in word:
            raise UsageError(
                "zonepaths are absolute", path=word, hint=f"say /{word.lstrip('./')}, or the whole path"
            )
        else:
            profiles.append(word)
    if not zonepaths:
        raise UsageError(
            "no ZONEPATH is given", hint="name the zone's directory: partialroot populate /zones/web node"
        )
    if not profiles:
        raise UsageError("no PROFILE is given", hint="see partialroot profiles list")
    return tuple(dict.fromkeys(zonepaths)), tuple(dict.fromkeys(profiles))


def zones_only(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words, which must be zonepaths: a fleet's file says itself what they are to be."""
    for word in words:
        if not word.startswith("/") or word.endswith(".toml"):
            hint = "the fleet's file names the profiles; beside it name zonepaths, to build only these"
            raise UsageError("--fleet takes no profiles", path=word, hint=hint)
    return tuple(dict.fromkeys(words))


def hostname(text: str | None) -> str | None:
    """Return the name of ``--hostname``; UsageError for what is none."""
    if text is None:
        return None
    from partialroot.profiles.fleet import is_hostname

    if not is_hostname(text):
        raise UsageError(f"{text!r} is no host name", hint="letters, digits, - and ., at most 64")
    return text


def address(text: str | None) -> str | None:
    """Return the address of ``--address``; UsageError for one that no zone can have."""
    if text is None:
        return None
    from partialroot.host.linux.network import parse_address

    return parse_address(text)


def refuse_own(hostname: str | None, address: str | None) -> None:
    """Raise UsageError for what is one zone's own where a fleet's file says it of each."""
    for name, value in (("--hostname", hostname), ("--address", address)):
        if value is not None:
            hint = "the fleet's file has it for each zone"
            raise UsageError(f"--fleet takes no {name}", path=value, hint=hint)


def positive(text: str) -> int:
    """Return a number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is no number of processes", hint="--jobs 2")
    return int(text)


def seconds(text: str) -> float:
    """Return a time to wait as a number; argparse says what is wrong with anything else."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def parameters(settings: Sequence[str]) -> dict[str, str]:
    """Return ``--set NAME=VALUE`` as a mapping; UsageError when there is no ``=``."""
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {setting!r} has no '='", hint="say --set NAME=VALUE")
        pairs[name] = value
    return pairs


def methods(share: str) -> tuple[str, ...]:
    """Return the words of ``--share``; UsageError for an unknown method."""
    words = tuple(word.strip() for word in share.split(","))
    if words == ("auto",):
        return words
    unknown = [word for word in words if word not in METHODS]
    if unknown:
        raise UsageError(f"--share knows no {unknown[0]!r}", hint=f"auto, or a list of {', '.join(METHODS)}")
    return words
