"""A global zone that is not as its packages made it: what is followed, what is refused, what is said."""

import os
from pathlib import Path

import globalzone
import pytest
from command import partialroot
from needs import needs
from test_profiles_illumos import PLATFORM

from partialroot.errors import ConflictError, Missing
from partialroot.model import Selection
from partialroot.plan.select import select
from partialroot.profiles.library import Library
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    return globalzone.build(tmp_path / "zone")


def planned(zone: Path, text: str) -> Selection:
    (zone.parent / "p.toml").write_text(text)
    tree, names = Tree(zone), (str(zone.parent / "p.toml"),)
    return select(Library([], "illumos").compose(names, {}), names, tree, open_packages(tree), PLATFORM)


def errors(selection: Selection) -> list[Missing]:
    return [one for one in selection.missing if one.severity == "error"]


# --- configuration that was edited: what the zone gets, as it was shipped, is what is followed --------


def test_an_edited_table_of_modules_is_not_the_zones(zone: Path) -> None:
    (zone / "etc/security/crypt.conf").write_text("1 crypt_ours.so.1\n")
    found = planned(zone, 'uses = ["zlogin"]')
    paths = {entry.path for entry in found.entries}
    assert "/usr/lib/security/crypt_bsdmd5.so.1" in paths
    assert not [one for one in found.missing if "crypt_ours" in one.name]
    assert "/etc/security/crypt.conf is taken as it was shipped" in " ".join(found.warnings)


def test_who_names_it_gets_it_as_it_is(zone: Path) -> None:
    (zone / "etc/security/crypt.conf").write_text("1 crypt_ours.so.1\n")
    found = planned(zone, 'uses = ["zlogin"]\nfiles = ["/etc/security/crypt.conf"]')
    needed_by = [one.needed_by for one in found.missing if "crypt_ours" in one.name]
    assert needed_by == ["/etc/security/crypt.conf"]


def test_an_edited_stack_is_not_the_zones(zone: Path) -> None:
    (zone / "etc/pam.conf").write_text("other auth required pam_ours.so.1\n")
    text = 'uses = ["base"]\nprograms = ["/usr/bin/su"]\nmodules = { pam = ["su"] }\n'
    assert not errors(planned(zone, text))
    (missing,) = errors(planned(zone, f'{text}files = ["/etc/pam.conf"]\n'))
    assert missing.name == "/usr/lib/security/pam_ours.so.1"


@needs("root")
@pytest.mark.parametrize("uid, mode", [(7, 0o644), (0, 0o664), (0, 0o646)])
@pytest.mark.parametrize(
    "path", ["/usr/lib/security/pam_unix_auth.so.1", "/etc/pam.conf", "/etc/security/crypt.conf"]
)
def test_what_others_could_write_no_login_trusts(path: str, uid: int, mode: int, zone: Path) -> None:
    """libpam and crypt(3C) do not open it (linker facts 2.3, 2.4), and no ELF file tells."""
    os.chown(f"{zone}{path}", uid, 0)
    os.chmod(f"{zone}{path}", mode)
    (warning,) = planned(zone, 'uses = ["zlogin"]').warnings
    assert warning.startswith(f"{path}: is refused at every login")


def test_what_an_overlay_lacks_is_said(zone: Path) -> None:
    overlays = zone / "var/sadm/overlays"
    (overlays / "web.ovl").write_text("NAME=web\nREQUIRES=tls\nREQUIRES=web\n")
    (overlays / "web.pkgs").write_text("TRIBblix-nginx\nTRIBgone\n")
    warnings = planned(zone, 'uses = ["base"]\npackages = ["web"]\nexclude = ["/etc/zones"]\n').warnings
    (lacks,) = (one for one in warnings if "not installed here" in one)
    assert {"TRIBgone", "overlay tls"} <= set(lacks.rpartition(": ")[2].split(", "))


@pytest.mark.parametrize("path", ["/kernel", "/platform/i86pc", "/platform/i86pc/kernel/unix"])
def test_what_only_a_global_zone_may_have_is_refused_whole(path: str, zone: Path) -> None:
    (zone / "kernel").mkdir(exist_ok=True)
    (zone / "platform/i86pc/kernel").mkdir(parents=True, exist_ok=True)
    (zone / "platform/i86pc/kernel/unix").touch()
    with pytest.raises(ConflictError, match=f"only a global zone may have {path}"):
        planned(zone, f'uses = ["base"]\nfiles = ["{path}"]\n')


# --- what starts a zone -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/sbin/init", "/usr/bin/i86/ksh93", "/usr/versions/node-v22/bin/node"])
def test_what_starts_a_zone_can_be_run(path: str, zone: Path) -> None:
    """zoneadmd wants init to have the owner's execute bit, and exec(2) wants it of the others (zones 6)."""
    os.chmod(f"{zone}{path}", 0o644)
    profile = 'uses = ["base"]\n[start]\ncommand = ["/usr/versions/node-v22/bin/node"]\n'
    names = {one.name for one in errors(planned(zone, profile))}
    assert [name for name in names if name.endswith(" (there, but it cannot be run)")]


def test_a_directory_is_no_program(zone: Path) -> None:
    (missing,) = errors(planned(zone, 'uses = ["base"]\nprograms = ["/usr/lib"]\n'))
    assert missing.name == "/usr/lib (there, but no file)"


# --- words of the command line ------------------------------------------------------------------------


@needs("root")
@pytest.mark.parametrize("word", ["../sbin/init", "sbin/../init", ""])
def test_what_is_no_path_is_refused(word: str, zone: Path) -> None:
    done = partialroot("closure", word, "--source", zone, "--store", zone.parent / "store", code=2)
    assert "error:" in done.err


@needs("root")
def test_a_name_that_nothing_gives_the_zone_is_said(zone: Path) -> None:
    """The runtime gives it on Linux; on illumos a profile has to."""
    naming = zone.parent / "naming.toml"
    naming.write_text('[parameters]\nhostname = "x"\n[text."/etc/nodename"]\ncontent = "@hostname@\\n"\n')
    words: list[str | Path] = ["base", "-n", "--hostname", "web1"]
    words += ["--source", zone, "--store", zone.parent / "store"]
    done = partialroot("populate", zone.parent / "web", *words)
    assert "warning: the hostname is not set" in done.err
    assert "hostname" not in partialroot("populate", zone.parent / "web", naming, *words).err
