"""Running mvi's fix scripts: ksh sources them in a stage, and nothing else of this machine is in reach.

On Linux they run in mount, pid, net and ipc namespaces of their own, in a root that holds the stage, this
machine's programs read-only, and the directories of the scripts; without the capabilities to do more than a
file's owner can. Elsewhere there is no way to confine them: they run only where the user says so.
"""

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from partialroot.errors import ApplyError, ConflictError
from partialroot.model import Entry, Fragment
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.plan.fixes import EMPTY, Listing, Staged, is_placeholder

_SECONDS = 600
_LINES = 20  # of what the scripts say
_DONE = 87  # what the shell exits with after the last script: none ended it
_NOT_CONFINED = 86
_ENDED = "partialroot: "  # by which script: says the shell when one has ended it
_SOURCED = r"^\S*/run\[\d+\]: \.: \S*/"  # which line of ours has sourced a script
_SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"

# The names that GNU's tools have on illumos, beside its own.
_GNU = "sed grep tar find"

# $1 a new root, $2 the stage, $3 the scripts, the rest directories that the scripts may read.
_CONFINE = rf"""
set -e
trap 'exit {_NOT_CONFINED}' EXIT
root=$1 stage=$2 scripts=$3
shift 3
mount -t tmpfs -o mode=755 none "$root"
cd "$root"
mkdir -p stage scripts old dev proc etc tmp gnu
show() {{
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    mount -o remount,bind,ro ".$2" 2>/dev/null || [ "$(id -u)" != 0 ] || [ -n "$IN_USERNS" ]
}}
for top in /usr /bin /sbin /lib /lib32 /lib64 /libx32 /etc/alternatives; do
    if [ -L $top ]; then ln -s "$(readlink $top)" .$top; elif [ -d $top ]; then show $top $top; fi
done
for name in {_GNU}; do
    ln -s "$(command -v $name)" gnu/g$name
done
for device in null zero full random urandom; do
    : > dev/$device
    mount --bind /dev/$device dev/$device
done
mount --bind "$stage" stage
show "$scripts" /scripts
number=0
for directory; do
    show "$directory" /tribblix$number/mvi
    number=$((number + 1))
done
mount -t proc none proc
pivot_root . old
umount -l /old
umount /proc
rmdir old
cd /stage
exec setpriv --no-new-privs --inh-caps=-all \
    --bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+setuid,+setgid "$KSH" /scripts/run
"""
_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--propagation", "private")


@contextmanager
def stage(entries: Iterable[Entry], content: Callable[[Entry], Iterator[bytes]]) -> Iterator["Stage"]:
    """Make a stage of a selection's entries, parents first, and take it away again.

    ``content`` yields the bytes of a private file.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="partialroot-stage-") as work:
        yield Stage(Path(work), entries, content)


class Stage:
    """A copy of a zone's root, in which fix scripts may do as they like."""

    def __init__(
        self, work: Path, entries: Iterable[Entry], content: Callable[[Entry], Iterator[bytes]]
    ) -> None:
        self._work = work
        self._top = work / "stage"
        self._kept = work / "kept"
        self._top.mkdir(mode=0o755)
        self._kept.mkdir()
        directories = [_make(self._host(one.path), one, content) for one in entries]
        for made in filter(None, reversed(directories)):
            _give(*made)
        self._keep_inodes()

    def listing(self) -> Listing:
        """Return what is in the stage now."""
        return dict(_listed(str(self._top), ""))

    def read(self, path: RootPath) -> bytes:
        """Return the content of a regular file of the stage."""
        with ExitStack() as stack:
            for one in (*reversed(list(path.ancestors)), path):
                stack.enter_context(_opened_up(self._host(one)))
            return Path(self._host(path)).read_bytes()

    def run(self, fragments: Sequence[Fragment], *, unconfined: bool) -> tuple[str, ...]:
        """Let one ksh source the fix scripts of ``fragments`` in order; return the lines they say.

        ``unconfined`` allows it where they cannot be confined. Commands that fail make no difference. Raises
        ConflictError when there is no ksh, no way to confine it, or a script ends the shell.
        """
        ksh = shutil.which("ksh93") or shutil.which("ksh")
        if ksh is None:
            raise ConflictError("fix scripts need ksh, and this machine has none", hint="install ksh93")
        scripts = self._work / "scripts"
        scripts.mkdir()
        for one in fragments:
            (scripts / f"{one.name}-fix.sh").write_text(one.fix or "")
        if _can_confine():
            (scripts / "run").write_text(_driver(fragments, "/stage", "/scripts", ""))
            command = self._confined(scripts, [one.directory for one in fragments])
        elif unconfined:
            for number, one in enumerate(fragments):
                (self._work / f"tribblix{number}").mkdir()
                (self._work / f"tribblix{number}/mvi").symlink_to(one.directory)
            (scripts / "run").write_text(_driver(fragments, str(self._top), str(scripts), str(self._work)))
            command = [ksh, str(scripts / "run")]
        else:
            raise ConflictError(
                f"the fix scripts of {', '.join(one.name for one in fragments)} cannot be confined here",
                hint="read them, then say --run-fix-scripts",
            )
        return self._finish(command, ksh)

    def _finish(self, command: list[str], ksh: str) -> tuple[str, ...]:
        import subprocess

        environment = {"PATH": "/usr/gnu/bin:/usr/sbin:/usr/bin:/sbin:/bin:/gnu", "LC_ALL": "C", "KSH": ksh}
        if os.geteuid() != 0:
            environment["IN_USERNS"] = "yes"
        try:
            done = subprocess.run(
                command,
                cwd=self._top,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ApplyError(f"the fix scripts did not end within {_SECONDS} seconds") from None
        said = [re.sub(_SOURCED, "", line) for line in done.stdout.decode("utf-8", "replace").splitlines()]
        ended = said.pop().removeprefix(_ENDED) if said and said[-1].startswith(_ENDED) else "a fix script"
        last = said[-1].strip() if said else f"status {done.returncode}"
        if done.returncode == _NOT_CONFINED:
            raise ConflictError(f"the fix scripts could not be confined, and did not run: {last}")
        if done.returncode != _DONE:
            raise ConflictError(f"{ended} ended the shell, and no script after it ran: {last}")
        return tuple(said[:_LINES])

    def _confined(self, scripts: Path, directories: list[str]) -> list[str]:
        root = self._work / "root"
        root.mkdir()
        words = map(str, (root, self._top, scripts, *directories))
        return [*_unshare(), "/bin/sh", "-c", _CONFINE, "confine", *words]

    def _host(self, path: RootPath) -> str:
        return str(self._top) + path

    def _keep_inodes(self) -> None:
        """Give every file a second name outside, so that no new file can get the inode of a removed one."""
        for number, staged in enumerate(self.listing()):
            place = self._host(staged)
            if stat.S_ISREG(os.lstat(place).st_mode):
                os.link(place, self._kept / str(number), follow_symlinks=False)


def _driver(fragments: Sequence[Fragment], stage: str, scripts: str, work: str) -> str:
    """Return the script that sources the others, with the variables that zmvix.sh has.

    To each its checkout is ``$THOME/mvi``, below ``work``. Nothing depends on the umask of who calls.
    """
    from shlex import quote

    lines = ["umask 022", f"DESTDIR={quote(stage)}", f"trap 'echo \"{_ENDED}$xopt-fix.sh\"' EXIT"]
    for number, one in enumerate(fragments):
        lines += [f"xopt={quote(one.name)}", f"THOME={quote(f'{work}/tribblix{number}')}"]
        lines += ["MVI_DIR=$THOME/mvi", f". {quote(f'{scripts}/{one.name}-fix.sh')}"]
    return "\n".join([*lines, "trap - EXIT", f"exit {_DONE}", ""])


def _unshare() -> tuple[str, ...]:
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *user, *_NAMESPACES)


