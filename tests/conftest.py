"""What all tests share: needs, a mount namespace of their own, file systems, scratch places, sources."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import globalzone
import pytest
from children import Meeting
from hypothesis import HealthCheck, settings
from needs import lack, report, require
from sources import small_source
from spaces import LoopFs, mount_point, mounts_below, own_mount_namespace, own_network

if TYPE_CHECKING:
    from branded import Branded
    from places import Place

SIZES = {"ext4": "128M", "btrfs": "256M", "xfs": "320M"}
HOMES = ("/var/tmp", "/var/lib", "/srv", "/opt", "/")

# The same examples in every run, however slow the machine; ``--hypothesis-profile=default`` draws new ones.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--strict-needs``: a test that is skipped is a failure (``scripts/test --strict``)."""
    parser.addoption("--strict-needs", action="store_true", help="a skipped test is a failure")


def pytest_configure(config: pytest.Config) -> None:
    """Leave the host's mounts and network alone from here on, and name our markers.

    Commands keep their byte code, as installed ones do: to compile is most of the time of many. And they can
    be interrupted, as in a terminal: where these tests run in the background, interrupts are ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    config.addinivalue_line("markers", "needs(*names): what the test needs of the machine (tests/needs.py)")
    if not lack("mount"):
        own_mount_namespace()
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests and not lack("veth"):
        own_network()


def pytest_report_header() -> list[str]:
    """Say what is missing on this machine and what installs it."""
    return report()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose needs are not met."""
    require(*(str(name) for mark in item.iter_markers("needs") for name in mark.args))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under ``--strict-needs``, make a failure of a skip."""
    report = yield
    if item.config.getoption("strict_needs") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.longrepr = f"{reason} (--strict-needs forbids to skip)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Under ``--strict-needs``, the same for a whole module that skips itself."""
    report = yield
    if collector.config.getoption("strict_needs") and report.skipped:
        report.outcome = "failed"
    return report


@pytest.fixture
def meet() -> Iterator[Meeting]:
    """Where the test's process and one that it forks wait for each other."""
    meeting = Meeting()
    yield meeting
    meeting.close()


@pytest.fixture(scope="session", autouse=True)
def no_abyss(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove what tests made too deep: pytest's own removal of old directories would recurse and fail.

    Some of what tests made is not to be looked into, or goes just then.
    """
    yield
    deep = ("-mindepth", "100", "-maxdepth", "100", "-exec", "rm", "-rf", "{}", "+")
    subprocess.run(["find", tmp_path_factory.getbasetemp(), *deep], stderr=subprocess.DEVNULL)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory (0700) on the mount that holds /usr, where links to the system's files can be made.

    Where there is none that we may write, any directory: what is to be linked is then cloned or copied.
    Everything mounted below it is unmounted at the end.
    """
    place = Path(tempfile.mkdtemp(prefix="partialroot-test-", dir=_home_of_links()))
    yield place
    _remove(place)


@pytest.fixture
def store(scratch: Path) -> Path:
    """An empty store (0700) on the mount that holds /usr."""
    place = scratch / "store"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def source(scratch: Path) -> Path:
    """A small source root of real files beside ``scratch``'s other things: see ``sources.small_source``."""
    return small_source(scratch / "source")


@pytest.fixture(scope="session")
def global_zone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic illumos global zone for all tests to read: see ``globalzone``; none may change it."""
    place = tmp_path_factory.mktemp("illumos") / "root"
    return globalzone.build(place, extra=["TRIBsys-test-nvmetest", "/usr/bin/mdb"])


@pytest.fixture
def mounted() -> Iterator[Callable[[Path], Path]]:
    """A function that mounts an empty tmpfs on a directory and returns it; unmounted at the end."""
    require("mount")
    done: list[Path] = []

    def mount(place: Path, *options: str) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", *options, "none", place], check=True)
        done.append(place)
        return place

    yield mount
    for place in reversed(done):
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> "Iterator[Branded]":
    """A machine with a pool, our brand and a small source; nothing of it is mounted at the end."""
    from branded import Branded
    from lifecycle.machine import NEEDS

    require(*NEEDS, "zfs", "busybox")
    machine = Branded(tmp_path)
    yield machine
    machine.close()
    assert not mounts_below(tmp_path)


@pytest.fixture(params=["populate", "change", "remove", "refresh", "rollback"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mounted: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> "Iterator[Place]":
    """A place in memory for each verb that changes a zone; it is the same second there until the end."""
    from killing import same_second, warm_up
    from places import Place

    warm_up()
    made = Place(mounted(tmp_path, "-o", "mode=0755"), str(request.param))
    with same_second(monkeypatch):
        yield made
    made.clear()


@pytest.fixture
def loop_fs(tmp_path: Path) -> Iterator[LoopFs]:
    """A function ``loop_fs(kind, size=..., options=...)`` that returns the top of a new, empty file system.

    ``kind`` is ext4 (journalled), btrfs or xfs (with reflinks). It is mounted from a sparse image on a loop
    device that the kernel frees with the mount, so nothing is left even if the tests are killed.
    """
    done: list[Path] = []

    def make(kind: str, size: str = "", options: str = "") -> Path:
        require(kind)
        image, place = tmp_path / f"loop{len(done)}.image", tmp_path / f"loop{len(done)}"
        place.mkdir()
        subprocess.run(["truncate", "-s", size or SIZES[kind], image], check=True)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
        mount_options = ",".join(filter(None, ["loop", options]))
        subprocess.run(["mount", "-t", kind, "-o", mount_options, image, place], check=True)
        done.append(place)
        return place

    yield make
    for place in reversed(done):
        _remove(place, top=False)
        subprocess.run(["umount", "--lazy", place], check=True)


def _home_of_links() -> str | None:
    """Return a directory on the mount that holds /usr, None if we may write none."""
    here = [home for home in HOMES if os.access(home, os.W_OK) and mount_point(home) == mount_point("/usr")]
    return here[0] if here else None


def _remove(place: Path, *, top: bool = True) -> None:
    """Remove what is below a directory, and itself; first what is mounted there."""
    for mount in mounts_below(place):
        subprocess.run(["umount", "--lazy", mount], check=True)
    if top:
        shutil.rmtree(place)
