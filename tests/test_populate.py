"""populate, end to end, from a small source of real files: what is built, and that nothing else changes."""

import itertools
import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Done, partialroot
from needs import needs
from treedump import dump

pytestmark = needs("root", "mount", "glibc")

APP = """
programs = ["greet", "id"]
files = ["/usr/share/app", "/etc/hosts"]
users = ["www-data"]
modules = { nss = ["passwd"] }
[directories."/var/app"]
mode = "2770"
owner = "www-data"
group = "staff"
[text."/etc/motd"]
content = "hello @who@"
[parameters]
who = "world"
[start]
command = ["greet"]
"""

Populate = Callable[..., Done]


@pytest.fixture
def zone(scratch: Path) -> Path:
    return scratch / "zones/web"


@pytest.fixture
def populate(scratch: Path, source: Path, store: Path, zone: Path) -> Populate:
    """A function that populates ``zone`` from the small source with a profile's text."""

    def run(
        *words: str | Path,
        text: str = APP,
        name: str = "app",
        at: Path = zone,
        verb: str = "populate",
        code: int = 0,
    ) -> Done:
        profile = scratch / f"{name}.toml"
        if not profile.exists() or profile.read_text() != text:
            profile.write_text(text)
        place = () if verb == "plan" else (at,)
        return partialroot(
            verb, *place, profile, "--source", source, "--store", store, "--json", *words, code=code
        )

    return run


def test_the_root_is_complete_and_as_the_source(populate: Populate, source: Path, zone: Path) -> None:
    done = populate().document
    assert done["changed"] is True
    assert done["error"] is None if "error" in done else True
    theirs = {line.split(" ", 1)[0]: line for line in dump(source)}
    ours = {line.split(" ", 1)[0]: line for line in dump(zone / "root")}
    for entry in done["entries"]:
        path = entry["path"]
        if entry["method"] in ("link", "copy", "clone", "symlink") and " " not in path and path.isascii():
            assert ours[path].split(" links=")[0] == theirs[path].split(" links=")[0], path
    assert sorted(entry["path"] for entry in done["entries"]) == sorted(
        {os.path.join("/", os.path.relpath(found, zone / "root")) for found in everything(zone / "root")}
    )


def everything(top: Path) -> list[str]:
    return [
        os.path.join(directory, name)
        for directory, directories, files in os.walk(top)
        for name in (*directories, *files)
    ]


def test_it_runs(populate: Populate, zone: Path) -> None:
    import subprocess

    populate()
    said = subprocess.run(["chroot", zone / "root", "/usr/bin/greet"], capture_output=True, text=True)
    assert said.stdout == "hello\n", said.stderr
    said = subprocess.run(
        ["chroot", zone / "root", "/usr/bin/id", "www-data"], capture_output=True, text=True
    )
    assert "uid=33(www-data)" in said.stdout, said.stderr


def test_the_source_is_untouched(populate: Populate, source: Path, zone: Path, store: Path) -> None:
    before = dump(source)
    populate()
    populate("--set", "who=you")
    assert dump(source) == before
    partialroot("remove", zone, "--store", store)
    assert dump(source) == before


def test_no_inode_a_zone_can_write_has_a_name_elsewhere(populate: Populate, zone: Path) -> None:
    populate()
    private: Counter[tuple[int, int]] = Counter()
    links = {}
    for path in everything(zone / "root"):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and not path.startswith(str(zone / "root/usr/")):
            private[found.st_dev, found.st_ino] += 1
            links[found.st_dev, found.st_ino] = (path, found.st_nlink)
    assert private
    for inode, names in private.items():
        path, count = links[inode]
        assert count == names, f"{path} has a name outside the zone"
    assert os.statvfs(zone / "root/usr").f_flag & os.ST_RDONLY
    with pytest.raises(OSError, match="Read-only"):
        (zone / "root/usr/bin/id").chmod(0o777)


