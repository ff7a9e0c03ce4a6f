"""What was chosen in bulk is opened once for all that will be asked of it, with a second process.

Otherwise each of ten thousands of files is opened up to three times: to see what it needs to run, whether it
may leave the source, and to measure it. Each of these stages does without, too: this only saves time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from partialroot.closure import files as closure
from partialroot.errors import SourceError
from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.plan.draft import Draft, Verdict
from partialroot.plan.vet import judge, why_by_place
from partialroot.source import content, halves

_File = tuple[RootPath, Node]
# What the stages want to know of a file: a verdict, the fields of its content, what it needs to run.
_Answers = tuple[Verdict, content.Fields | None, tuple[Any, ...] | None]


def is_runnable(path: RootPath, node: Node) -> bool:
    """Whether something may be an ELF object or a script.

    Libraries and loadable modules are recognised by name where Debian leaves them without execute permission.
    """
    if node.type is not FileType.FILE:
        return False
    return bool(node.mode & 0o111) or (".so" in path and ".so" in path.name) or path.endswith(".node")


@contextmanager
def read_ahead(draft: Draft, tops: tuple[RootPath, ...]) -> Iterator[None]:
    """Read the files that were chosen, unless they are few or an earlier run has read them.

    What may be run is read when the context is entered, data while it lasts: a closure needs only the first.
    """
    files = [
        (path, node)
        for path, node in draft.nodes.items()
        if node.type is FileType.FILE and draft.tree.memory.get_of(node, content.KIND) is None
    ]

    def some(files: Sequence[_File]) -> list[_Answers | None]:
        return [_read(draft, tops, path, node) for path, node in files]

    if len(files) <= content.MANY:
        yield
    elif not halves.is_useful():
        _keep(draft, files, some(files))
        yield
    else:
        runnable: list[_File] = []
        data: list[_File] = []
        for file in files:
            (runnable if is_runnable(*file) else data).append(file)
        _keep(draft, runnable, halves.halved(some, runnable))
        with halves.meanwhile(some, data) as answers:
            yield
            _keep(draft, data, answers())


def _keep(draft: Draft, files: Sequence[_File], answers: Sequence[_Answers | None]) -> None:
    ahead = draft.tree.ahead
    for (path, node), answer in zip(files, answers, strict=True):
        if answer is not None:
            draft.verdicts[path], ahead[content.KIND, node.dev, node.ino], needs = answer
            if needs is not None:
                ahead[closure.KIND, node.dev, node.ino] = needs


def _read(draft: Draft, tops: tuple[RootPath, ...], path: RootPath, node: Node) -> _Answers | None:
    """Return what is in one file, of a secret only that it is one; None where that is not known.

    Whatever is wrong with a file is said by the stage that needs it.
    """
    why = why_by_place(draft.tree, path, node) if path not in draft.granted else None
    if why is not None:
        return (why, False), None, None
    try:
        with draft.tree.opened(path, node) as descriptor:
            head = content.read_beginning(descriptor, node)
            verdict = judge(draft, path, tops, descriptor, head)
            fields = content.read_fields(descriptor, path, node, head)
            needs = closure.read_content(descriptor, head).packed if is_runnable(path, node) else None
            return verdict, fields, needs
    except SourceError:
        return None
