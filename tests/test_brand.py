"""Tests of the brand's files and entry: what zoneadm reads, and how hooks take what they are called with."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command import Done
from hypothesis import given
from hypothesis import strategies as st
from lifecycle import brandfiles, hooks
from lifecycle.brandfiles import PlatformMount
from needs import needs

from partialroot.brand import arguments
from partialroot.brand.arguments import parse_call, parse_clone, parse_install, parse_uninstall
from partialroot.errors import PartialRootError, UsageError, ZonepathError

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGING = CHECKOUT / "packaging"
BRAND = "partial-root"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What install-brand lays down."""
    destination = tmp_path_factory.mktemp("brand") / "destination"
    destination.mkdir()
    command = [
        sys.executable,
        str(CHECKOUT / "scripts/install-brand"),
        str(destination),
        "--python",
        "/x/python",
    ]
    subprocess.run(command, check=True)
    return destination


# --- files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brand(installed: Path) -> brandfiles.Brand:
    return brandfiles.load(BRAND, installed / "usr/lib/brand")


def test_every_hook_is_one_the_entry_knows(brand: brandfiles.Brand) -> None:
    from partialroot.brand.hooks import _HOOKS

    called = {}
    for element, text in brand.elements.items():
        if text.startswith("/usr/lib/brand"):
            program, name, *words = text.split(" ")
            assert program == f"/usr/lib/brand/{BRAND}/hook" and words[:2] == ["%z", "%R"]
            called[element] = name
    assert called == {name: name for name in _HOOKS}


def test_verify_adm_ends_in_a_blank(brand: brandfiles.Brand) -> None:
    texts = [text for text in brand.elements.values() if text.endswith(" ")]
    assert texts == [brand.elements["verify_adm"]]


def test_the_declared_options_are_those_that_are_parsed(brand: brandfiles.Brand) -> None:
    assert brand.text("installopts") == arguments.INSTALL_OPTIONS
    passed = hooks.options(["-p", "node", "-s", "/a", "-pnet"], brand.text("installopts"))
    assert passed == " -pnode -s/a -pnet"


def test_the_shared_layer_is_mounted_read_only_without_devices(brand: brandfiles.Brand) -> None:
    mounts = {one.directory: one for one in brand.mounts("global_mount", "web", "/z/web")}
    assert mounts.keys() == {"/dev", "/usr", "/lib", "/sbin"}
    for top in ("/usr", "/lib", "/sbin"):
        assert mounts[top] == PlatformMount(f"/z/web/image{top}", top, "lofs", "ro,nodevices")
    assert brand.platform.get("allow-exclusive-ip") == "true"


def test_the_template_is_of_the_brand(installed: Path) -> None:
    text = (installed / "etc/zones/TRIBpartial.xml").read_text()
    top = ElementTree.fromstring(text)
    assert (top.get("brand"), top.get("zonepath"), top.get("autoboot")) == (BRAND, "", "false")


def test_lines_leave_room_for_arguments(brand: brandfiles.Brand) -> None:
    longest = max(len(text) for text in brand.elements.values())
    assert longest < 100


def test_prototype_lists_what_is_installed(installed: Path) -> None:
    found = {}
    for path in sorted(installed.rglob("*")):
        kind = "d" if path.is_dir() else "f"
        found[str(path.relative_to(installed))] = (kind, path.stat().st_mode & 0o7777)
    listed = {}
    for line in (PACKAGING / "prototype").read_text().splitlines()[1:]:
        kind, _, name, mode, _, _ = line.split(" ")
        listed[name] = (kind, int(mode, 8))
    assert listed == found


@needs("root")
def test_files_belong_to_root(installed: Path) -> None:
    lines = (PACKAGING / "prototype").read_text().splitlines()[1:]
    groups = {name: group for _, _, name, _, _, group in (line.split(" ") for line in lines)}
    for path in installed.rglob("*"):
        assert path.stat().st_uid == 0 and not path.stat().st_mode & 0o022
        assert path.is_dir() or path.group() == groups[str(path.relative_to(installed))]


