#!/usr/bin/python
# SPDX-License-Identifier: CDDL-1.0
"""Ansible module: one zone of partialroot is as described. It runs the command line and reads its JSON."""

from __future__ import annotations

DOCUMENTATION = r"""
module: partialroot_zone
short_description: Build, refresh, start, stop and remove zones of partialroot
version_added: "0.1.0"
description:
  - Brings one zone to a state, by C(partialroot) on the managed host.
  - A zone is built in place from the files of the host it is on, as its profiles say. Nothing is downloaded.
author:
  - The partialroot authors (@partialroot)
requirements:
  - partialroot on the managed host; the role P(partialroot.zones.partialroot#role) installs it
  - Python 3.9 or newer on the managed host
notes:
  - Zones of the illumos brand C(partial-root) are C(zoneadm)'s. See the role's documentation for those.
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing it.
    support: full
  diff_mode:
    description: Shows each path that changes with its method, and the digest of the image.
    support: full
  platform:
    description: Where the managed host may be.
    support: full
    platforms: Linux
options:
  zonepath:
    description:
      - The zone's directory.
    type: path
    required: true
    aliases: [path]
  state:
    description:
      - V(present) builds the zone, or brings it to what the profiles say now.
      - V(booted) starts the zone, V(halted) stops it. With O(profiles) they also build it, or bring it up to
        date.
      - V(refreshed) brings a zone to what its files on the host and its profiles are by now. A running zone
        has that at its next boot.
      - V(absent) stops the zone and takes it away.
    type: str
    choices: [present, absent, booted, halted, refreshed]
    default: present
  profiles:
    description:
      - What the zone contains and runs. Names of profiles, or absolute paths on the managed host that end in
        C(.toml).
      - Needed for O(state=present).
    type: list
    elements: str
    default: []
  parameters:
    description:
      - Parameters of the profiles.
    type: dict
    default: {}
  secret_parameters:
    description:
      - Parameters of the profiles whose values no output of Ansible shows.
      - Who is root on the managed host finds them in the zone and in its receipt.
    type: dict
    default: {}
  manifests:
    description:
      - Directories on the managed host where profiles are looked up first.
    type: list
    elements: path
    default: []
  preview_profiles:
    description:
      - In check mode, the profiles of this directory are seen in place of those in
        F(/etc/partialroot/profiles).
      - For who puts profiles there in the same play, and wants check mode to see through to the zones. The
        role does that.
    type: path
  source:
    description:
      - The root that the zone's files come from.
    type: path
    default: /
  share:
    description:
      - The methods that are allowed, as C(--share) takes them.
    type: str
    default: auto
  hostname:
    description:
      - The zone's host name. The last part of its zonepath if there is none.
    type: str
  address:
    description:
      - The zone's network address. Without one it has a link-local address, which the return value
        RV(address) tells when it is booted.
    type: str
  trust_zone:
    description:
      - The zone may write files of the source and use the host's network, if its profiles say so.
    type: bool
    default: false
  restart:
    description:
      - A zone that runs and would change is halted first and booted again afterwards. Otherwise the task
        fails and the zone keeps running.
    type: bool
    default: false
  runtime:
    description:
      - What isolates the zone.
    type: str
    choices: [auto, runc, bwrap, chroot]
    default: auto
  grace:
    description:
      - How many seconds a zone that is halted has before it is killed.
    type: float
    default: 10.0
  store:
    description:
      - Where images and the register of zones live. The tool's default is F(/var/lib/partialroot).
    type: path
  executable:
    description:
      - The command, by name or path.
    type: path
    default: partialroot
"""

