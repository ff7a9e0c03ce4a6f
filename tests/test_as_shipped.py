"""Configuration that was edited: what the zone gets, as it was shipped, is what is followed."""

from pathlib import Path

import globalzone
import pytest
from test_profiles_illumos import PLATFORM

from partialroot.errors import Missing
from partialroot.model import Selection
from partialroot.plan.select import select
from partialroot.profiles.library import Library
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    return globalzone.build(tmp_path / "zone")


def planned(zone: Path, text: str, place: Path) -> Selection:
    (place / "p.toml").write_text(text)
    tree, names = Tree(zone), (str(place / "p.toml"),)
    return select(Library([], "illumos").compose(names, {}), names, tree, open_packages(tree), PLATFORM)


def errors(selection: Selection) -> list[Missing]:
    return [one for one in selection.missing if one.severity == "error"]


def test_an_edited_table_of_modules_is_not_the_zones(zone: Path, tmp_path: Path) -> None:
    (zone / "etc/security/crypt.conf").write_text("1 crypt_ours.so.1\n")
    found = planned(zone, 'uses = ["zlogin"]', tmp_path)
    paths = {entry.path for entry in found.entries}
    assert "/usr/lib/security/crypt_bsdmd5.so.1" in paths
    assert not [one for one in found.missing if "crypt_ours" in one.name]
    assert "/etc/security/crypt.conf is taken as it was shipped" in " ".join(found.warnings)


def test_who_names_it_gets_it_as_it_is(zone: Path, tmp_path: Path) -> None:
    (zone / "etc/security/crypt.conf").write_text("1 crypt_ours.so.1\n")
    found = planned(zone, 'uses = ["zlogin"]\nfiles = ["/etc/security/crypt.conf"]', tmp_path)
    assert [one.needed_by for one in found.missing if "crypt_ours" in one.name] == [
        "/etc/security/crypt.conf"
    ]


def test_an_edited_stack_is_not_the_zones(zone: Path, tmp_path: Path) -> None:
    (zone / "etc/pam.conf").write_text("other auth required pam_ours.so.1\n")
    text = 'uses = ["base"]\nprograms = ["/usr/bin/su"]\nmodules = { pam = ["su"] }\n'
    assert not errors(planned(zone, text, tmp_path))
    (missing,) = errors(planned(zone, f'{text}files = ["/etc/pam.conf"]\n', tmp_path))
    assert missing.name == "/usr/lib/security/pam_ours.so.1"
