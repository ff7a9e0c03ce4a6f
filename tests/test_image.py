"""Images: built once, judged before they are used again, gone with the last that uses them."""

import multiprocessing
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from bootable import PATIENCE
from children import Meeting, as_nobody, beside, in_child, in_mount_namespace
from moments import descriptors
from needs import needs
from treedump import differences, dump
from zones import REQUEST, directory, plan_of, site_at, taken, whole_plan, with_actions, with_twins

from partialroot.errors import ApplyError, StoreError
from partialroot.model import Layer, Method, Plan
from partialroot.nodes import Reason
from partialroot.source import halves
from partialroot.zone import apply, fs, image, layer, receipt
from partialroot.zone.image import ensure_image, is_intact, release_image, sweep
from partialroot.zone.store import Store


@pytest.fixture
def plan(scratch: Path, store: Path) -> Plan:
    """A plan of one tool and a program with a right of its own, which is a copy in the image."""
    source = scratch / "tools"
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/tool").write_text("tool")
    (source / "usr/bin/rise").write_text("rise")
    (source / "usr/bin/rise").chmod(0o4755)
    (source / "usr/bin/alias").symlink_to("tool")
    shared = [
        taken(source, "/usr", Layer.SHARED, Method.MOUNT),
        taken(source, "/usr/bin", Layer.SHARED),
        taken(source, "/usr/bin/alias", Layer.SHARED),
        taken(source, "/usr/bin/rise", Layer.SHARED, Method.COPY),
        taken(source, "/usr/bin/tool", Layer.SHARED),
    ]
    return plan_of(source, store, shared, ("/usr",))


def forget() -> None:
    """Be a new process, as far as images are concerned."""
    image._checked.clear()


def built(plan: Plan, store: Path) -> Path:
    return ensure_image(plan, Store(store)).path


def inode(path: Path) -> int:
    return os.lstat(path).st_ino


def test_it_is_the_source_s_files(plan: Plan, store: Path) -> None:
    before = dump(plan.source)
    path = built(plan, store)
    assert path == plan.image_home / str(plan.digest)
    assert dump(path / "usr") == dump(plan.source / "usr")
    assert inode(path / "usr/bin/tool") == inode(plan.source / "usr/bin/tool")
    assert inode(path / "usr/bin/rise") != inode(plan.source / "usr/bin/rise")
    assert differences(before, dump(plan.source)) == []
    assert os.stat(path).st_mode & 0o7777 == 0o700


def test_copies_of_one_inode_are_one_inode(plan: Plan, store: Path) -> None:
    os.link(plan.source / "usr/bin/rise", plan.source / "usr/bin/second")
    second = taken(plan.source, "/usr/bin/second", Layer.SHARED, Method.COPY)
    fresh = [taken(plan.source, "/usr/bin/rise", Layer.SHARED, Method.COPY), second]
    kept = [action for action in plan.actions if not action.entry.path.endswith("/rise")]
    path = built(plan_of(plan.source, store, with_twins([*kept, *fresh]), ("/usr",)), store)
    assert (
        inode(path / "usr/bin/rise") == inode(path / "usr/bin/second") != inode(plan.source / "usr/bin/rise")
    )
    assert dump(path / "usr", times=False) == dump(plan.source / "usr", times=False)


def test_its_manifest_is_what_is_there(plan: Plan, store: Path) -> None:
    path = built(plan, store)
    records = {str(record.path): record for record in receipt.read_manifest(path)}
    assert sorted(records) == ["/usr", "/usr/bin", "/usr/bin/alias", "/usr/bin/rise", "/usr/bin/tool"]
    for name, record in records.items():
        found = os.lstat(f"{path}{name}")
        assert (record.mode, record.uid, record.gid) == (found.st_mode & 0o7777, found.st_uid, found.st_gid)
        assert record.mtime_ns == found.st_mtime_ns
        assert record.reasons == ()
    assert [records[f"/usr/bin/{name}"].method for name in ("rise", "tool")] == ["copy", "link"]