def test_hooks_run_isolated_by_the_interpreter_that_is_named(installed: Path) -> None:
    for name in ("hook", "zap-upgrade"):
        first = (installed / f"usr/lib/brand/{BRAND}/{name}").read_text().splitlines()[0]
        assert first == "#!/x/python -I"


def test_package_is_described() -> None:
    lines = (PACKAGING / "pkginfo").read_text().splitlines()
    described = dict(line.split("=", 1) for line in lines)
    assert {"PKG", "NAME", "VERSION", "ARCH", "CATEGORY", "BASEDIR"} <= described.keys()
    from partialroot import __version__

    assert described["VERSION"] == f'"{__version__}"'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of what it is made of."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("partialroot", "manifests", "docs", "packaging"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, place / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, place)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=place, check=True, capture_output=True)
    (built,) = place.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.mark.parametrize("page", ["partialroot.8", "partial-root.7"])
def test_manual_pages_are_in_the_wheel(wheel: zipfile.ZipFile, page: str) -> None:
    """Where pip puts them below its prefix: share/man."""
    place = f".data/data/share/man/man{page[-1]}/{page}"
    (name,) = (name for name in wheel.namelist() if name.endswith(place))
    assert wheel.read(name) == (CHECKOUT / "docs/man" / page).read_bytes()


@needs("mandoc")
@pytest.mark.parametrize("page", ["partialroot.8", "partial-root.7"])
def test_manual_pages_are_sound(page: str) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(CHECKOUT / "docs/man" / page)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_manual_knows_every_verb_and_option() -> None:
    from partialroot.cli import MODULES

    text = (CHECKOUT / "docs/man/partialroot.8").read_text()
    described = set(re.findall(r"\w+", " ".join(re.findall(r"^\.It (Cm .*)$", text, re.MULTILINE))))
    assert described >= MODULES.keys()
    parser = (CHECKOUT / "partialroot/cli/arguments.py").read_text()
    options = set(re.findall(r'"-(-[a-z-]+)"', parser))
    assert options and options <= set(re.findall(r"^\.It Fl .*?(-[a-z-]+)(?: |$)", text, re.MULTILINE))
    brand_text = (CHECKOUT / "docs/man/partial-root.7").read_text()
    letters = arguments.INSTALL_OPTIONS.replace(":", "")
    assert not [letter for letter in letters if f".It Fl {letter}" not in brand_text]


# --- arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], UsageError),
        (["web"], UsageError),
        (["global", "/z"], UsageError),
        (["../web", "/z"], UsageError),
        (["web", "relative"], ZonepathError),
        (["web", "/z/../etc"], ZonepathError),
        (["web", "/z/"], ZonepathError),
        (["web", "/z w"], ZonepathError),
        (["web", "/z;w"], ZonepathError),
        (["web", "-"], ZonepathError),
    ],
)
def test_strange_calls_are_refused(words: list[str], error: type[PartialRootError]) -> None:
    with pytest.raises(error):
        parse_call(words)


def test_who_is_cloned_comes_last() -> None:
    """Behind zoneadm's own options; how it is copied is the brand's business."""
    assert parse_clone(["-m", "copy", "other"]) == "other"


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_words_are_a_wish_or_an_error_of_ours(words: list[str]) -> None:
    for parse in (parse_call, parse_clone, parse_install, parse_uninstall):
        try:
            parse(words)
        except PartialRootError as error:
            assert error.message


def test_profiles_come_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# comment\n\nb # why\n/root/c.toml\n")
    wish = parse_install(["-pa", f"-s{tmp_path}/list", "-pd", "-xnodataset"])
    assert wish.profiles == ("a", "b", "/root/c.toml", "d")


