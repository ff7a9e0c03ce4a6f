"""The frozen values that flow through the program: profile -> selection -> plan -> receipt.

Each stage takes the value of the one before it and makes the next; none reaches back. They are NamedTuples:
three times cheaper to make than frozen dataclasses, and seven times to define, which counts at start-up.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import Missing
from partialroot.nodes import NOTHING, Content, FileType, Item, Node, Reason
from partialroot.paths import RootPath, is_tarball

PAUSE = RootPath("/pause")  # the built-in pause process, where a zone has it


class Layer(StrEnum):
    """Where an entry lives: in the image all zones read, or in the zone's own root."""

    SHARED = "shared"
    PRIVATE = "private"


class Method(StrEnum):
    """How an entry gets to its place. A method never turns into another while it runs (P8)."""

    MOUNT = "mount"
    LINK = "link"
    CLONE = "clone"
    COPY = "copy"
    WRITE = "write"
    MKDIR = "mkdir"
    SYMLINK = "symlink"


class Supplier(NamedTuple):
    """Which build of which package a file was taken from; "" is what the database did not say."""

    package: str
    version: str
    architecture: str


class DirectoryWish(NamedTuple):
    """A directory to make. ``mode`` None keeps the source's, or 0755; owners are names or numbers."""

    path: RootPath
    where: str
    mode: int | None = None
    owner: str | None = None
    group: str | None = None


class TextWish(NamedTuple):
    """A file to write, with its content."""

    path: RootPath
    where: str
    content: str
    mode: int = 0o644
    owner: str | None = None
    group: str | None = None


class EditWish(NamedTuple):
    """Changes to the lines of a file that is selected: drop, then substitute, then append."""

    path: RootPath
    where: str
    drop: tuple[str, ...] = ()
    substitute: tuple[tuple[str, str], ...] = ()
    append: tuple[str, ...] = ()


class Start(NamedTuple):
    """The zone's first process. ``pause`` is the built-in one that only waits."""

    where: str
    command: tuple[str, ...] = ()
    setuid: bool = False
    pause: bool = False


class Fragment(NamedTuple):
    """What mvi's notation lists under one name (profiles.mvi): literally what the zone gets, in this order.

    ``rc`` runs when the zone starts; ksh sources ``fix`` in the new root. ``directory`` holds the files.
    """

    name: str
    directory: str
    packages: tuple[Item, ...] = ()
    directories: tuple[Item, ...] = ()
    files: tuple[Item, ...] = ()
    rc: str | None = None
    fix: str | None = None


class Profile(NamedTuple):
    """What a zone should contain and run: one file's wishes, or several composed.

    A scalar of None is not said. ``places`` tells where ``network`` or ``parameters.port`` is written.
    """

    name: str
    where: str
    summary: str = ""
    uses: tuple[Item, ...] = ()
    programs: tuple[Item, ...] = ()
    packages: tuple[Item, ...] = ()
    files: tuple[Item, ...] = ()
    optional: tuple[Item, ...] = ()
    secrets: tuple[Item, ...] = ()
    exclude: tuple[Item, ...] = ()
    private: tuple[Item, ...] = ()
    users: tuple[Item, ...] = ()
    groups: tuple[Item, ...] = ()
    pam: tuple[Item, ...] = ()
    nss: tuple[Item, ...] = ()
    lean: bool | None = None
    read_only: bool | None = None
    network: str | None = None
    parameters: Mapping[str, str] = NOTHING
    directories: tuple[DirectoryWish, ...] = ()
    texts: tuple[TextWish, ...] = ()
    edits: tuple[EditWish, ...] = ()
    start: Start | None = None
    fragments: tuple[Fragment, ...] = ()
    places: Mapping[str, str] = NOTHING


class Entry(NamedTuple):
    """One path of the new root, where it comes from, and why it is there.

    ``source`` is the path in the source that supplies a file's bytes (None: ``text`` holds them, or the
    entry has none). ``node`` is what lstat(2) said of ``source``, None for what we make.
    """

    path: RootPath
    type: FileType
    mode: int
    uid: int
    gid: int
    layer: Layer
    reasons: tuple[Reason, ...]
    size: int = 0
    mtime_ns: int = 0
    target: str | None = None
    source: RootPath | None = None
    node: Node | None = None
    text: bytes | None = None