def test_it_is_built_once(plan: Plan, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inode(built(plan, store))
    forget()
    seen: list[str] = []
    monkeypatch.setattr(fs, "observe", lambda name, path: seen.append(name))
    assert inode(built(plan, store)) == first
    assert set(seen) <= {"lock", "write", "unlink"}


def test_reasons_are_kept_apart(plan: Plan, store: Path) -> None:
    one = ensure_image(plan, Store(store))
    other = with_actions(
        plan,
        (
            action._replace(entry=action.entry._replace(reasons=(Reason("wanted", "other.toml:9"),)))
            for action in plan.actions
        ),
    )
    two = ensure_image(other, Store(store))
    assert one.path == two.path
    assert one.reasons != two.reasons
    data = (two.path / two.reasons).read_bytes()
    path = plan.shared[0].entry.path
    assert receipt.load_origins(data, "").reasons[path] == (Reason("wanted", "other.toml:9"),)
    assert receipt.load_origins((one.path / one.reasons).read_bytes(), "") != receipt.load_origins(data, "")


# --- judged before it is used again -------------------------------------------------------------------


def removed(path: Path) -> None:
    path.unlink()


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def loosened(path: Path) -> None:
    path.chmod(0o666)


def given_away(path: Path) -> None:
    os.chown(path, 33, -1)
    path.chmod(0o4755)


def given_to_a_group(path: Path) -> None:
    os.chown(path, -1, 33)
    path.chmod(0o4755)


def grown_in_secret(path: Path) -> None:
    before = os.stat(path).st_mtime_ns
    grown(path)
    path.chmod(0o4755)
    os.utime(path, ns=(before, before))


def made_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    path.chmod(0o4755)


def made_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@needs("root")
@pytest.mark.parametrize(
    "damage",
    [
        removed,
        grown,
        grown_in_secret,
        touched,
        loosened,
        given_away,
        given_to_a_group,
        made_a_link,
        made_a_fifo,
    ],
)
def test_a_changed_file_is_a_new_image(plan: Plan, store: Path, damage: object) -> None:
    path = built(plan, store)
    (path / "reasons-of-another-zone.json").touch()
    first = inode(path)
    assert callable(damage)
    damage(path / "usr/bin/rise")
    forget()
    assert not is_intact(path)
    assert inode(built(plan, store)) != first
    assert dump(path / "usr") == dump(plan.source / "usr")
    assert (path / "reasons-of-another-zone.json").exists()
    assert sorted(os.listdir(plan.image_home)) == [plan.digest]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\0" * 100])
def test_without_its_manifest_it_is_none(plan: Plan, store: Path, content: bytes | None) -> None:
    path = built(plan, store)
    (path / "manifest.json").unlink()
    if content is not None:
        (path / "manifest.json").write_bytes(content)
    forget()
    assert not is_intact(path)
    built(plan, store)
    assert is_intact(path)


def test_within_a_process_it_is_looked_at_once(plan: Plan, store: Path) -> None:
    path = built(plan, store)
    assert is_intact(path)
    (path / "usr/bin/rise").unlink()
    assert is_intact(path)  # as designed: the price of a thousand zones


def test_an_image_another_process_removed_is_not_remembered(plan: Plan, store: Path) -> None:
    path = built(plan, store)
    assert is_intact(path)
    shutil.rmtree(path)
    assert not is_intact(path)
    assert built(plan, store).exists()


# --- the source changes meanwhile ---------------------------------------------------------------------


def replaced(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text("tool")
    os.rename(fresh, path)


def replaced_by_its_like(path: Path) -> None:
    """All that lstat(2) says is the same, but the inode."""
    before = os.stat(path)
    replaced(path)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", ["tool", "rise"])
@pytest.mark.parametrize(
    "change",
    [
        replaced,
        replaced_by_its_like,
        grown,
        grown_in_secret,
        touched,
        loosened,
        given_to_a_group,
        made_a_link,
        removed,
    ],
)
@needs("root")
def test_a_source_that_changes_is_an_error_and_leaves_nothing(
    plan: Plan, store: Path, name: str, change: object
) -> None:
    assert callable(change)
    change(plan.source / "usr/bin" / name)
    with pytest.raises(ApplyError) as caught:
        built(plan, store)
    assert caught.value.path == f"/usr/bin/{name}" or change is made_a_link
    gone = "vanished from the source meanwhile"
    assert (caught.value.message == gone) == (change is removed)
    assert name in str(caught.value)
    assert os.listdir(plan.image_home) == []
    assert os.listdir(store / "locks") == []


def test_a_copy_whose_source_changes_while_it_is_read(
    plan: Plan, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(name: str, path: str) -> None:
        if name == "copy":
            os.utime(plan.source / "usr/bin/rise", ns=(1, 1))

    monkeypatch.setattr(fs, "observe", meanwhile)
    with pytest.raises(ApplyError, match="changed in the source while it was read"):
        built(plan, store)
    assert os.listdir(plan.image_home) == []


def test_a_source_swapped_for_a_fifo_does_not_hang(plan: Plan, store: Path) -> None:
    (plan.source / "usr/bin/rise").unlink()
    os.mkfifo(plan.source / "usr/bin/rise")
    with pytest.raises(ApplyError, match="changed in the source"):
        built(plan, store)


# --- links made by two processes -----------------------------------------------------------------------


@pytest.fixture
def wide(scratch: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan of files in four directories, whose links two processes make however few they are."""
    monkeypatch.setattr(layer, "_MANY_LINKS", 0)
    monkeypatch.setattr(halves, "is_useful", lambda: True)
    source = scratch / "wide"
    for number in range(12):
        file = source / f"usr/{number % 4}/{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
    paths = sorted(f"/{path.relative_to(source)}" for path in source.glob("usr/**/*"))
    top = taken(source, "/usr", Layer.SHARED, Method.MOUNT)
    return plan_of(source, store, [top, *(taken(source, path, Layer.SHARED) for path in paths)], ("/usr",))


def test_both_processes_link(wide: Plan, store: Path, meet: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def see(name: str, path: str) -> None:
        if name == "link":
            meet()
            seen.append(path)

    monkeypatch.setattr(fs, "observe", see)
    path = built(wide, store)
    assert dump(path / "usr") == dump(wide.source / "usr")
    assert {inode(path / f"usr/{one % 4}/{one}") for one in range(12)} == {
        inode(wide.source / f"usr/{one % 4}/{one}") for one in range(12)
    }
    assert 0 < len(seen) < 12  # the others elsewhere
    assert len({int(one) % 4 for one in seen}) * 3 == len(seen)  # whole directories
    forget()
    assert is_intact(path)


@pytest.mark.parametrize("name", ["usr/0/8", "usr/3/7"])
def test_a_source_that_changes_for_either_process(wide: Plan, store: Path, name: str) -> None:
    touched(wide.source / name)
    with pytest.raises(ApplyError, match="changed in the source") as caught:
        built(wide, store)
    assert caught.value.path == f"/{name}"
    assert os.listdir(wide.image_home) == []


def test_links_of_a_process_that_dies_are_made_by_the_other(
    wide: Plan, store: Path, meet: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.getpid()
    seen: list[str] = []

    def die(name: str, path: str) -> None:
        if name == "link":
            meet()
            seen.append(path)
            if os.getpid() != here and len(seen) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(fs, "observe", die)
    assert dump(built(wide, store) / "usr") == dump(wide.source / "usr")


# --- half and replaced ones ---------------------------------------------------------------------------


def test_half_an_image_is_swept_and_never_used(plan: Plan, store: Path) -> None:
    opened = Store(store)
    half = plan.image_home / f".new-{plan.digest}"
    (half / "usr/bin").mkdir(parents=True)
    (half / "usr/bin/evil").touch()
    (plan.image_home / ".new-abc").mkdir()
    assert not (built(plan, store) / "usr/bin/evil").exists()
    sweep(opened, plan.image_home)
    assert os.listdir(plan.image_home) == [plan.digest]


def test_a_living_builder_s_is_not_swept(plan: Plan, store: Path) -> None:
    opened = Store(store)
    (plan.image_home / ".new-abc").mkdir()
    with opened.lock_image(plan.image_home, "abc"):
        sweep(opened, plan.image_home)
    assert os.listdir(plan.image_home) == [".new-abc"]


def build_and_say(plan: Plan, store: Path) -> None:
    assert dump(built(plan, store) / "usr") == dump(plan.source / "usr")


def test_several_at_once_build_one(plan: Plan, store: Path) -> None:
    Store(store)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=build_and_say, args=(plan, store)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert os.listdir(plan.image_home) == [plan.digest]


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_home_others_may_enter_is_refused(plan: Plan, store: Path, mode: int) -> None:
    home = store.parent / "elsewhere"
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(StoreError, match="the home of images has mode"):
        ensure_image(plan._replace(image_home=home), Store(store))


# --- who uses it --------------------------------------------------------------------------------------


@needs("root", "mount")
def test_it_goes_with_the_last_zone(plan: Plan, store: Path, scratch: Path) -> None:
    sites = [site_at(store, scratch / name) for name in ("one", "two")]
    made = [apply.create(plan, site, REQUEST, {}) for site in sites]
    path = Path(str(made[0].image))
    apply.remove(sites[0], made[0])
    assert (path / "usr/bin/tool").exists()
    assert (scratch / "two/root/usr/bin/tool").read_text() == "tool"
    apply.remove(sites[1], made[1])
    assert os.listdir(plan.image_home) == []


@needs("root")
def test_one_in_the_register_stays(plan: Plan, store: Path, scratch: Path) -> None:
    path = built(plan, store)
    made = apply.create(plan, site_at(store, scratch / "zone", mount=False), REQUEST, {})
    assert made.image == str(path)
    assert not release_image(Store(store), path)
    shutil.rmtree(scratch / "zone")  # it may be on a disk that is not mounted now
    assert not release_image(Store(store), path)
    assert is_intact(path)


def test_a_broken_register_keeps_it(plan: Plan, store: Path) -> None:
    path = built(plan, store)
    (store / "zones/0123456789abcdef").write_text("{")
    assert not release_image(Store(store), path)


@needs("root", "mount")
def test_one_that_another_namespace_has_mounted_stays(plan: Plan, store: Path, scratch: Path) -> None:
    path = built(plan, store)
    (scratch / "elsewhere").mkdir()

    def mount() -> None:
        in_mount_namespace()
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", path / "usr", scratch / "elsewhere"], check=True)

    with beside(mount, lambda: signal_wait()):
        assert not release_image(Store(store), path)
        assert is_intact(path)
    assert release_image(Store(store), path)
    assert not path.exists()


def signal_wait() -> None:
    import signal

    signal.pause()


def test_no_descriptor_stays_open(plan: Plan, store: Path) -> None:
    count = descriptors()
    built(plan, store)
    forget()
    built(plan, store)
    sweep(Store(store), plan.image_home)
    assert release_image(Store(store), plan.image_home / str(plan.digest))
    touched(plan.source / "usr/bin/tool")
    with pytest.raises(ApplyError):
        built(plan, store)
    assert descriptors() == count


def test_what_is_gone_is_released(plan: Plan, store: Path) -> None:
    assert release_image(Store(store), plan.image_home / ("0" * 64))
    assert release_image(Store(store), store / "no/home/nothing")


# --- without root -------------------------------------------------------------------------------------


@needs("root")
def test_without_root_the_owners_are_lost_and_nothing_else(scratch: Path) -> None:
    """Every file has a mode of its own; what would run as its owner does not run as somebody else."""
    source = scratch / "source"
    source.mkdir()
    for mode in (0o4755, 0o2755, 0o640, 0o444, 0o600):
        (source / f"{mode:o}").touch()
        (source / f"{mode:o}").chmod(mode)
        os.chown(source / f"{mode:o}", 33, 33)
        (source / f"{mode:o}").chmod(mode)
    (source / "640").chmod(0o644)
    (source / "600").chmod(0o644)
    for path in (scratch, source):
        path.chmod(0o755)
    (scratch / "home").mkdir()
    os.chown(scratch / "home", 65534, 65534)
    (scratch / "home").chmod(0o700)

    def work() -> list[tuple[str, str, int]]:
        store = scratch / "home/store"
        actions = [taken(source, f"/{name}", Layer.PRIVATE) for name in sorted(os.listdir(source))]
        plan = plan_of(source, store, [directory("/", 0o555), *actions])
        site = site_at(store, scratch / "home/zone", mount=False)
        site.lost_owners = frozenset({(33, 33), (0, 0)})
        made = apply.create(plan, site, REQUEST, {})
        result = [(str(one.path), f"{one.mode:o}", one.uid) for one in made.entries]
        assert not apply.update(plan, site, REQUEST, {}, made)
        apply.remove(site, made)
        assert not (scratch / "home/zone").exists()
        return result

    assert in_child(as_nobody, work) == [
        ("/", "555", 65534),
        ("/2755", "755", 65534),
        ("/444", "444", 65534),
        ("/4755", "755", 65534),
        ("/600", "644", 65534),
        ("/640", "644", 65534),
    ]


@needs("root", "mount")
def test_the_whole_source_and_back(source: Path, store: Path, scratch: Path) -> None:
    plan = whole_plan(source, store)
    path = built(plan, store)
    assert differences(dump(source / "usr"), dump(path / "usr")) == []
