"""sbom: a CycloneDX bill of materials, judged by the field's library and by the files themselves."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from accounted import Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from needs import needs
from packageurl import PackageURL
from test_receipt import NAMES, a_receipt

from partialroot.accounting import cyclonedx
from partialroot.accounting.bill import Bill, File, Origin, Package
from partialroot.accounting.purl import package_url
from partialroot.model import Layer, Method, Supplier
from partialroot.paths import RootPath
from partialroot.source.packages import About
from partialroot.source.packages.licences import Licence

if TYPE_CHECKING:
    from cyclonedx.validation.json import JsonStrictValidator

Bom = dict[str, Any]
TOOL = "pkg:deb/debian/tool@1.0-1?arch=amd64&distro=debian-12"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("sbom"))
    place.populate("zone")
    return place


@pytest.fixture(scope="module")
def bom(place: Place) -> Bom:
    return made(place, place.top / "zone")


def made(place: Place, zone: Path, *words: str) -> Bom:
    """Return a zone's bill of materials, which must be as the standard wants it."""
    done = place.run("sbom", zone, *words)
    return judged(done.out)


@cache
def validator() -> "JsonStrictValidator":
    """Return the standard's judge. To import it takes seconds, which whoever collects tests would spend."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def judged(text: str) -> Bom:
    wrong = validator().validate_str(text)
    assert wrong is None, wrong
    bom: Bom = json.loads(text)
    text.encode("ascii")
    json.dumps(bom, ensure_ascii=False).encode("utf-8")  # no half of a pair anywhere
    refs = [one["bom-ref"] for one in [bom["metadata"]["component"], *bom["components"]]]
    assert len(refs) == len(set(refs))
    wholes = bom["dependencies"] + [
        {"ref": ref, "dependsOn": []} for one in bom["compositions"] for ref in one["assemblies"]
    ]
    assert {ref for one in wholes for ref in (one["ref"], *one["dependsOn"])} <= set(refs)
    depending = [one["ref"] for one in bom["dependencies"]]
    assert len(depending) == len(set(depending))
    return bom


def files(bom: Bom) -> dict[str, Bom]:
    return {one["name"]: one for one in bom["components"] if one["type"] == "file"}


def packages(bom: Bom) -> dict[str, Bom]:
    return {one["name"]: one for one in bom["components"] if one["type"] == "library"}


def said(component: Bom) -> dict[str, str]:
    """Return the properties, without the part of their names that is in all."""
    return {one["name"].removeprefix("partialroot:"): one["value"] for one in component["properties"]}


def on_disk(zone: Path) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of every file that the zone sees."""
    for top in (zone / "root", zone.joinpath("image").resolve()):
        for directory, _, names in os.walk(top):
            for name in names:
                path = Path(directory, name)
                inside = f"/{path.relative_to(top)}"
                if path.is_file() and not path.is_symlink() and inside.count("/") > 1:
                    yield inside, hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_of_the_zone_is_there_with_its_checksum(place: Place, bom: Bom) -> None:
    told = {path: one["hashes"][0]["content"] for path, one in files(bom).items()}
    assert told == dict(on_disk(place.top / "zone"))
    assert told.keys() > {"/usr/bin/tool", "/etc/motd", "/usr/share/ours"}


@needs("root")
def test_a_file_says_which_package_it_is_of_and_how_it_came(bom: Bom) -> None:
    assert said(files(bom)["/usr/bin/tool"]) == {
        "file:layer": "shared",
        "file:origin": "package",
        "file:method": "link",
        "package": "tool",
        "package:version": "1.0-1",
        "package:ref": TOOL,
    }
    origins = {path: said(one)["file:origin"] for path, one in files(bom).items()}
    assert origins["/srv/own"] == "source"
    assert origins["/etc/motd"] == origins["/usr/share/ours"] == "profile"


