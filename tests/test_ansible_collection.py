"""The Ansible collection as Ansible's own tools see it: packed, documented, linted, its examples read."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from needs import needs

import partialroot
from partialroot.profiles.library import Library

CHECKOUT = Path(__file__).resolve().parent.parent
COLLECTION = CHECKOUT / "packaging/ansible"
MODULE = COLLECTION / "plugins/modules/partialroot_zone.py"
ROLE = COLLECTION / "roles/partialroot"
DEBIAN = "/usr/lib/python3/dist-packages"  # where Debian's package ansible has community.general
SECONDS = 900  # for a command, on a machine that has other things to do


def ansible(place: Path, *words: str | Path) -> str:
    """Run one of ansible's commands where the collection is installed; return what it printed."""
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": f"{place}:{DEBIAN}",
        "ANSIBLE_HOME": str(place / "home"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    line = list(map(str, words))
    done = subprocess.run(line, capture_output=True, text=True, cwd=place, env=environment, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the collection, packed and installed."""
    place = tmp_path_factory.mktemp("collections")
    ansible(place, "ansible-galaxy", "collection", "build", COLLECTION)
    (packed,) = place.glob("partialroot-zones-*.tar.gz")
    ansible(place, "ansible-galaxy", "collection", "install", packed, "--offline", "-p", place)
    return place


@pytest.fixture(scope="module")
def documented(installed: Path) -> dict[str, Any]:
    """What ansible-doc says of the module."""
    name = "partialroot.zones.partialroot_zone"
    found: dict[str, Any] = json.loads(ansible(installed, "ansible-doc", "--json", "--type", "module", name))
    return found[name]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """The module, imported."""
    spec = importlib.util.spec_from_file_location("partialroot_zone", MODULE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAID = ("type", "elements", "default", "choices", "required", "aliases")


def test_the_arguments_are_as_documented(documented: dict[str, Any], module: ModuleType) -> None:
    """As validate-modules asks: the same names, types, defaults and choices on both sides."""
    doc = documented["doc"]["options"]
    spec = {name: {"type": "str", **about} for name, about in module.ARGUMENTS.items()}
    assert {name: said(about) for name, about in doc.items()} == {
        name: said(about) for name, about in spec.items()
    }
    assert [name for name, about in spec.items() if about.get("no_log")] == ["secret_parameters"]


def said(about: dict[str, Any]) -> dict[str, Any]:
    """Return what documentation and code both say of an argument."""
    return {key: about[key] for key in SAID if about.get(key) not in (None, False, [], {})}


def test_all_that_is_returned_is_documented(documented: dict[str, Any], module: ModuleType) -> None:
    code = MODULE.read_text().rpartition('"""\n\nimport')[2]
    names = {
        "zonepath",
        "image",
        "paths",
        "totals",
        "missing",
        "staged",
        "running",
        "address",
        "pid",
        "runtime",
    }
    assert documented["return"].keys() == {*names, "notes", "kind", "hint"}
    assert not [name for name in documented["return"] if f'"{name}"' not in code and f"{name}=" not in code]


def test_examples_use_the_arguments_there_are(documented: dict[str, Any]) -> None:
    tasks = [task["partialroot.zones.partialroot_zone"] for task in yaml.safe_load(documented["examples"])]
    assert {task.get("state", "present") for task in tasks} == {"present", "booted", "refreshed", "absent"}
    assert not [name for task in tasks for name in task if name not in documented["doc"]["options"]]


def test_the_role_passes_on_what_the_module_takes(documented: dict[str, Any]) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/zones.yml").read_text())
    (passed,) = tasks_of(tasks, "partialroot.zones.partialroot_zone")
    assert passed.keys() == documented["doc"]["options"].keys()


def test_the_role_s_variables_are_documented() -> None:
    """All but the list of zones: Ansible shows the values of what it validates, and that may hold secrets."""
    documented = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    assert {
        **{name: about["default"] for name, about in documented["options"].items()},
        "partialroot_zones": [],
    } == defaults
    assert "partialroot_zones" in str(documented["description"])


def test_the_version_is_the_tool_s() -> None:
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"] == partialroot.__version__


@pytest.mark.parametrize("example", ["site.yml", "illumos.yml"])
def test_examples_are_understood(installed: Path, example: str) -> None:
    inventory = COLLECTION / "docs/examples/inventory.yml"
    ansible(
        installed,
        "ansible-playbook",
        "--syntax-check",
        "-i",
        inventory,
        COLLECTION / "docs/examples" / example,
    )


def test_the_example_s_profile_composes() -> None:
    Library([COLLECTION / "docs/examples/profiles"], "linux").compose(["shop"], {"title": "Cheese"})


@needs("solaris_zone")
class TestWithSolarisZone:
    """What needs community.general."""

    def test_the_brand_s_tasks_use_the_arguments_there_are(self, installed: Path) -> None:
        name = "community.general.solaris_zone"
        options = json.loads(ansible(installed, "ansible-doc", "--json", "--type", "module", name))[name][
            "doc"
        ]["options"]
        used = list(tasks_of(yaml.safe_load((ROLE / "tasks/brand.yml").read_text()), name))
        assert [task["state"] for task in used] == ["absent", "configured"]
        for task in used:
            assert task.keys() <= options.keys()
            assert task["state"] in options["state"]["choices"]

    def test_the_linter_is_content(self, installed: Path) -> None:
        place = installed / "ansible_collections/partialroot/zones"
        ansible(installed, "ansible-lint", "--offline", "--profile", "production", "--strict", place)


def tasks_of(tasks: list[dict[str, Any]], module: str) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each task that uses a module, in blocks too."""
    for task in tasks:
        if module in task:
            yield task[module]
        yield from tasks_of(task.get("block", []), module)