def _can_confine() -> bool:
    """Try it: whether namespaces can be had depends on the kernel, its settings and our rights."""
    import subprocess

    if not (shutil.which("unshare") and shutil.which("setpriv") and shutil.which("pivot_root", path=_SBIN)):
        return False
    done = subprocess.run([*_unshare(), "true"], capture_output=True, check=False)
    return done.returncode == 0


# --- files of the stage -------------------------------------------------------------------------------


def _make(place: str, entry: Entry, content: Callable[[Entry], Iterator[bytes]]) -> tuple[str, Entry] | None:
    """Make one entry; return a directory, whose attributes come last, when its content is there."""
    if entry.type is FileType.DIR:
        os.mkdir(place, 0o700)
        return place, entry
    if entry.type is FileType.SYMLINK:
        os.symlink(entry.target or "", place)
        if os.geteuid() == 0:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        return None
    with open(place, "xb") as file:
        for chunk in () if is_placeholder(entry) else content(entry):
            file.write(chunk)
    _give(place, entry)
    return None


def _give(place: str, entry: Entry) -> None:
    """Give the owner, which only root can, then the mode, which changing the owner would change."""
    if os.geteuid() == 0:
        os.chown(place, entry.uid, entry.gid)
    os.chmod(place, entry.mode)


def _listed(top: str, path: str) -> Iterator[tuple[RootPath, Staged]]:
    with _opened_up(top + path), os.scandir(top + path) as found:
        for one in sorted(found, key=lambda one: one.name):
            below = RootPath(f"{path}/{one.name}")
            status = one.stat(follow_symlinks=False)
            yield below, _staged(one.path, status)
            if stat.S_ISDIR(status.st_mode):
                yield from _listed(top, below)


@contextmanager
def _opened_up(place: str) -> Iterator[None]:
    """Let us read a file or directory of ours whatever its mode: root may, but others lock themselves out."""
    status = os.stat(place, follow_symlinks=False)
    mode, wanted = stat.S_IMODE(status.st_mode), 0o500 if stat.S_ISDIR(status.st_mode) else 0o400
    if os.geteuid() == 0 or mode & wanted == wanted:
        yield
        return
    os.chmod(place, mode | wanted)
    try:
        yield
    finally:
        os.chmod(place, mode)


def _staged(place: str, status: os.stat_result) -> Staged:
    kind = FileType.of(status.st_mode)
    mine = os.geteuid() != 0  # nothing can be given away: what is made is root's
    return Staged(
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=0 if mine else status.st_uid,
        gid=0 if mine else status.st_gid,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        target=os.readlink(place) if kind is FileType.SYMLINK else None,
        sha256=_sha256(place, status.st_size) if kind is FileType.FILE else None,
    )


def _sha256(place: str, size: int) -> str:
    import hashlib

    if size == 0:
        return EMPTY
    with _opened_up(place), open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
