"""The house rules: what may import what, who may print, what no file may say, and clean linters."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from needs import packages

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "partialroot"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each part may import only from parts above it; cli and brand know nothing of each other.
LAYERS = [
    ["errors"],
    ["paths"],
    ["globs"],
    ["nodes"],
    ["model"],
    ["observed"],
    ["profiles"],
    ["source"],
    ["closure"],
    ["plan"],
    ["learn"],
    ["host"],
    ["zone"],
    ["accounting"],
    ["pipeline"],
    ["cli", "brand"],
    ["__main__"],
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

# Importing these takes longer than many a run: only inside the functions that use them.
HEAVY = {
    "concurrent",
    "ctypes",
    "elftools",
    "multiprocessing",
    "plumbum",
    "psutil",
    "pyroute2",
    "rich",
    "sqlite3",
    "subprocess",
    "tempfile",
}

LOUD = {"print", "input", "exit", "quit", "sys.exit", "sys.stdin", "sys.stdout", "sys.stderr", "os._exit"}


def ids(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, inside functions too unless ``top_only``."""
    nodes = parsed(path).body if top_only else ast.walk(parsed(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{ids(path)}:{node.lineno}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in NAMES else str(node.module)


def part_of(module: str) -> str:
    """Return which part of the program a module belongs to: partialroot.zone.fs is of zone."""
    return [*module.split("."), "__init__"][1]


def test_every_part_has_its_layer() -> None:
    assert {part_of(name) for name in NAMES} - {"__init__"} <= RANK.keys()


def test_imports_go_one_way() -> None:
    wrong = []
    for module, path in NAMES.items():
        here = part_of(module)
        theirs = [name for name in imports(path) if name.startswith("partialroot.") and part_of(name) != here]
        wrong += [f"{module} imports {name}" for name in theirs if RANK[part_of(name)] >= RANK.get(here, -1)]
    assert not wrong


def test_no_cycles() -> None:
    graph = {
        name: {one for one in imports(path) if one in NAMES and one != name} for name, path in NAMES.items()
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "import cycle: " + " -> ".join([*trail[trail.index(name) :], name])
        if name not in finished:
            for imported in graph[name]:
                visit(imported, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


def test_heavy_imports_are_made_where_used() -> None:
    heavy = {ids(path): {name.partition(".")[0] for name in imports(path, top_only=True)} for path in MODULES}
    assert not {path: names & HEAVY for path, names in heavy.items() if names & HEAVY}


def test_only_cli_and_brand_print_or_exit() -> None:
    quiet = [path for path in MODULES if part_of(module_name(path)) not in ("cli", "brand", "__main__")]
    assert not [f"{ids(path)}:{node.lineno}" for path in quiet for node in loud(path)]


def loud(path: Path) -> Iterator[ast.expr]:
    """Yield what prints, reads from the terminal or exits; a child that was forked must end by os._exit."""
    named = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Name | ast.Attribute)]
    forks = any(ast.unparse(node) == "os.fork" for node in named)
    allowed = {"os._exit"} if forks else set()
    yield from (node for node in named if ast.unparse(node) in LOUD - allowed)


def test_files_are_short() -> None:
    lengths = {ids(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {path: lines for path, lines in lengths.items() if lines >= 400}


def test_functions_are_short() -> None:
    lengths = {f"{ids(path)}:{node.lineno}": length(node) for path in MODULES for node in functions(path)}
    assert not {place: lines for place, lines in lengths.items() if lines > 40}
    assert sum(lines <= 15 for lines in lengths.values()) > 0.8 * len(lengths)


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    """Yield the functions and methods of a file."""
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef))


def length(function: ast.FunctionDef) -> int:
    """Return how many lines a function has, its docstring aside."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


FORBIDDEN = {
    "a path of the machine it was made on": r"/wor[k]/|/tm[p]/(?:venv|contract|issue)",
    "a package registry": r"\bpypi\.(?:org|python)|pythonhosted|npmjs\.(?:com|org)|crates\.io|proxy\.golang",
    "a numbered issue of ours": r"(?i)\bissues?\s*#?\d",
    "an unqualified type: ignore or noqa": r"# type: ignore(?!\[)|# noqa(?!: [A-Z])",
}


@cache
def texts() -> dict[str, str]:
    """Return the text of every file of the checkout, this one aside."""
    files = (CHECKOUT / name for name in (committed() or present()) if not name.endswith("test_house.py"))
    return {ids(path): path.read_text("latin-1") for path in files if path.is_file()}


def committed() -> list[str]:
    """Return the names that git knows; none without git or its repository."""
    try:
        listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=CHECKOUT, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [name for name in listed.decode().split("\0") if name]


def present() -> list[str]:
    """Return the names of all files but those in directories that tools make."""
    made = re.compile(r"\.venv|\.git|\.[a-z]+_cache|\.hypothesis|__pycache__|build|\w+\.egg-info")
    found = []
    for top, directories, files in os.walk(CHECKOUT):
        directories[:] = [name for name in directories if not made.fullmatch(name)]
        found += [ids(Path(top, name)) for name in files]
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_says(what: str) -> None:
    found = {name: re.search(FORBIDDEN[what], text) for name, text in texts().items()}
    assert not {name: match.group() for name, match in found.items() if match}


def test_every_need_is_installed_by_ci() -> None:
    installed = set(re.findall(r"[a-z0-9.+-]+", (CHECKOUT / ".ci/run").read_text()))
    assert set(packages()) <= installed


def test_requirements_are_lower_bounds() -> None:
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        assert re.fullmatch(r"[\w-]+(\[[\w-]+\])?>=[\d.]+(; .*)?", requirement), requirement


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", "mypy"], ids=lambda command: command.replace(" ", "-")
)
def test_linters_and_types(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
