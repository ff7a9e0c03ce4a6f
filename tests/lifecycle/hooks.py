"""How a brand's commands are built and run: by zoneadm, which inherits everything, and by zoneadmd."""

import os
import subprocess
import sys
from collections.abc import Sequence

from lifecycle import mounts
from lifecycle.brandfiles import Brand
from lifecycle.zones import Zone

OK, USAGE, NOTCOMPLETE, FATAL = 0, 253, 254, 255
EXEC_FAILED = 4  # ZEXIT_EXEC
BUFFER = 1024  # MAXPATHLEN, with the NUL
OPTION_STRING = 128
LINE = 1023
SECONDS = 600  # for a hook, on a machine that has other things to do
PATH = "/usr/sbin:/usr/bin"


class Failed(Exception):  # noqa: N818 -- what zoneadmd says
    """A step of zoneadmd failed; its reason."""


class TooLongError(Exception):
    """A command does not fit into zoneadm's buffer."""


def command(brand: Brand, hook: str, zone: Zone, arguments: str = "") -> str | None:
    """Return the line for /bin/sh, None when the brand has no such hook. Nothing is quoted (get_hook)."""
    text = brand.text(hook, zone.name, zone.zonepath)
    if not text:
        return None
    line = f"exec {text}{arguments}"
    if len(line.encode()) >= BUFFER:
        raise TooLongError(hook)
    return line


def joined(argv: Sequence[str]) -> str:
    """Return words as addopt adds them: each behind one blank."""
    return "".join(f" {word}" for word in argv)


def options(argv: Sequence[str], declared: str) -> str:
    """Return the arguments of ``zoneadm install`` as addoptions passes them on, by getopt(3C)."""
    known = f"?x:{declared}"
    if len(known) >= OPTION_STRING:
        raise TooLongError("installopts")
    words, result = list(argv), ""
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        if word.startswith("--"):  # illumos' getopt swallows the name
            result += " --"
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            at = known.find(letter)
            takes_value = at >= 0 and letter != ":" and known[at + 1 : at + 2] == ":"
            if takes_value and (letters or words):
                result += f" -{letter}{letters or words.pop(0)}"
                break
            result += f" -{letter}"
    return result + joined(words)


def run(line: str) -> int:
    """Run a hook as zoneadm does: with all it has itself. Return its status; a signal is FATAL."""
    mounts.write_mnttab()
    sys.stdout.flush()
    done = subprocess.run(["/bin/sh", "-c", line], timeout=SECONDS)
    return done.returncode if done.returncode >= 0 else FATAL


def run_by_zoneadmd(line: str) -> tuple[int, str]:
    """Run a hook as zoneadmd does: a minimal environment, no stdin, no stderr. Return status and output.

    zoneadmd closed all descriptors and then opened pipes: its child's 0 and 2 are ends of those, here one
    that cannot be read and one that cannot be written.
    """
    mounts.write_mnttab()
    reader, writer = os.pipe()
    environment = {"_ZONEADM_LOCK_HELD": "1", "PATH": PATH, "TZ": "UTC"}
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            stdin=writer,
            stdout=subprocess.PIPE,
            stderr=reader,
            env=environment,
            cwd="/",
            umask=0o22,
            timeout=SECONDS,
        )
    finally:
        os.close(reader)
        os.close(writer)
    output = done.stdout.decode(errors="replace")
    return (done.returncode if done.returncode >= 0 else FATAL), output


def relay(name: str, output: str) -> None:
    """Show a zoneadmd hook's output as messages of zoneadm: long lines come in pieces."""
    for line in output.splitlines():
        for start in range(0, max(len(line), 1), LINE):
            print(f"zone '{name}': {line[start : start + LINE]}", file=sys.stderr)