EXAMPLES = r"""
- name: A web server, running
  partialroot.zones.partialroot_zone:
    zonepath: /zones/web
    profiles: [node]
    parameters:
      port: 8001
    address: 10.0.7.2
    state: booted

- name: The same after a change of its profile, even if that takes a restart
  partialroot.zones.partialroot_zone:
    zonepath: /zones/web
    profiles: [node]
    parameters:
      port: 8002
    address: 10.0.7.2
    state: booted
    restart: true

- name: A zone with a password, built and not started
  partialroot.zones.partialroot_zone:
    zonepath: /zones/shop
    profiles: [/srv/profiles/shop.toml]
    secret_parameters:
      password: "{{ shop_password }}"

- name: Bring a zone to what the host has by now
  partialroot.zones.partialroot_zone:
    zonepath: /zones/web
    state: refreshed

- name: No zone there any more
  partialroot.zones.partialroot_zone:
    zonepath: /zones/old
    state: absent
"""

RETURN = r"""
zonepath:
  description: The zone's directory.
  type: str
  returned: always
image:
  description: The digest of the image that the zone shares, before and after. V(null) if nothing is shared.
  type: dict
  returned: when the zone was looked at, and always when it was refreshed
  sample: {"before": null, "after": "e5c79d23ea339839fa3fa636d5841f2ede188b3b9c628783556bf21276c70144"}
paths:
  description:
    - Which of the zone's paths are C(added), C(removed), C(modified), or C(kept) as the zone has edited them.
    - Not there for a zone that was built anew.
  type: dict
  returned: in check and diff mode, and always when the zone was refreshed
staged:
  description: Whether the zone runs, and so is refreshed at its next boot.
  type: bool
  returned: for O(state=refreshed)
totals:
  description: The sums of C(populate --json), such as bytes and paths by method.
  type: dict
  returned: when the zone was built
missing:
  description: What the source lacks. Each has C(name), C(needed_by), C(severity) and C(package).
  type: list
  elements: dict
  returned: when the zone was built, or could not be
running:
  description: Whether the zone runs now.
  type: bool
  returned: for O(state=booted) and O(state=halted)
address:
  description: Where the zone is reached. Not there when that is the host itself.
  type: str
  returned: when the zone was booted
  sample: 169.254.36.10
pid:
  description: The zone's first process on the host.
  type: int
  returned: when the zone was booted
runtime:
  description: What isolates the zone.
  type: str
  returned: when the zone was booted
  sample: runc
notes:
  description: What else the tool said, such as that it finished earlier work which was interrupted.
  type: list
  elements: str
  returned: always
kind:
  description: The kind of the error, for programs. See the tool's documentation of its JSON.
  type: str
  returned: failure
  sample: missing
hint:
  description: What to do about the error. It is part of RV(ignore:msg), too.
  type: str
  returned: failure
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, dict[str, Any]] = {
    "zonepath": {"type": "path", "required": True, "aliases": ["path"]},
    "state": {"choices": ["present", "absent", "booted", "halted", "refreshed"], "default": "present"},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "parameters": {"type": "dict", "default": {}},
    "secret_parameters": {"type": "dict", "default": {}, "no_log": True},
    "manifests": {"type": "list", "elements": "path", "default": []},
    "preview_profiles": {"type": "path"},
    "source": {"type": "path", "default": "/"},
    "share": {"default": "auto"},
    "hostname": {},
    "address": {},
    "trust_zone": {"type": "bool", "default": False},
    "restart": {"type": "bool", "default": False},
    "runtime": {"choices": ["auto", "runc", "bwrap", "chroot"], "default": "auto"},
    "grace": {"type": "float", "default": 10.0},
    "store": {"type": "path"},
    "executable": {"type": "path", "default": "partialroot"},
}
PROFILES = "/etc/partialroot/profiles"
# $1 takes the place of $2 for the command that follows, and for it alone.
IN_PLACE = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
MOST_LINES = 1000
"""So many paths a difference shows; the others are counted."""


class Zone:
    """One zone, seen through the command line; ``result`` is what the task will return."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.wish: dict[str, Any] = module.params
        self.zonepath: str = module.params["zonepath"]
        self.tool: str | None = module.get_bin_path(module.params["executable"])
        self.result: dict[str, Any] = {"changed": False, "zonepath": self.zonepath, "notes": []}
        self.before: list[str] = []
        self.after: list[str] = []

    # --- the command line -------------------------------------------------------------------------

    def ask(self, verb: str, *words: str) -> dict[str, Any]:
        """Run a verb on the zone, and return its JSON object; an error in it is the caller's to judge."""
        store = ["--store", self.wish["store"]] if self.wish["store"] else []
        line = [self.tool or "", verb, self.zonepath, *words, *store, "--json"]
        if self.previews and os.path.isdir(PROFILES):
            line = ["unshare", "--mount", "sh", "-ec", IN_PLACE, "sh", self.previews, PROFILES, *line]
        code, out, err = self.module.run_command(line)
        try:
            said: dict[str, Any] = json.loads(out)
        except ValueError:
            msg = f"partialroot {verb} said nothing that can be understood"
            self.module.fail_json(msg=msg, rc=code, stdout=out, stderr=err, **self.result)
        self._hear(err)
        return said

    @property
    def previews(self) -> str | None:
        """The directory with profiles to look at, in check mode."""
        return self.wish["preview_profiles"] if self.module.check_mode else None

    def do(self, verb: str, *words: str) -> dict[str, Any]:
        """The same, where any error fails the task; return what is said of the zone."""
        said = self.ask(verb, *words)
        self.check(said)
        zone: dict[str, Any] = said["zones"][0]
        return zone

    def check(self, said: Mapping[str, Any]) -> None:
        """Fail the task with the error that the tool reports, if any: its message, hint and all."""
        error = said.get("error")
        if not error:
            return
        msg = ": ".join(part for part in (error["path"], error["message"]) if part)
        if error["hint"]:
            msg = f"{msg}. Hint: {error['hint']}"
        about = {"msg": msg, "kind": error["kind"], "hint": error["hint"]}
        self.module.fail_json(**{**self.result, **about, "missing": said.get("missing", [])})

    def _hear(self, err: str) -> None:
        """Pass on what the tool says beside its JSON; errors are in that."""
        for line in err.splitlines():
            text = line.removeprefix("partialroot: ")
            if text.startswith(("warning: ", "missing (warning): ")):
                self.module.warn(f"{self.zonepath}: {text.removeprefix('warning: ')}")
            elif not text.startswith(("error: ", "hint: ", "missing (error): ")):
                self.result["notes"].append(text)

    # --- what a zone should be --------------------------------------------------------------------

    def populate(self) -> None:
        """Build the zone, or bring it to what the profiles say now."""
        would = self._look() if self.module.check_mode or self.module._diff else None
        said = would if would and self.module.check_mode else self.ask("populate", *self._wishes())
        if is_busy(said):
            would = would or self._look()
            said = self._populate_running(said, would)
        self.check(said)
        self.result.update(totals=said["totals"], missing=said["missing"])
        if would:
            self.show(would["zones"][0], would)
        self.result["changed"] |= said["zones"][0]["changed"]

    def _look(self) -> dict[str, Any]:
        return self.ask("populate", *self._wishes(), "--dry-run")

    def _populate_running(self, refused: dict[str, Any], would: dict[str, Any]) -> dict[str, Any]:
        """Return what is said of a zone that runs, which populate refuses even if it has nothing to do."""
        if not is_busy(would):
            return refused  # it does not run: somebody else works on it
        changes = would["zones"][0]["changed"]
        may_halt = self.wish["restart"] or self.wish["state"] == "halted"
        if changes and not may_halt:
            return refused
        if not changes or self.module.check_mode:
            return {**would, "error": None}
        self.do("halt", *self._grace())
        said = self.ask("populate", *self._wishes())
        self._start()  # also if that failed: the zone is then what it was
        self.result["changed"] = True
        return said

    def _wishes(self) -> list[str]:
        """Return the words of populate that say what the zone should be."""
        wish = self.wish
        words = ["--fleet", self._write_fleet(), "--source", wish["source"], "--share", wish["share"]]
        preview = [self.previews] if self.previews and not os.path.isdir(PROFILES) else []
        for place in [*preview, *wish["manifests"]]:
            words += ["--manifests", place]
        return [*words, "--trust-zone"] if wish["trust_zone"] else words

    def _write_fleet(self) -> str:
        """Write what this zone has of its own as a fleet's file: a command line is for everybody to see."""
        wish = self.wish
        says = {name: quoted(wish[name]) for name in ("hostname", "address") if wish[name]}
        says["profiles"] = f"[{', '.join(map(quoted, wish['profiles']))}]"
        parameters = {**wish["parameters"], **wish["secret_parameters"]}
        pairs = (f"{quoted(name)} = {quoted(as_text(value))}" for name, value in parameters.items())
        says["parameters"] = f"{{ {', '.join(pairs)} }}"
        lines = [f"[zones.{quoted(self.zonepath)}]", *(f"{name} = {value}" for name, value in says.items())]
        path = os.path.join(self.module.tmpdir, "zone.toml")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        return path

    def refresh(self) -> None:
        """Bring the zone to what it would be if it were built now."""
        dry = ["--dry-run"] if self.module.check_mode else []
        zone = self.do("refresh", *dry)
        self.result["staged"] = zone["staged"]
        self.show(zone)
        self.result["changed"] |= zone["changed"]

    def boot(self) -> None:
        """Start the zone unless it runs."""
        if not self.runs():
            self.note(["halted"], ["running"])
            if not self.module.check_mode:
                self._start()
        self.result["running"] = True

    def _start(self) -> None:
        options = ["--address", self.wish["address"]] if self.wish["address"] else []
        options += ["--trust-zone"] if self.wish["trust_zone"] else []
        booted = self.do("boot", "--runtime", self.wish["runtime"], *options)
        for loss in booted["not_isolated"]:
            self.module.warn(f"{self.zonepath}: NOT ISOLATED: {loss}")
        self.result.update({key: booted[key] for key in ("address", "pid", "runtime")})

    def halt(self) -> None:
        """Stop the zone if it runs."""
        if self.runs():
            self.note(["running"], ["halted"])
            if not self.module.check_mode:
                self.do("halt", *self._grace())
        self.result["running"] = False

    def remove(self) -> None:
        """Take the zone away, stopped if it runs."""
        status = self.status()
        if not status["exists"]:
            return
        profiles, image = status["profiles"] or ["unknown"], status["image"]
        self.note([f"profiles {' '.join(profiles)}", f"image {image}"])
        self.result["image"] = {"before": image, "after": None}
        if self.module.check_mode:
            return
        if status["running"]:
            self.do("halt", *self._grace())
        self.do("remove")

    def status(self) -> dict[str, Any]:
        """Return what the tool knows of the zone; that there is none is an answer, too."""
        said = self.ask("status")
        if said.get("error", {}).get("kind") != "no-receipt":
            self.check(said)
        zone: dict[str, Any] = said["zones"][0]
        return zone

    def runs(self) -> bool:
        """Return whether a process lives in the zone, which must be there or about to be built."""
        status = self.status()
        if not status["exists"] and not self.wish["profiles"]:
            self.do("audit")  # which fails with the tool's own words for it
        return bool(status["running"])

    def _grace(self) -> list[str]:
        return ["--grace", str(self.wish["grace"])]

    # --- what has changed -------------------------------------------------------------------------

    def note(self, before: Iterable[str] = (), after: Iterable[str] = ()) -> None:
        """Note that the zone changed, or would, in lines for a difference."""
        self.result["changed"] = True
        self.before += before
        self.after += after

    def show(self, zone: Mapping[str, Any], plan: Mapping[str, Any] | None = None) -> None:
        """Note what a dry run or a refresh says of the zone's paths; what is new is in the plan."""
        is_now = {one["path"]: self._line(one) for one in (plan or {}).get("entries", ())}
        if plan and zone["added"] is None:
            self.result["image"] = {"before": None, "after": plan["image"]}
            self.after += [f"image {plan['image']}", *is_now.values()]
            return
        was = {one["path"]: self._line(one) for one in zone.get("before", ())}
        self.result["image"] = zone["image"]
        self.result["paths"] = {key: zone[key] for key in ("added", "removed", "modified", "kept")}
        if zone["changed"]:
            before, after = compared(zone, was, is_now)
            self.before += before
            self.after += after

    def _line(self, entry: Mapping[str, Any]) -> str:
        """Return one path as a line: what it is, and by which method it gets there.

        Of what may have a secret in it not even the checksum is shown: short ones could be guessed by it.
        """
        is_secret = self.wish["secret_parameters"] and entry["method"] == "write"
        content = f" sha256:{entry['sha256'][:12]}" if entry["sha256"] and not is_secret else ""
        target = f" -> {entry['target']}" if entry["target"] else ""
        owner = f"{entry['uid']}:{entry['gid']}"
        return f"{entry['path']} {entry['type']} {entry['mode']} {owner} {entry['method']}{content}{target}"

    def leave(self) -> None:
        """End the task."""
        if self.module._diff and self.result["changed"]:
            header = {"before_header": self.zonepath, "after_header": self.zonepath}
            self.result["diff"] = {"before": as_lines(self.before), "after": as_lines(self.after), **header}
        self.module.exit_json(**self.result)

    def leave_without_tool(self) -> None:
        """End the task where the tool is not installed: in check mode it may be installed by then."""
        msg = f"partialroot is not installed here: there is no command {self.wish['executable']}"
        hint = "apply the role partialroot.zones.partialroot first, or name the command with executable"
        if not self.module.check_mode:
            self.module.fail_json(msg=f"{msg}. Hint: {hint}", kind="usage", hint=hint, **self.result)
        self.module.warn(f"{self.zonepath}: {msg}, so what it would do cannot be told")
        self.module.exit_json(**{**self.result, "changed": self.wish["state"] != "absent"})


