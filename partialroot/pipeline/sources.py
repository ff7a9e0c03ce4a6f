"""What the command line says of the source and of what is made of it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from partialroot.model import Request
from partialroot.nodes import NOTHING
from partialroot.pipeline.opening import Opened, opened, tree_of
from partialroot.source.memory import Memory
from partialroot.source.platform import detect_platform
from partialroot.source.tree import Tree

if TYPE_CHECKING:
    from partialroot.zone.unpack import Unpacked


class Options(NamedTuple):
    """What the command line says beside the words: the same for every zone of one command."""

    store: Path
    source: Path = Path("/")
    platform: str | None = None
    manifests: tuple[Path, ...] = ()
    share: tuple[str, ...] = ("auto",)
    parameters: Mapping[str, str] = NOTHING
    trust_zone: bool = False
    address: str | None = None
    hostname: str | None = None
    keep_going: bool = False
    add_closure: bool = False
    run_fix_scripts: bool = False
    views: Mapping[str, str] = NOTHING
    memory: Memory | None = None
    overlays: tuple[str, ...] = ()
    unpacked: "Unpacked | None" = None

    @classmethod
    def again(cls, request: Request, store: Path) -> "Options":
        """Return the options that a zone was made with."""
        return cls(
            store=store,
            source=Path(request.source),
            platform=request.platform,
            manifests=tuple(map(Path, request.manifests)),
            share=request.share,
            parameters=dict(request.parameters),
            trust_zone=request.trust_zone,
            address=request.address,
            hostname=request.hostname,
            keep_going=request.keep_going,
            add_closure=request.add_closure,
            run_fix_scripts=request.run_fix_scripts,
            overlays=request.overlays,
        )

    def request(self, profiles: Sequence[str], platform: str) -> Request:
        """Return what a receipt keeps of this, so that a refresh can ask for the same, wherever it is run."""
        return Request(
            profiles=names_of(profiles),
            manifests=tuple(map(os.path.abspath, self.manifests)),
            parameters=tuple(sorted(self.parameters.items())),
            source=str(self.unpacked.tarball if self.unpacked else self.source),
            platform=platform,
            share=self.share,
            trust_zone=self.trust_zone,
            address=self.address,
            hostname=self.hostname,
            keep_going=self.keep_going,
            add_closure=self.add_closure,
            run_fix_scripts=self.run_fix_scripts,
            overlays=self.overlays,
        )


def names_of(profiles: Sequence[str]) -> tuple[str, ...]:
    """Return what profiles are called wherever we are: a file by its whole path."""
    return tuple(os.path.abspath(one) if one.endswith(".toml") else one for one in profiles)


@contextmanager
def reading(options: Options, home: Path | None = None) -> Iterator[Options]:
    """Yield the options for as long as the source is read (:func:`opening.opened`)."""
    with opened(str(options.store), str(options.source), home) as found:
        yield options._replace(
            source=Path(found.root), views=found.views, memory=found.memory, unpacked=found.unpacked
        )


def open_tree(options: Options) -> Tree:
    """Return the source, without the store if that lies in it."""
    return tree_of(str(options.store), Opened(str(options.source), options.views, options.memory))


def platform_name(options: Options, tree: Tree) -> str:
    """Return the platform that is asked for, else that of the source."""
    return options.platform or detect_platform(tree)
