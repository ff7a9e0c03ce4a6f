"""doctor: what it says of a host is so, and no trial leaves anything."""

import shutil
from pathlib import Path

import pytest
from command import partialroot
from needs import needs
from sources import small_source
from treedump import dump

from partialroot.errors import BootError
from partialroot.host.linux import boot
from partialroot.pipeline import doctoring
from partialroot.pipeline.doctoring import Check, examine
from partialroot.pipeline.sources import Options


@pytest.fixture
def source(scratch: Path) -> Path:
    return small_source(scratch / "source")


def checks(scratch: Path, source: Path, *zonepaths: Path) -> dict[str, Check]:
    options = Options(scratch / "store", source)
    return {check.name: check for check in examine(options, [str(one) for one in zonepaths])}


@needs("glibc")
def test_nothing_is_left(scratch: Path, source: Path) -> None:
    before = set(scratch.rglob("*")), dump(source)
    checks(scratch, source, scratch / "zones/web")
    assert (set(scratch.rglob("*")), dump(source)) == before


@needs("glibc")
def test_links_are_told_by_where_the_files_are(scratch: Path, source: Path) -> None:
    links = checks(scratch, source)["links"]
    assert links.offered
    assert str(scratch / "store/images") in links.about or ".partialroot/images" in links.about


@needs("glibc")
def test_a_source_without_a_package_database(scratch: Path, source: Path) -> None:
    packages = checks(scratch, source)["packages"]
    assert not packages.offered
    assert "pristine" in packages.remedy


@needs("glibc")
def test_what_a_runtime_says_is_told(scratch: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "why_not", lambda runtime: BootError(f"no {runtime.name}", hint="get one"))
    runc = checks(scratch, source)["runtime runc"]
    assert (runc.offered, runc.about, runc.remedy) == (False, "no runc", "get one")


@needs("glibc", "root", "runc")
def test_a_runtime_that_works(scratch: Path, source: Path) -> None:
    assert checks(scratch, source)["runtime runc"].offered


@needs("glibc", "root", "mount", "setpriv")
def test_without_the_right_to_mount_it_says_so(scratch: Path) -> None:
    before = ("setpriv", "--bounding-set", "-sys_admin", "--")
    done = partialroot("doctor", "--store", scratch / "store", "--json", before=before)
    said = {check["name"]: check for check in done.document["checks"]}
    assert not said["mounts"]["offered"]
    assert "CAP_SYS_ADMIN" in said["mounts"]["remedy"]
    assert said["owners"]["offered"]


def test_every_check_that_fails_says_what_to_do(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert all(check.remedy for check in doctoring._learning())