def test_packages_say_how_much_of_them_is_there(bom: Bom) -> None:
    counts = {
        name: (
            said(one)["package:whole"],
            said(one)["package:files-present"],
            said(one)["package:files-owned"],
        )
        for name, one in packages(bom).items()
    }
    assert counts == {"tool": ("false", "2", "4"), "libx1": ("true", "1", "1"), "data": ("true", "2", "2")}
    parts = {one["aggregate"]: one["assemblies"] for one in bom["compositions"][1:]}
    assert parts["incomplete"] == [TOOL]
    assert len(parts["complete"]) == 2
    assert bom["compositions"][0] == {"aggregate": "complete", "assemblies": ["zone"]}


def test_packages_have_what_the_database_says(bom: Bom) -> None:
    tool = packages(bom)["tool"]
    assert tool["version"] == "1.0-1" and tool["purl"] == tool["bom-ref"] == TOOL
    assert tool["supplier"] == {"name": "Some Body <body@example.org>"}
    assert tool["description"] == "does what tools do"
    assert tool["licenses"] == [
        {"expression": "BSD-3-Clause AND (GPL-2.0-or-later OR MIT)", "acknowledgement": "declared"}
    ]
    assert tool["externalReferences"] == [{"type": "website", "url": "https://example.org/tool"}]
    assert said(tool)["package:source"] == "tools"
    assert "licenses" not in packages(bom)["data"]


@needs("root")
def test_the_zone_itself(place: Place, bom: Bom) -> None:
    about = bom["metadata"]
    assert about["component"]["name"] == str(place.top / "zone")
    image = Path(place.top, "zone/image").readlink().name
    assert said(about) == {
        "profile": str(place.top / "app.toml"),
        "image": image,
        "source": str(place.source),
        "platform": "linux",
    }
    assert about["tools"]["components"][0]["name"] == "partialroot"


def test_the_same_zone_has_the_same_bill(place: Place) -> None:
    first, second = (place.run("sbom", place.top / "zone").out for _ in range(2))
    assert first == second
    place.run("sbom", place.top / "zone", "--out", place.top / "bill.json")
    assert (place.top / "bill.json").read_text() == first


def test_the_object_for_scripts(place: Place) -> None:
    zone, out = place.top / "zone", place.top / "again.json"
    whole = place.run("sbom", zone, "--json").document
    assert (whole["files"], whole["packages"], whole["partial"]) == (8, 3, 1)
    judged(json.dumps(whole["bom"]))
    written = place.run("sbom", zone, "--json", "--out", out).document
    assert written["bom"] is None and written["out"] == str(out)
    assert judged(out.read_text()) == whole["bom"]


def test_refusals(place: Place) -> None:
    assert "no zone of ours" in place.run("sbom", place.top / "none", code=2).err
    assert "absolute" in place.run("sbom", "zone", code=2).err
    assert "error" in place.run("sbom", place.top / "zone", "--out", place.top / "no/where", code=1).err


# --- what became of it --------------------------------------------------------------------------------


@pytest.fixture
def lived_in(tmp_path: Path) -> tuple[Place, Path]:
    place = Place(tmp_path)
    (zone,) = place.populate("zone")
    return place, zone


def test_what_the_tenant_did(lived_in: tuple[Place, Path]) -> None:
    place, zone = lived_in
    before = made(place, zone)
    (zone / "root/etc/motd").write_text("mine")
    (zone / "root/srv/own").unlink()
    (zone / "root/srv/new").write_text("new")
    (zone / "root/srv/link").symlink_to("/etc/passwd")
    bom = made(place, zone)
    assert before["serialNumber"] != bom["serialNumber"]
    assert "/srv/own" not in files(bom) and "/srv/link" not in files(bom)
    edited, new = files(bom)["/etc/motd"], files(bom)["/srv/new"]
    assert edited["hashes"][0]["content"] == hashlib.sha256(b"mine").hexdigest()
    assert said(edited)["file:edited"] == "true"
    assert said(edited)["file:recorded-sha256"] == files(before)["/etc/motd"]["hashes"][0]["content"]
    assert said(new) == {"file:layer": "private", "file:origin": "tenant"}
    assert new["bom-ref"] in bom["dependencies"][0]["dependsOn"]


