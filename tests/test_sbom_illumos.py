"""Bills of materials of illumos zones, and who is affected: packages of SVR4 and IPS, zones of the brand."""

import json
from pathlib import Path
from typing import Any

import globalzone
import ips_database
from branded import ZONEPATH, Branded
from command import partialroot
from test_sbom import files, judged, packages, said

PROFILE = 'files = ["/usr/bin/login", "/usr/bin/pkill", "/etc/motd"]\n'


def populated(top: Path, source: Path) -> tuple[Path, tuple[str | Path, ...]]:
    """Return a zone of a global zone, and the options that name its store."""
    top.chmod(0o700)
    zone, store = top / "zone", ("--store", top / "store")
    (top / "small.toml").write_text(PROFILE)
    partialroot("populate", zone, top / "small.toml", "--source", source, *store)
    return zone, store


def test_packages_of_svr4(tmp_path: Path) -> None:
    source = globalzone.build(tmp_path / "source")
    notice = source / "var/sadm/pkg/SUNWcs/install/copyright"
    notice.parent.mkdir()
    notice.write_text("Copyright them\n")
    zone, store = populated(tmp_path, source)
    bom = judged(partialroot("sbom", zone, *store).out)
    told = packages(bom)["SUNWcs"]
    assert told["purl"] == "pkg:generic/SUNWcs@0.38?arch=i386"
    assert told["copyright"] == "Copyright them\n"
    assert said(told)["package:whole"] == "false"
    assert said(files(bom)["/usr/bin/login"])["package"] == "SUNWcs"
    rows = partialroot("affected", "SUNWcs@0.38", "--json", *store).document["zones"]
    assert [(row["zonepath"], row["state"]) for row in rows] == [(str(zone), "current")]


def test_packages_of_ips(tmp_path: Path) -> None:
    source = globalzone.build(tmp_path / "source")
    ips_database.write(source)
    manifest = source / "var/pkg/publisher" / ips_database.PUBLISHER / "pkg/SUNWcs"
    (text,) = manifest.iterdir()
    text.write_text(f"{text.read_text()}set name=pkg.summary value=core\nlicense 1 license=lic_CDDL\n")
    zone, store = populated(tmp_path, source)
    bom = judged(partialroot("sbom", zone, *store).out)
    told = packages(bom)["SUNWcs"]
    assert told["version"] == ips_database.VERSION
    assert told["supplier"] == {"name": ips_database.PUBLISHER}
    assert told["licenses"] == [{"license": {"id": "CDDL-1.0", "acknowledgement": "declared"}}]
    for version in ("0.5.11", "0.5.11-0.151050", ips_database.VERSION):
        rows = partialroot("affected", f"SUNWcs@{version}", "--json", *store).document["zones"]
        assert [row["version"] for row in rows] == [ips_database.VERSION]
    assert partialroot("affected", "SUNWcs@0.5.12", "--json", *store).document["zones"] == []


def asked(machine: Branded, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(machine.partialroot(*words, "--json").out)
    return document


def test_a_zone_of_the_brand(machine: Branded) -> None:
    """Its root is a dataset: when that is not mounted, what is in it is told as it was recorded."""
    machine.write("/be/var/sadm/install/contents", "/lib/libshared.so.1 f none 0644 root bin 0 0 0 SUNWx\n")
    machine.write("/be/var/sadm/pkg/SUNWx/pkginfo", "PKG=SUNWx\nVERSION=1\nARCH=i386\nBASEDIR=/\n")
    machine.install_zone()
    mounted = judged(json.dumps(asked(machine, "sbom", ZONEPATH)["bom"]))
    assert said(files(mounted)["/lib/libshared.so.1"])["package"] == "SUNWx"
    assert packages(mounted)["SUNWx"]["purl"] == "pkg:generic/SUNWx@1?arch=i386"
    assert said(files(mounted)["/etc/motd"])["file:layer"] == "private"

    machine.run("umount", f"{ZONEPATH}/root")
    unmounted = asked(machine, "sbom", ZONEPATH)
    assert unmounted["warnings"] and judged(json.dumps(unmounted["bom"])) == mounted
    (row,) = asked(machine, "affected", "SUNWx")["zones"]
    assert (row["zonepath"], row["version"], row["state"]) == (ZONEPATH, "1", "current")

    machine.change("/lib/libshared.so.1", "the next library\n")
    (row,) = asked(machine, "affected", "/lib/libshared.so.1")["zones"]
    assert row["state"] == "stale"
    size = json.loads(machine.partialroot("status", "--size", ZONEPATH, "--json", code=None).out)["zones"][0][
        "size"
    ]
    assert size["files"] == len(files(mounted))