def test_shared_files_are_the_sources_inodes_but_for_setuid_ones(
    populate: Populate, source: Path, zone: Path
) -> None:
    populate(text='programs = ["id", "rise"]')
    assert (zone / "root/usr/bin/id").samefile(source / "usr/bin/id")
    risen = os.lstat(zone / "root/usr/bin/rise")
    assert stat.S_IMODE(risen.st_mode) == 0o4755
    assert risen.st_nlink == 1
    (source / "usr/bin/rise").chmod(0o600)
    assert stat.S_IMODE(os.lstat(zone / "root/usr/bin/rise").st_mode) == 0o4755


def test_the_second_run_has_nothing_to_do(populate: Populate, zone: Path, store: Path) -> None:
    first = populate().document
    before = dump(zone), dump(store / "images")
    second = populate().document
    assert (dump(zone), dump(store / "images")) == before
    assert second["changed"] is False
    assert second["image"] == first["image"]
    assert [one["changed"] for one in second["zones"]] == [False]


def test_the_digest_knows_no_order(populate: Populate, scratch: Path, source: Path, store: Path) -> None:
    texts = {"a": 'programs = ["greet"]', "b": 'programs = ["id"]', "c": 'files = ["/usr/share/app"]'}
    for name, text in texts.items():
        (scratch / f"{name}.toml").write_text(text)
    digests = set()
    for order in itertools.permutations(texts):
        files = [scratch / f"{name}.toml" for name in order]
        done = partialroot("plan", *files, "--source", source, "--store", store, "--json")
        digests.add(done.document["image"])
    assert len(digests) == 1


def test_a_dry_run_touches_nothing(populate: Populate, scratch: Path, zone: Path) -> None:
    cache = ["/store/memory"]  # and the time of the directory in which links are tried
    populate(verb="plan")
    before = dump(scratch, skip=cache)
    planned = populate("--dry-run").document
    assert dump(scratch, skip=cache) == before
    assert not zone.exists()
    assert planned["changed"] is False
    really = populate().document
    assert really["entries"] == planned["entries"]
    assert really["image"] == planned["image"]


def test_all_that_is_missing_is_said_at_once_and_nothing_is_touched(
    populate: Populate, scratch: Path
) -> None:
    text = 'programs = ["greet", "nod"]\nfiles = ["/usr/share/none"]\nusers = ["nobody"]'
    (scratch / "app.toml").write_text(text)
    before = dump(scratch)
    done = populate(text=text, code=2)
    assert dump(scratch) == before
    assert {one["name"] for one in done.document["missing"]} == {
        "nod",
        "/usr/share/none",
        "user or group nobody",
    }
    assert done.document["error"]["kind"] == "missing"
    assert f"hint: {done.document['error']['hint']}" in done.err
    for one in done.document["missing"]:
        assert one["needed_by"].startswith("app.toml:")
        assert one["name"] in done.err


def test_a_secret_is_copied_only_when_asked_for(populate: Populate, zone: Path) -> None:
    text = 'files = ["/etc/shadow", "/nothing"]\nprograms = ["nosuch"]\nusers = ["nobodyelse"]'
    done = populate(text=text, code=2)
    assert done.document["error"]["kind"] == "conflict"
    assert "/etc/shadow" in done.document["error"]["message"]
    lacking = {one["name"] for one in done.document["missing"]}
    assert lacking == {"/nothing", "nosuch", "user or group nobodyelse"}
    assert all(f"missing (error): {name}, needed by " in done.err for name in lacking)
    assert not zone.exists()
    populate(text='files = ["/etc/*"]\nprograms = ["id"]')
    assert not (zone / "root/etc/shadow").exists()
    populate(text='secrets = ["/etc/shadow"]\nprograms = ["id"]')
    assert (zone / "root/etc/shadow").read_text().startswith("root:*")


def test_private_paths_below_usr_are_the_zones_own(populate: Populate, zone: Path, source: Path) -> None:
    populate(text='files = ["/usr/share/app"]\nprivate = ["/usr/share/app"]')
    home = zone / "root/var/partialroot/private/usr/share/app"
    (home / "new").write_text("mine")
    (home / "data one").write_text("changed")
    assert not (source / "usr/share/app/new").exists()
    assert (source / "usr/share/app/data one").read_text() == "data\n"
    assert os.readlink(zone / "root/usr/share/app") == "/var/partialroot/private/usr/share/app"