@pytest.mark.hostile
def test_names_that_are_no_text(lived_in: tuple[Place, Path]) -> None:
    place, zone = lived_in
    names = [b"caf\xe9", b"\x1b[31m", b"a\nb", b"back\\slash", "café\u202e".encode(), b"x" * 255]
    for name in names:
        Path(os.fsdecode(bytes(zone / "root/srv") + b"/" + name)).write_text("x")
    bom = made(place, zone)
    told = {name for name in files(bom) if name.startswith("/srv/") and name != "/srv/own"}
    assert len(told) == len(names)
    assert all(name.isprintable() for name in told)
    assert r"/srv/\x1b[31m" in told and r"/srv/back\\slash" in told
    assert "file:/srv/caf%E9" in {one["bom-ref"] for one in files(bom).values()}


@pytest.mark.hostile
def test_what_is_no_file_and_what_cannot_be_read(lived_in: tuple[Place, Path]) -> None:
    place, zone = lived_in
    os.mkfifo(zone / "root/srv/fifo")
    (zone / "root/srv/loop").symlink_to("loop")
    shutil.rmtree(zone / "root/etc")
    (zone / "root/etc").symlink_to("/etc")
    told = files(made(place, zone))
    assert not [name for name in told if name.startswith("/etc") or name.endswith(("fifo", "loop"))]


def test_a_package_that_was_upgraded_since(lived_in: tuple[Place, Path]) -> None:
    """The zone has the old one: what the database says is of another."""
    place, zone = lived_in
    place.install("1.0-2", "/usr/bin/tool")
    bom = made(place, zone)
    tool = packages(bom)["tool"]
    assert tool["version"] == "1.0-1" and "licenses" not in tool
    assert said(tool)["package:whole"] == "unknown"
    assert said(tool)["package:installed-now"] == "1.0-2"
    assert {"aggregate": "unknown", "assemblies": [TOOL]} in bom["compositions"]
    old = hashlib.sha256(b"content of /usr/bin/tool").hexdigest()
    assert files(bom)["/usr/bin/tool"]["hashes"][0]["content"] == old
    place.populate("zone")
    assert packages(made(place, zone))["tool"]["version"] == "1.0-2"


def test_a_source_that_is_gone(lived_in: tuple[Place, Path]) -> None:
    place, zone = lived_in
    place.source.rename(place.top / "elsewhere")
    done = place.run("sbom", zone)
    assert "no more can be told of packages" in done.err
    bom = judged(done.out)
    assert packages(bom)["tool"]["version"] == "1.0-1"
    assert said(files(bom)["/usr/bin/tool"])["package"] == "tool"


def test_a_root_that_is_not_there_is_told_as_it_was_recorded(lived_in: tuple[Place, Path]) -> None:
    """As that of a zone whose dataset is not mounted."""
    place, zone = lived_in
    place.run("unmount", zone)
    before = made(place, zone)
    (zone / "root").rename(zone.parent / "away")
    (zone / "root").mkdir()
    done = place.run("sbom", zone)
    assert "told as it was recorded" in done.err
    assert judged(done.out) == before


@needs("root")
def test_an_image_that_was_damaged_is_told_so(lived_in: tuple[Place, Path]) -> None:
    place, zone = lived_in
    (zone / "image/usr/bin/tool").resolve().write_text("changed through the link")
    done = place.run("sbom", zone)
    assert "differs from its manifest" in done.err
    assert "content" in said(files(judged(done.out))["/usr/bin/tool"])["file:note"]