class ZoneSettings(NamedTuple):
    """How the zone runs, as far as its profiles say."""

    start: Start | None = None
    network: str = "private"
    read_only: bool = False


class Selection(NamedTuple):
    """Every path of the new root, sorted by path, with what is missing and what to warn of.

    ``views`` is for :func:`host_path`. ``definitions`` are sums of all profiles it was made from, by name.
    """

    profiles: tuple[str, ...]
    source: Path
    platform: str
    entries: tuple[Entry, ...]
    missing: tuple[Missing, ...]
    warnings: tuple[str, ...]
    tops: tuple[RootPath, ...]
    settings: ZoneSettings
    views: Mapping[str, str] = NOTHING
    definitions: tuple[tuple[str, str], ...] = ()


class Action(NamedTuple):
    """What happens at one destination: the entry, the method, and why that method.

    ``content`` is set for every regular file. ``twin`` names an earlier destination of the same layer
    that holds the same source inode: the method is then ``link`` to that, never to the source.
    """

    entry: Entry
    method: Method
    why: str
    content: Content | None = None
    twin: RootPath | None = None
    supplier: Supplier | None = None


class Plan(NamedTuple):
    """One action per destination path, parents before children; ``digest`` None: no image."""

    profiles: tuple[str, ...]
    source: Path
    platform: str
    shared: tuple[Action, ...]
    private: tuple[Action, ...]
    digest: str | None
    image_home: Path
    tops: tuple[RootPath, ...]
    missing: tuple[Missing, ...]
    warnings: tuple[str, ...]
    settings: ZoneSettings
    views: Mapping[str, str] = NOTHING
    golden: str | None = None  # the key of ``private``, where zones' roots are copies of one that is kept
    why_golden: str = ""  # or why they are not
    definitions: tuple[tuple[str, str], ...] = ()

    @property
    def actions(self) -> list[Action]:
        """All actions, sorted by path."""
        return sorted((*self.shared, *self.private), key=lambda action: action.entry.path)


class Identity(NamedTuple):
    """Which source file a record came from: enough to see that it was replaced or changed since."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    mode: int


class Record(NamedTuple):
    """One entry as measured after it was written: of a zone's private layer, or of an image.

    ``method`` is what was really done. An image's manifest, which zones share, has no reasons and suppliers.
    """

    path: RootPath
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: str | None
    sha256: str | None
    xattrs: tuple[tuple[str, bytes], ...]
    method: Method
    source: RootPath | None
    identity: Identity | None
    reasons: tuple[Reason, ...] = ()
    supplier: Supplier | None = None


class Request(NamedTuple):
    """What the user asked for, as far as it is needed to ask for the same again (refresh)."""

    profiles: tuple[str, ...]
    manifests: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    source: str
    platform: str
    share: tuple[str, ...]
    trust_zone: bool = False
    address: str | None = None
    keep_going: bool = False
    add_closure: bool = False
    run_fix_scripts: bool = False
    overlays: tuple[str, ...] = ()
    hostname: str | None = None

    @property
    def is_from_tarball(self) -> bool:
        """Whether the zone came from a tarball: what that was made from cannot be asked again."""
        return is_tarball(self.source)


class Receipt(NamedTuple):
    """What is in a zone, how and why; the truth that verify, status, explain and remove start from.

    ``image`` is the image's directory on the host, None when nothing is shared. ``reasons`` names the file in
    it that says why each shared path is there, and who supplied it. ``created`` is seconds since the epoch.
    """

    zonepath: str
    request: Request
    profiles: tuple[str, ...]
    digest: str | None
    image: str | None
    reasons: str | None
    mounts: tuple[RootPath, ...]
    entries: tuple[Record, ...]
    settings: ZoneSettings
    warnings: tuple[str, ...]
    created: float
    version: str
    definitions: tuple[tuple[str, str], ...] = ()


class Finding(NamedTuple):
    """A difference that verify or audit found. ``severity`` is ``error`` or ``note`` (exit 0)."""

    path: str
    kind: str
    expected: str
    actual: str
    severity: str = "error"