def test_overlays_and_tarballs() -> None:
    wish = parse_install(["-pa", "-onet-server", "-ojava", "-xnodataset"])
    assert (wish.profiles, wish.overlays, wish.tarball) == (("a",), ("net-server", "java"), None)
    assert parse_install(["-i/a/zone.tar.gz"]).tarball == Path("/a/zone.tar.gz")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-ojava"], "no profile"),
        (["-i/a/z.tar.gz", "-pa"], "all that is in"),
        (["-i/a/z.tar.gz", "-ojava"], "all that is in"),
        (["-i/a/z.tar.gz", "-i/b/z.tar.gz"], "all that is in"),
        (["-iz.tar.gz"], "absolute"),
    ],
)
def test_wishes_that_make_no_sense(words: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_install(words)


def test_lists_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a\n" * arguments.MAX_SPEC)
    with pytest.raises(UsageError, match="longer"):
        parse_install([f"-s{tmp_path}/list"])


# --- the entry ----------------------------------------------------------------------------------------

ENTRY = "import sys; from partialroot.brand.hooks import main; sys.exit(main())"


def call(*words: str, stdin: int = subprocess.DEVNULL, stderr: int = subprocess.PIPE) -> Done:
    """Run the entry as a process."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", ENTRY, *words]
    done = subprocess.run(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
    )
    return Done(done.returncode, done.stdout, done.stderr or "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 253),
        (["nothing"], 253),
        (["install"], 253),
        (["query", "web", "/z/web", "more"], 253),
        (["prestatechange", "web", "/z/web"], 253),
        (["clone", "web", "/z/web"], 253),
        (["clone", "web", "/z/web", "-s", "rpool/z/other@monday", "other"], 253),
        (["clone", "web", "/z/web", "-m", "copy"], 253),
        (["verify_adm", "web", "-", "uninstall"], 255),
        (["zap_upgrade", "-R", "/a"], 253),
        (["verify_adm", "web", "/z/web", "list", "-p"], 0),
        (["verify_adm", "web", "/z/web"], 0),
        (["verify_adm", "web", "-", "attach", "-n", "/tmp/manifest"], 0),
        (["verify_adm", "web", "/z/odd", "path", "list"], 0),
        (["prestatechange", "web", "/z/web", "2", "1"], 0),
        (["poststatechange", "web", "/z/web", "2", "0", ""], 0),
    ],
)
def test_exit_codes(words: list[str], code: int) -> None:
    done = call(*words)
    assert done.code == code
    assert "Traceback" not in done.err
    assert (done.out + done.err).startswith("partial-root: ") == (code != 0)


def test_what_zoneadmd_gives_is_put_right() -> None:
    """0 cannot be read, 2 cannot be written: messages go where output goes."""
    reader, writer = os.pipe()
    done = call("prestatechange", "web", stdin=writer, stderr=reader)
    os.close(reader)
    os.close(writer)
    assert done.code == 253 and done.out.startswith("partial-root: a hook is called with")


SETTLE = """
import json, os, sys
from partialroot.brand.process import settle
os.umask(0)
settle(by_zoneadmd=False)
print(json.dumps([dict(os.environ), os.getcwd(), os.umask(0), sys.stdin is not None, os.read(0, 1).decode()]))
print("and this is an error", file=sys.stderr)
"""


def test_nothing_of_the_caller_is_kept(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(CHECKOUT), "LD_PRELOAD": "", "_ZONEADM_LOCK_HELD": "1", "PATH": "/evil"}
    done = subprocess.run(
        [sys.executable, "-c", SETTLE],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        input="typed",
    )
    left, directory, umask, _, read = json.loads(done.stdout)
    assert left == {"PATH": "/usr/bin:/usr/sbin", "LC_ALL": "C.UTF-8", "_ZONEADM_LOCK_HELD": "1"}
    assert (directory, umask, read) == ("/", 0o22, "")
    assert done.stderr == "and this is an error\n"


def test_closed_files_become_none() -> None:
    line = f'{sys.executable} -c "{ENTRY}" nothing <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", line], env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
    assert done.returncode == 253


def test_a_call_without_work_imports_little() -> None:
    code = (
        "import sys; from partialroot.brand.hooks import main; "
        "main(['verify_adm', 'web', '/z/web', 'list']); print('partialroot.pipeline' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-Ic", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
