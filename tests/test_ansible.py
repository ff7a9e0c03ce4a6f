"""The Ansible collection, by real ansible over ssh to two hosts: what a play changes, shows and refuses.

The hosts reach nothing but the controller: what they install are files of the controller.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hosts import NEEDS, Host, Network, network
from needs import needs
from treedump import differences, dump
from wheels import build, pack_needed

CHECKOUT = Path(__file__).resolve().parent.parent
COLLECTION = CHECKOUT / "packaging/ansible"
PYTHON = str(Path(sys.base_prefix, "bin/python3"))  # the one that runs this, outside of its environment
SECONDS = 900  # for a play, on a machine that has other things to do
ZONES = "Bring each zone to its state"
PAGE = """
summary = "A page"
programs = ["busybox"]
[parameters]
who = "nobody"
[text."/srv/index.html"]
content = "hello from @who@\\n"
[start]
command = ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/srv"]
"""

pytestmark = needs(*NEEDS, "busybox", "glibc", "runc")


class Played(NamedTuple):
    """What a play left: all it printed, and the result of each task on each host."""

    out: str
    results: tuple[dict[str, Any], ...]

    def changed(self, host: str) -> list[str]:
        """Return the tasks that changed something on a host, in their order."""
        return [one["task"] for one in self.results if one["host"] == host and one.get("changed")]

    def zones(self, host: str) -> list[dict[str, Any]]:
        """Return the results of a host's zones, in the order of its list."""
        (task,) = (one for one in self.results if (one["host"], one["task"]) == (host, ZONES))
        results: list[dict[str, Any]] = task["results"]
        return results


