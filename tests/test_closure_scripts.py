"""``#!`` lines: judged by the kernel and by env, then in the closure."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import needs

from partialroot.closure import Closure, Wanted, closure
from partialroot.closure.scripts import LINE, Shebang, shebang
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/bin/sh", Shebang("/bin/sh", None)),
        (" \t/bin/sh  -e -u \t", Shebang("/bin/sh", "-e -u")),
        ("/bin/sh -e\0-u", Shebang("/bin/sh", "-e")),
        ("/bin/sh -e\r", Shebang("/bin/sh", "-e\r")),
        ("perl", Shebang("perl", None)),
        ("", None),
        ("\0/bin/sh", None),
    ],
)
def test_a_line(line: str, expected: Shebang | None) -> None:
    assert shebang(f"#!{line}\nrest".encode()) == expected
    assert shebang(b"#!" + line.encode().rstrip(b" \t")) == expected


def test_what_is_no_script() -> None:
    assert shebang(b"") is None
    assert shebang(b"#") is None
    assert shebang(b" #!/bin/sh\n") is None


@needs("gcc")
def test_lines_as_the_kernel_takes_them(tmp_path: Path) -> None:
    """An interpreter that prints its arguments stands where each line says."""
    source = tmp_path / "show.c"
    source.write_text("#include <stdio.h>\nint main(int n, char **a) { while (n--) puts(*a++); return 0; }\n")
    show = tmp_path / "show"
    subprocess.run(["gcc", "-o", show, source], check=True)
    pad = "x" * (LINE - 2 - len(f"{tmp_path}/"))
    names = ["show", pad[:-1], pad, pad + "x"]
    for name in names[1:]:
        os.symlink(show, tmp_path / name)
    for number, rest in enumerate(
        ["", " ", " -a", "\t -a  b \t", " -a\r", " " + "y" * 300, "\0-a", " -a\0b"]
    ):
        for name in names:
            for end in ("\n", ""):
                line = f"#!{tmp_path}/{name}{rest}{end}".encode()
                script = tmp_path / f"script{number}"
                script.write_bytes(line)
                script.chmod(0o755)
                assert shown(script) == _expected(line, script), line


def shown(script: Path) -> list[bytes] | None:
    try:
        run = subprocess.run([script], capture_output=True, check=False)
    except OSError:
        return None
    return [word for word in run.stdout.splitlines() if word] if run.returncode == 0 else None


def _expected(line: bytes, script: Path) -> list[bytes] | None:
    found = shebang(line)
    if found is None or not os.path.exists(found.interpreter):
        return None
    words = [found.interpreter, *([found.argument] if found.argument else []), str(script)]
    return [line for word in words for line in os.fsencode(word).splitlines()]


@pytest.mark.parametrize(
    ("argument", "program"),
    [
        ("python3", "python3"),
        ("-S python3 -u", "python3"),
        ("-Spython3", "python3"),
        ("-iS A=1 B=2 python3 x", "python3"),
        ("-S -u HOME -i python3", "python3"),
        ("-vS --unset=X -C /tmp python3", "python3"),
        ("--split-string=python3 -u", "python3"),
        ("-S 'a program' x", "a program"),
        ("-S", None),
        ("-S A=1", None),
        ("-S 'open", None),
        ("-S ${HOME}/bin/x", None),
        ("-i python3", None),
        ("A=1", None),
    ],
)
def test_what_env_runs(argument: str, program: str | None) -> None:
    found = shebang(f"#!/usr/bin/env {argument}\n".encode())
    assert found is not None
    assert found.program == program


@pytest.mark.parametrize(
    "argument",
    ["tool", "-S tool -u", "-Stool", "-vS --unset=X -C / tool", "-S -u X A=1 tool x", "-S 'a tool' x"],
)
def test_what_env_really_runs(argument: str, tmp_path: Path) -> None:
    """There are programs of those names, which say theirs."""
    for name in ("tool", "a tool"):
        write(tmp_path, f"/{name}", f"#!/bin/sh\nprintf %s '{name}'\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    run = subprocess.run(["env", argument], capture_output=True, text=True, env=environment, check=True)
    assert Shebang("/usr/bin/env", argument).program == run.stdout


@given(st.binary(max_size=300))
def test_arbitrary_lines(line: bytes) -> None:
    found = shebang(b"#!" + line)
    if found is not None:
        assert found.interpreter
        assert found.program != ""


# --- in the closure ----------------------------------------------------------------------------------------


def write(root: Path, path: str, text: str, mode: int = 0o755) -> None:
    place = root / path[1:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def closed(root: Path, path: str = "/usr/bin/run", texts: dict[RootPath, bytes] | None = None) -> Closure:
    wanted = [Wanted(RootPath(path), Reason("program", "test.toml:1"))]
    return closure(Tree(root), wanted, texts=texts)


def test_interpreters_of_interpreters(tmp_path: Path) -> None:
    write(tmp_path, "/usr/bin/run", "#!/usr/bin/one -x\n")
    write(tmp_path, "/usr/bin/one", "#! /opt/two\n")
    write(tmp_path, "/opt/two", "no script")
    found = closed(tmp_path)
    assert found.reasons == {
        RootPath("/usr/bin/run"): (Reason("program", "test.toml:1"),),
        RootPath("/usr/bin/one"): (Reason("script", "/usr/bin/run"),),
        RootPath("/opt/two"): (Reason("script", "/usr/bin/one"),),
    }
    assert found.missing == ()


def test_env_finds_programs_on_the_path(tmp_path: Path) -> None:
    write(tmp_path, "/usr/bin/run", "#!/usr/bin/env -S tool -v\n")
    write(tmp_path, "/usr/bin/env", "")
    write(tmp_path, "/usr/local/bin/tool", "not executable", 0o644)
    write(tmp_path, "/usr/bin/tool", "")
    found = closed(tmp_path)
    assert set(found.reasons) == {"/usr/bin/run", "/usr/bin/env", "/usr/bin/tool"}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write(tmp_path, "/usr/bin/run", "#!/usr/bin/env tool\n")
    missing = {(one.name, one.needed_by, one.severity) for one in closed(tmp_path).missing}
    assert missing == {("/usr/bin/env", "/usr/bin/run", "error"), ("tool", "/usr/bin/run", "error")}


def test_only_what_may_be_executed_is_a_script(tmp_path: Path) -> None:
    write(tmp_path, "/usr/bin/run", "#!/usr/bin/none\n", 0o644)
    assert closed(tmp_path).missing == ()


def test_scripts_that_run_each_other_end(tmp_path: Path) -> None:
    write(tmp_path, "/usr/bin/run", "#!/usr/bin/one\n")
    write(tmp_path, "/usr/bin/one", "#!/usr/bin/run\n")
    assert set(closed(tmp_path).reasons) == {"/usr/bin/run", "/usr/bin/one"}
    for number in range(9):
        write(tmp_path, f"/opt/{number}", f"#!/opt/{number + 1}\n")
    found = closed(tmp_path, "/opt/0")
    assert set(found.reasons) == {f"/opt/{number}" for number in range(6)}
    assert found.warnings == ("/opt/5: the kernel does not run it, too many scripts are run by scripts",)


@needs("glibc")
def test_the_kernel_gives_up_where_we_do(tmp_path: Path) -> None:
    """Five scripts may stand behind each other; a sixth is too many."""
    Path(tmp_path / "0").symlink_to("/bin/true")
    for number in range(1, 8):
        write(tmp_path, f"/{number}", f"#!{tmp_path}/{number - 1}\n")
    works = {number: shown(tmp_path / str(number)) is not None for number in range(1, 8)}
    assert works == {number: number <= 5 for number in range(1, 8)}


def test_a_text_of_the_zone_is_a_script_too(tmp_path: Path) -> None:
    """It may stand where the source has another file, or none."""
    write(tmp_path, "/usr/bin/one", "")
    write(tmp_path, "/usr/bin/old", "#!/usr/bin/none\n")
    for path in ("/srv/run", "/usr/bin/old"):
        found = closed(tmp_path, path, {RootPath(path): b"#!/usr/bin/one\n"})
        assert found.reasons[RootPath("/usr/bin/one")] == (Reason("script", path),)
        assert found.missing == ()