def test_without_sharing_all_is_private(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (zone,) = place.populate("zone", options=("--share", "copy"))
    bom = made(place, zone)
    assert said(files(bom)["/usr/bin/tool"])["file:method"] == "copy"
    assert packages(bom)["tool"]["version"] == "1.0-1"
    assert dict(on_disk(zone)).keys() == files(bom).keys()


# --- whatever databases hold --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supplier", "platform", "distribution", "url"),
    [
        (
            Supplier("libc6", "2.36-9+deb12u1", "amd64"),
            "linux",
            ("debian", "12"),
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12",
        ),
        (
            Supplier("zlib1g:i386", "1:1.2", "i386"),
            "linux",
            ("", ""),
            "pkg:deb/debian/zlib1g@1:1.2?arch=i386",
        ),
        (
            Supplier("a", "1~rc", ""),
            "linux",
            ("ubuntu", "24.04"),
            "pkg:deb/ubuntu/a@1~rc?distro=ubuntu-24.04",
        ),
        (Supplier("SUNWcs", "0.38", "i386"), "illumos", ("", ""), "pkg:generic/SUNWcs@0.38?arch=i386"),
        (
            Supplier("library/z", "1.2,5.11-0.151050:20250201T120000Z", "i386"),
            "illumos",
            ("omnios", "151050"),
            "pkg:generic/library/z@1.2%2C5.11-0.151050:20250201T120000Z?arch=i386&distro=omnios-151050",
        ),
        (Supplier("x", "", ""), "illumos", ("", ""), "pkg:generic/x"),
    ],
)
def test_package_urls(supplier: Supplier, platform: str, distribution: tuple[str, str], url: str) -> None:
    assert package_url(supplier, platform, distribution) == url
    assert PackageURL.from_string(url).to_string() == url


TEXTS = st.text(max_size=8) | st.binary(max_size=8).map(os.fsdecode)
WORDS = TEXTS.filter(lambda text: text.strip("/\0 ") != "")
SUPPLIERS = st.builds(
    Supplier, st.sampled_from(["a", "lib/b", "c:i386"]), TEXTS, st.sampled_from(["amd64", ""])
)
LICENCES = st.lists(
    st.builds(Licence.named, st.sampled_from(["GPL-2+", "Odd", "Expat or GPL-2", "ISC and MIT"]) | WORDS)
)
ABOUTS = st.builds(About, TEXTS, TEXTS, TEXTS | st.just("https://x/{"), TEXTS, LICENCES.map(tuple), TEXTS)
FILES = st.builds(
    File,
    NAMES.map(lambda name: RootPath(f"/{name}")),
    st.just("ab" * 32) | st.just(""),
    st.sampled_from(Layer),
    st.sampled_from(Origin),
    st.none() | st.sampled_from(Method),
    st.none() | SUPPLIERS,
    st.just("") | st.just("cd" * 32),
    TEXTS,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FILES, max_size=4, unique_by=lambda one: one.path), st.data(), TEXTS, TEXTS)
def test_any_zone_has_a_bill(told: list[File], data: st.DataObject, system: str, release: str) -> None:
    known = [
        Package(
            supplier,
            1,
            data.draw(st.none() | st.integers(0, 2)),
            data.draw(st.none() | ABOUTS),
            data.draw(TEXTS),
        )
        for supplier in sorted({one.supplier for one in told if one.supplier})
    ]
    paths = [one.path for one in told]
    needs = {path: tuple(sorted(set(paths) - {path})) for path in paths}
    unseen = {RootPath("/srv"): data.draw(TEXTS)}
    bill = Bill(a_receipt(), tuple(sorted(told)), tuple(known), needs, (system, release), unseen)
    judged(cyclonedx.encode(cyclonedx.document(bill)).decode("ascii"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["GPL-2+"], [{"license": {"id": "GPL-2.0-or-later"}}]),
        (["Odd", "Expat"], [{"license": {"id": "MIT"}}, {"license": {"name": "Odd"}}]),
        (["Expat or ISC"], [{"expression": "MIT OR ISC"}]),
        (["Expat or ISC", "Odd"], [{"license": {"name": "Expat or ISC"}}, {"license": {"name": "Odd"}}]),
        (["Expat or ISC", "GPL-2 and Expat"], [{"expression": "GPL-2.0-only AND MIT AND (MIT OR ISC)"}]),
        (["BSD-3-clause", "BSD-3"], [{"license": {"id": "BSD-3-Clause"}}]),
    ],
)
def test_licences(names: list[str], expected: list[Bom]) -> None:
    supplier = Supplier("a", "1", "all")
    about = About(licences=tuple(map(Licence.named, names)))
    bill = Bill(a_receipt(), (), (Package(supplier, 0, 0, about),), {}, ("", ""), {})
    told = cyclonedx.document(bill)["components"][0]["licenses"]
    for one in told:
        one.get("license", one).pop("acknowledgement")
    assert told == expected