def test_exclude_wins_and_says_what_it_broke(populate: Populate, zone: Path) -> None:
    done = populate(text='programs = ["id"]\nexclude = ["/usr/lib/**/libc.so.6"]').document
    assert not [one for one in done["entries"] if one["path"].endswith("/libc.so.6")]
    broken = [one for one in done["missing"] if "libc.so.6" in one["name"]]
    assert broken
    assert broken[0]["severity"] == "warning"
    assert "/usr/bin/id" in broken[0]["needed_by"]


def test_explain_goes_down_to_the_profiles_line(populate: Populate, zone: Path, store: Path) -> None:
    done = populate().document
    libc = next(one["path"] for one in done["entries"] if one["path"].endswith("/libc.so.6"))
    chain = partialroot("explain", zone, libc, "--json").document["chain"]
    assert chain[0]["path"] == libc
    assert chain[-1]["origin"].startswith("app.toml:")
    said = partialroot("explain", zone, "/etc/motd").out
    assert "app.toml:" in said


def test_verify_status_audit_of_a_fresh_zone_find_nothing(
    populate: Populate, zone: Path, store: Path
) -> None:
    populate()
    for verb in ("verify", "audit"):
        assert partialroot(verb, zone, "--store", store, "--json").document["findings"] == []
    status = partialroot("status", "--all", "--store", store, "--json").document["zones"]
    assert [(one["zonepath"], one["state"], one["running"]) for one in status] == [
        (str(zone), "current", False)
    ]


def test_a_changed_source_makes_the_zone_stale(
    populate: Populate, zone: Path, store: Path, source: Path
) -> None:
    populate()
    new = source / "usr/bin/greet.new"
    new.write_text("#!/bin/sh\necho bye\n")
    new.chmod(0o755)
    new.rename(source / "usr/bin/greet")
    status = partialroot("status", zone, "--store", store, "--json", code=5).document["zones"][0]
    assert status["state"] == "stale"
    assert any("/usr/bin/greet" in line for line in status["because"])
    assert partialroot("verify", zone, "--store", store).code == 0
    old = partialroot("status", zone, "--store", store, "--json", code=5).document
    assert old["zones"][0]["state"] == "stale"
    populate()
    assert partialroot("status", zone, "--store", store).code == 0
    assert (zone / "root/usr/bin/greet").read_text() == "#!/bin/sh\necho bye\n"


def test_remove_leaves_nothing_behind(populate: Populate, scratch: Path, zone: Path, store: Path) -> None:
    populate(verb="plan")
    populate(at=scratch / "first")
    partialroot("remove", scratch / "first", "--store", store)
    before = dump(scratch, times=False, skip=["/store/memory"])
    populate()
    partialroot("remove", zone, "--store", store)
    assert dump(scratch, times=False, skip=["/store/memory"]) == before
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()


def test_two_zones_share_one_image_and_it_goes_with_the_last(
    populate: Populate, scratch: Path, zone: Path, store: Path
) -> None:
    other = scratch / "zones/other"
    populate()
    populate(at=other)
    assert (zone / "image").readlink() == (other / "image").readlink()
    image = (zone / "image").readlink()
    partialroot("remove", zone, "--store", store)
    assert (other / "root/usr/bin/id").exists()
    partialroot("remove", "--all", "--store", store)
    assert not image.exists()
    assert not (scratch / "zones").exists()


def test_an_edited_file_is_kept_and_the_new_one_put_beside(populate: Populate, zone: Path) -> None:
    populate()
    (zone / "root/etc/motd").write_text("mine")
    done = populate("--set", "who=you")
    assert (zone / "root/etc/motd").read_text() == "mine"
    assert (zone / "root/etc/motd.new").read_text() == "hello you"
    assert "motd.new" in done.err
    assert "motd.new" not in populate("--set", "who=you").document["warnings"]
