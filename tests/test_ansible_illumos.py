"""The collection's role on illumos: zones of the brand, by community.general.solaris_zone and zoneadm.

Ansible is real, and so is solaris_zone; it runs in a machine whose Python says that it is SunOS.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from branded import CHECKOUT, Branded
from lifecycle.machine import NEEDS
from needs import needs

COLLECTION = CHECKOUT / "packaging/ansible"
BIN = Path(sys.executable).parent
SUNOS = 'import os\nos.uname = lambda: os.uname_result(("SunOS", "host", "5.11", "illumos", "i86pc"))\n'
PYTHON = '#!/bin/sh\nPYTHONPATH=/usr/lib/sunos exec {python} "$@"\n'

pytestmark = needs(*NEEDS, "zfs", "busybox", "solaris_zone")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Branded]:
    """A machine with the brand, the collection, and a Python that says it is SunOS."""
    (tmp_path / "machine").mkdir()
    machine = Branded(tmp_path / "machine")
    try:
        galaxy(tmp_path, "build", COLLECTION)
        (packed,) = tmp_path.glob("partialroot-zones-*.tar.gz")
        galaxy(tmp_path, "install", packed, "--offline", "-p", machine.path("/usr/share/ansible/collections"))
        machine.path("/dev/shm").mkdir(mode=0o1777)
        machine.write("/usr/lib/sunos/sitecustomize.py", SUNOS)
        machine.write("/usr/bin/python-sunos", PYTHON.format(python=sys.executable), 0o755)
        yield machine
    finally:
        machine.close()


def galaxy(place: Path, *words: str | Path) -> None:
    """Run ``ansible-galaxy collection``."""
    environment = os.environ | {"ANSIBLE_HOME": str(place / "home")}
    line = [BIN / "ansible-galaxy", "collection", *words]
    subprocess.run(line, cwd=place, env=environment, check=True, capture_output=True)


def play(machine: Branded, *zones: dict[str, Any], check: bool = False) -> int:
    """Run the collection's example for some zones, on the machine itself; return how many tasks changed."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python-sunos",
        "partialroot_package": "",
        "partialroot_zones": zones,
    }
    machine.write("/run/inventory.json", json.dumps({"illumos_hosts": {"hosts": {"here": variables}}}))
    (site,) = yaml.safe_load((COLLECTION / "docs/examples/illumos.yml").read_text())
    machine.write("/run/site.yml", json.dumps([{**site, "vars": {}}]))
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": "/usr/share/ansible/collections:/usr/lib/python3/dist-packages",
        "ANSIBLE_HOME": "/run/ansible",
        "ANSIBLE_STDOUT_CALLBACK": "oneline",
        "HOME": "/run",
    }
    line = [str(BIN / "ansible-playbook"), "-i", "/run/inventory.json", "--tags", "partialroot_zones"]
    said = machine.run(*line, *(["--check"] if check else []), "/run/site.yml", environment=environment)
    return said.out.count("CHANGED")


def zone(name: str, state: str, **about: Any) -> dict[str, Any]:
    """Return one zone of a list."""
    return {"zonepath": f"/export/zones/{name}", "profiles": ["page"], "state": state, **about}


def test_a_zone_of_the_brand(machine: Branded) -> None:
    """Configured, installed by -p and booted; the second time nothing; stopped and taken away."""
    before = machine.datasets("rpool/export")
    web = zone("web", "booted", config="set autoboot=true")
    assert play(machine, web, check=True) == 1  # zoneadm can only be asked about a zone that is configured
    assert not machine.path("/etc/zones/web.xml").exists()
    assert play(machine, web, zone("never", "absent")) == 3
    assert machine.state("web") == "running"
    assert machine.run("zlogin", "-S", "web", "cat /srv/index.html").out == "hello world\n"
    assert play(machine, web) == 0
    assert play(machine, zone("web", "absent")) == 1
    assert machine.datasets("rpool/export") == before