def compared(
    zone: Mapping[str, Any], was: Mapping[str, str], is_now: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the lines before and after, of the image and each path that differs.

    ``was`` and ``is_now`` have the lines of what a dry run tells; of a refresh only the paths are known.
    """
    gone, new = (sorted(zone[key] + zone["modified"]) for key in ("removed", "added"))
    before = [was.get(path, f"{path} as it was") for path in gone]
    after = [is_now.get(path, f"{path} as on the host") for path in new]
    image = zone["image"]
    if image["before"] != image["after"]:
        return [f"image {image['before']}", *before], [f"image {image['after']}", *after]
    if before or after:
        return before, after
    return ["receipt, settings or mounts as they were"], ["receipt, settings or mounts as they should be"]


def as_lines(lines: Sequence[str]) -> str:
    """Return a text of lines, at most MOST_LINES of them."""
    more = len(lines) - MOST_LINES
    shown = [*lines[:MOST_LINES], f"and {more} more"] if more > 0 else lines
    return "".join(f"{line}\n" for line in shown)


def is_busy(said: Mapping[str, Any]) -> bool:
    """Tell whether the tool refused because something is under way, such as the zone itself."""
    return bool(said.get("error")) and said["error"]["kind"] == "busy"


def quoted(text: str) -> str:
    """Return a string as TOML has it, which is as JSON has it but for pairs of surrogates."""
    return json.dumps(text, ensure_ascii=False)


def as_text(value: object) -> str:
    """Return a parameter's value as a profile has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["profiles"])],
        supports_check_mode=True,
    )
    zone = Zone(module)
    if zone.tool is None:
        zone.leave_without_tool()
    state, wanted = module.params["state"], module.params["profiles"]
    if state == "halted":
        zone.halt()
    if wanted and state in ("present", "booted", "halted"):
        zone.populate()
    if state == "booted":
        zone.boot()
    if state == "refreshed":
        zone.refresh()
    if state == "absent":
        zone.remove()
    zone.leave()


if __name__ == "__main__":
    main()