class Controller:
    """Where ansible runs: a collection, packages and profiles in a directory, and hosts to reach."""

    def __init__(self, place: Path, hosts: Network) -> None:
        self.place, self.hosts = place, hosts.hosts
        self._inside = (*hosts.controller, "env", f"--chdir={place}")
        self._environment = os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(place / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests/callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "results",
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_LOCAL_TEMP": str(place / "home/tmp"),
            "ANSIBLE_REMOTE_TEMP": "/tmp/ansible",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_TIMEOUT": str(SECONDS),
            "ANSIBLE_GATHER_TIMEOUT": str(SECONDS),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(place / "facts"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_ARGS": f"-F {hosts.ssh_config} -o ControlMaster=auto -o ControlPersist=60",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(place / "home"),
            "RESULTS": str(place / "results"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run one of ansible's commands; fails unless it exits with ``code``. Returns what it printed."""
        line = [*self._inside, *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, env=self._environment, timeout=SECONDS)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def play(self, *options: str, zones: Sequence[dict[str, Any]], code: int = 0) -> Played:
        """Run the collection's example on the hosts, for a list of zones."""
        (self.place / "results").write_text("")
        (self.place / "inventory.json").write_text(json.dumps(self._inventory(zones)))
        out = self.run("ansible-playbook", "-i", "inventory.json", *options, SITE, code=code)
        results = (self.place / "results").read_text().splitlines()
        return Played(out, tuple(map(json.loads, results)))

    def _inventory(self, zones: Sequence[dict[str, Any]]) -> dict[str, Any]:
        own = {one.name: {"ansible_host": one.address, "zones": zones_of(one)} for one in self.hosts}
        shared = {
            "ansible_python_interpreter": PYTHON,
            "partialroot_python": PYTHON,
            "partialroot_package": "partialroot",
            "partialroot_wheels": str(self.place / "wheels.tar.gz"),
            "partialroot_profiles": [str(self.place / "page.toml")],
            "partialroot_zones": zones,
        }
        return {"zone_hosts": {"hosts": own, "vars": shared}}


SITE = COLLECTION / "docs/examples/site.yml"
ONE = ("--limit", "alpha")
ONLY_ZONES = ("--tags", "partialroot_zones")
NOT_THE_TOOL = ("--tags", "partialroot_profiles,partialroot_zones")


def zones_of(host: Host) -> str:
    """Return where a host has its zones: control groups, which are this computer's, know them by path."""
    return f"/zones/{host.name}-{os.getpid()}"


def zone(name: str, *profiles: str, state: str = "present", **about: Any) -> dict[str, Any]:
    """Return one zone of a list, for any host."""
    return {"zonepath": f"{{{{ zones }}}}/{name}", "profiles": profiles, "state": state, **about}


def web(state: str = "present", **about: Any) -> dict[str, Any]:
    """Return a zone that differs by host."""
    return zone("web", "page", state=state, parameters={"who": "{{ inventory_hostname }}"}, **about)


PLAIN = zone("plain", "base", "blank")


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Two bare hosts, and on the controller what is to be installed on them."""
    place = tmp_path_factory.mktemp("ansible")
    (place / "page.toml").write_text(PAGE)
    (place / "wheels").mkdir()
    build(place / "wheels")
    pack_needed(place / "wheels")
    with tarfile.open(place / "wheels.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(place / "wheels", ".")
    with network(place, ("alpha", "beta")) as hosts:
        controller = Controller(place, hosts)
        install_collection(controller)
        try:
            yield controller
        finally:  # a test that fails leaves zones running: with them their control groups would stay
            for host in controller.hosts:
                host.run("partialroot halt --all --grace 0 >/dev/null 2>&1 || :")


def install_collection(controller: Controller) -> None:
    """Pack the collection and install it as a user would who has the file."""
    controller.run("ansible-galaxy", "collection", "build", COLLECTION, "--output-path", ".")
    (packed,) = controller.place.glob("partialroot-zones-*.tar.gz")
    controller.run("ansible-galaxy", "collection", "install", packed, "--offline", "-p", "collections")


Dumps = dict[str, list[str]]


def on_disk(controller: Controller) -> Dumps:
    """Return all that was written on each host."""
    return {host.name: dump(host.upper) for host in controller.hosts}


class First(NamedTuple):
    """What the first play said in check mode, for one host; what that changed on disk; what it said then."""

    looked: Played
    changes: Dumps
    played: Played


@pytest.fixture(scope="module")
def first(controller: Controller) -> First:
    """The first play on the bare hosts."""
    before = on_disk(controller)
    looked = controller.play("--check", "--diff", *ONE, zones=[web(), PLAIN])
    after = on_disk(controller)
    changes = {host: differences(before[host], after[host]) for host in before}
    return First(looked, changes, controller.play(zones=[web(), PLAIN]))


class TestFirst:
    """A bare host gets the tool, the profiles and the zones."""

    def test_check_mode_writes_nothing(self, first: First) -> None:
        assert first.changes == {"alpha": [], "beta": []}

    def test_check_mode_says_what_would_be_done(self, first: First) -> None:
        unsaid = {"Unpack the wheels"}  # where there is no place for them yet
        done = [one for one in first.played.changed("alpha") if one not in unsaid]
        assert first.looked.changed("alpha") == done
        assert ZONES in done
        assert "so what it would do cannot be told" in first.looked.out

    def test_all_is_there(self, controller: Controller, first: First) -> None:
        for host in controller.hosts:
            (page,) = dump(host.upper / "etc/partialroot/profiles")[1:]
            assert re.match(r"/page.toml file 0644 0:0 ", page)
            assert [one["changed"] for one in first.played.zones(host.name)] == [True, True]
            said = host.run(
                f"cat {zones_of(host)}/web/root/srv/index.html; partialroot status --all -q && echo current"
            )
            assert said == f"hello from {host.name}\ncurrent\n"

    def test_the_second_play_has_nothing_to_do(self, controller: Controller, first: First) -> None:
        before = on_disk(controller)
        again = controller.play(zones=[web(), PLAIN])
        assert [again.changed("alpha"), again.changed("beta")] == [[], []]
        assert changes_since(before, controller) == {"alpha": [], "beta": []}


# What looking leaves: locks are taken, links tried in the store, what was read and chosen is remembered.
LOOKED = re.compile(
    r"[-+]/var/lib/partialroot(?:(?:/locks|/settled)? dir|/(?:memory|settled/observed-\w+) file) "
)


def changes_since(before: Dumps, controller: Controller) -> Dumps:
    """Return what was written on each host, other than by looking."""
    after = on_disk(controller)
    found = {host: differences(before[host], after[host]) for host in before}
    return {host: [line for line in lines if not LOOKED.match(line)] for host, lines in found.items()}


def test_a_changed_profile_changes_what_follows_from_it(controller: Controller, first: First) -> None:
    """In check mode the profile is not on the hosts yet; the zones' differences are those that come."""
    (controller.place / "page.toml").write_text(PAGE.replace("hello", "goodbye"))
    before = on_disk(controller)
    looked = controller.play("--check", "--diff", *ONE, zones=[web(), PLAIN])
    assert changes_since(before, controller) == {"alpha": [], "beta": []}
    played = controller.play("--diff", zones=[web(), PLAIN])
    assert looked.changed("alpha") == played.changed("alpha")
    assert looked.zones("alpha")[0]["diff"] == played.zones("alpha")[0]["diff"]
    for host in controller.hosts:
        assert played.changed(host.name) == ["Copy the profiles", ZONES]
        assert [one["changed"] for one in played.zones(host.name)] == [True, False]
        diff = played.zones(host.name)[0]["diff"]
        line = r"/srv/index.html file 0644 0:0 write sha256:[0-9a-f]{12}\n"
        assert re.fullmatch(line, diff["before"]) and re.fullmatch(line, diff["after"])
        assert diff["after"] != diff["before"]
        assert host.run(f"cat {zones_of(host)}/web/root/srv/index.html") == f"goodbye from {host.name}\n"
        assert not host.run("ls /tmp | grep -v ansible || :")
    (controller.place / "page.toml").write_text(PAGE)


def test_a_zone_runs_restarts_and_goes(controller: Controller, first: First) -> None:
    booted = controller.play(*NOT_THE_TOOL, zones=[web("booted")])
    for host in controller.hosts:
        (result,) = booted.zones(host.name)
        assert (result["changed"], result["running"], result["runtime"]) == (True, True, "runc")
        assert page_of(host, result["address"]) == f"hello from {host.name}\n"
    again = controller.play(*ONE, *ONLY_ZONES, zones=[web("booted"), zone("plain", state="refreshed")])
    assert again.changed("alpha") == []

    (controller.place / "page.toml").write_text(PAGE.replace("hello", "welcome"))
    zones = [web("booted"), zone("web", state="refreshed")]
    refused = controller.play("--diff", *ONE, *NOT_THE_TOOL, zones=zones, code=2)
    said, staged = refused.zones("alpha")
    assert (said["failed"], said["kind"], said["changed"]) == (True, "busy", False)
    assert said["hint"] == f"partialroot halt {said['zonepath']}"
    assert re.search(f"the zone is running: process [0-9]+[.] Hint: {said['hint']}$", said["msg"])
    assert (staged["changed"], staged["staged"], staged["paths"]["modified"]) == (
        True,
        True,
        ["/srv/index.html"],
    )
    assert staged["diff"]["before"] == "/srv/index.html as it was\n"
    restarted = controller.play(*ONE, *ONLY_ZONES, zones=[web("booted", restart=True)])
    assert page_of(controller.hosts[0], restarted.zones("alpha")[0]["address"]) == "welcome from alpha\n"

    names = ("web", "plain", "never")
    gone = controller.play("--diff", *ONLY_ZONES, zones=[zone(name, state="absent") for name in names])
    for host in controller.hosts:
        assert [one["changed"] for one in gone.zones(host.name)] == [True, True, False]
        assert re.fullmatch(
            r"profiles page\nimage [0-9a-f]{64}\n", gone.zones(host.name)[0]["diff"]["before"]
        )
        assert not host.run(f"ls -d {zones_of(host)} || :")
        assert not host.run("find /var/lib/partialroot/images /run/partialroot -mindepth 1 2>/dev/null || :")


def page_of(host: Host, address: str) -> str:
    """Return the page that a zone serves, as its host sees it, once it listens."""
    fetch = f"busybox wget -q -O - http://{address}:8000/index.html"
    return host.run(f"for try in $(seq 1000); do {fetch} && break; sleep 0.1; done")


@pytest.fixture(scope="module")
def mixed(controller: Controller, first: First) -> Played:
    """A play of a zone that one host lacks the program for, and of one with a secret, as loud as can be."""
    program = "{{ '/bin/busybox' if inventory_hostname == 'alpha' else 'nosuchprogram' }}"
    secret = {"who": "hunter2-{{ inventory_hostname }}"}
    zones = [
        zone("own", "static", parameters={"program": program}),
        zone("secret", "page", secret_parameters=secret),
    ]
    return controller.play("--diff", "-vvv", zones=zones, code=2)


def test_a_bad_host_does_not_stop_the_other(controller: Controller, mixed: Played) -> None:
    """What is missing is said in the tool's own words; nothing of that zone is there, and the next one is."""
    assert [one["changed"] for one in mixed.zones("alpha")] == [True, True]
    failed, secret = mixed.zones("beta")
    assert (failed["failed"], failed["changed"], secret["changed"]) == (True, False, True)
    assert failed["msg"].startswith("missing from the source: nosuchprogram (needed by static.toml:")
    assert failed["hint"] == "install what is missing, or leave out what needs it"
    assert failed["msg"].endswith(f"Hint: {failed['hint']}")
    assert (failed["kind"], {one["name"] for one in failed["missing"]}) == ("missing", {"nosuchprogram"})
    there = controller.hosts[1].run(f"ls {zones_of(controller.hosts[1])}").split()
    assert "secret" in there and "own" not in there


def test_no_secret_is_shown(controller: Controller, mixed: Played) -> None:
    assert "hunter2" not in mixed.out + json.dumps(mixed.results)
    for host in controller.hosts:
        page = host.run(f"cat {zones_of(host)}/secret/root/srv/index.html")
        assert re.fullmatch(rf"\w+ from hunter2-{host.name}\n", page)
