"""The page of results: every row, the peers, and how the cost grows with zones and with files."""

import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import peers
from benchmarks.ground import Ground, Measured, Row, own_ground, timed

ZONES = (1, 10, 100, 1000)
FILES = (100, 1000, 5000, 20000)
PEERS_OF_MANY = ("tar round trip", "rsync --link-dest", "cp -al")
LONGEST = 15  # seconds: as many roots as a peer would take longer for are not made

_HEAD = """# What it costs, beside its peers

Written by `scripts/bench --page docs`: all figures of a page are of one run.

{machine}

Everything happens on {where}. What is compared runs in turns, in the same process tree, on the same
files; each run has a directory that no run had before, and starts once all earlier writes are on the
disk. A figure is the median of {pairs} such pairs, with the smallest and the largest beside it. Ours are
whole processes, with the journal, the syncs and the checks of the image that they always have.

## Targets

| row | measured | target | | what, and the spread |
| --- | ---: | ---: | --- | --- |
{rows}
{bounds}
## One zone of the profile `node`: {files} files and symlinks

How many times longer than ours a peer takes for a root with the same files. Below 1 it is quicker than a
process of ours, which starts Python, asks whether the closure that an earlier one found still holds, checks
what is shared, and leaves a receipt; what that is once it is spread over many zones is in the next part.

| peer | times ours | finds what programs need | metadata | who may write what | spread |
| --- | ---: | --- | --- | --- | --- |
{peers}

## Growth

![Seconds for many zones, and for zones with many files](benchmarks.svg)

Left: zones of the profile from a ready image, one process of ours against a process of the peer for each
zone. Right: one more zone when the profile shares that many files.
"""


class Series(NamedTuple):
    """Seconds by a size: zones, or files."""

    name: str
    points: Mapping[int, float]


def write(directory: Path, ground: Ground, where: str, results: Mapping[str, tuple[Row, Measured]]) -> None:
    """Measure the peers and the growth, and write ``benchmarks.md`` and ``benchmarks.svg``."""
    lines = [_peer_line(ground, name, peer) for name, peer in peers.PEERS.items() if _is_there(peer)]
    if shutil.which("mkfs.xfs"):
        with own_ground("xfs") as (top, _):
            lines.append(_peer_line(ground.on(top), "cp --reflink, on XFS", peers.REFLINK))
    text = _HEAD.format(
        machine=_machine(),
        where=where,
        pairs=ground.pairs,
        rows="\n".join(_row_line(name, *result) for name, result in results.items()),
        bounds="".join(_bound_line(name, *result) for name, result in results.items()),
        files=len(ground.listed),
        peers="\n".join(lines),
    )
    (directory / "benchmarks.md").write_text(text)
    _draw(directory / "benchmarks.svg", list(_by_zones(ground)), list(_by_files(ground)))


def _row_line(name: str, row: Row, measured: Measured) -> str:
    verdict = "" if row.ok(measured.value) else "**missed**"
    return f"| {name} | {measured.value:.3g} {row.unit} | {row.target} | {verdict} | {measured.detail} |"


def _bound_line(name: str, row: Row, measured: Measured) -> str:
    return "" if row.ok(measured.value) or not row.bound else f"\n* {name}: {row.bound}\n"


def _peer_line(ground: Ground, name: str, peer: peers.Peer) -> str:
    value, detail = peers.measured(ground, peer)
    return f"| {name} | {value:.3g} | {peer.closure} | {peer.metadata} | {peer.safety} | {detail} |"


def _is_there(peer: peers.Peer) -> bool:
    return all(shutil.which(program) for program in peer.needs)


def _machine() -> str:
    told = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = told[1] if told else platform.machine()
    return f"{model}, {os.cpu_count()} cores; Linux {platform.release()}; Python {platform.python_version()}."


# --- growth -----------------------------------------------------------------------------------------


def _by_zones(ground: Ground) -> Iterator[Series]:
    yield Series("partialroot", _median_by(ZONES, ground, _zones))
    for name in PEERS_OF_MANY:
        peer = peers.PEERS[name]
        if _is_there(peer):
            yield Series(name, _peer_by_zones(ground, peer))


def _peer_by_zones(ground: Ground, peer: peers.Peer) -> dict[int, float]:
    once = _roots(ground, peer, 1)
    counts = [count for count in ZONES if once * count < LONGEST]
    return _median_by(counts, ground, lambda ground, count: _roots(ground, peer, count))


def _median_by(
    sizes: Iterable[int], ground: Ground, measure: Callable[[Ground, int], float]
) -> dict[int, float]:
    rounds = range(min(ground.pairs, 3))
    return {size: statistics.median(measure(ground, size) for _ in rounds) for size in sizes}


def _zones(ground: Ground, count: int) -> float:
    """Return the seconds of one populate of many zones."""
    zones, store = [ground.fresh("zone") for _ in range(count)], ground.store
    words = ("--source", ground.source, "--store", store, "--quiet")
    seconds = timed(lambda: ground.partialroot("populate", *zones, "node", *words))
    ground.partialroot("remove", *zones, "--store", store, "--quiet")
    return seconds


def _roots(ground: Ground, peer: peers.Peer, count: int) -> float:
    """Return the seconds a peer takes for many roots."""
    roots = [ground.fresh("root") for _ in range(count)]

    def make() -> None:
        for root in roots:
            root.mkdir()
            peer.make(ground, root)

    seconds = timed(make)
    for root in roots:
        shutil.rmtree(root)
    return seconds


def _by_files(ground: Ground) -> Iterator[Series]:
    sources = {count: _many_files(ground, count) for count in FILES}
    yield Series(
        "partialroot", _median_by(FILES, ground, lambda ground, count: _zone_of(ground, *sources[count]))
    )
    yield Series(
        "cp -al", _median_by(FILES, ground, lambda ground, count: _copy_links(ground, sources[count][0]))
    )


def _zone_of(ground: Ground, source: Path, profile: Path) -> float:
    """Return the seconds of one more zone; the first one is there."""
    store = ground.top / f"store-{profile.stem}"
    words = (profile, "--source", source, "--store", store, "--quiet")
    if not store.exists():
        ground.partialroot("populate", ground.fresh("keeper"), *words)
    return timed(lambda: ground.partialroot("populate", ground.fresh("zone"), *words))


def _many_files(ground: Ground, count: int) -> tuple[Path, Path]:
    """Return a source with that many files to share, and a profile that wants them all."""
    source, profile = ground.fresh("files"), ground.top / f"files-{count}.toml"
    many = source / "usr/share/many"
    many.mkdir(parents=True)
    for number in range(count):
        (many / f"{number:06}").write_text(f"{number}\n")
    profile.write_text('summary = "Many files"\nfiles = ["/usr/share/many/**"]\nstart = { pause = true }\n')
    return source, profile


def _copy_links(ground: Ground, source: Path) -> float:
    root = ground.fresh("root")
    root.mkdir()
    return timed(lambda: subprocess.run(["cp", "-al", f"{source}/.", root], check=True))


def _draw(file: Path, by_zones: list[Series], by_files: list[Series]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "partialroot"  # the same figures give the same file
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    _panel(left, by_zones, "zones", "seconds for all")
    _panel(right, by_files, "shared files", "seconds for one more zone")
    figure.savefig(file, metadata={"Date": None})


def _panel(axes: Any, series: list[Series], across: str, up: str) -> None:
    for one in series:
        axes.loglog(list(one.points), list(one.points.values()), marker="o", label=one.name)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
