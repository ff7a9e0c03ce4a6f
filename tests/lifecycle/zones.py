"""/etc/zones: the index of zones, one file for each; and as much of zonecfg as the tests use."""

import fcntl
import json
import os
import re
import shlex
import sys
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle import brandfiles

ETC, RUN = Path("/etc/zones"), Path("/var/run/zones")
NAME = re.compile(r"(?!global$|SUNW)[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
DOCTYPE = '<!DOCTYPE zone PUBLIC "-//Sun Microsystems Inc//DTD Zones//EN" "file:///usr/share/lib/xml/dtd/zonecfg.dtd.1">'


@dataclass
class Resource:
    """An fs resource."""

    dir: str
    special: str
    type: str
    options: list[str] = field(default_factory=list)


@dataclass
class Net:
    """A net resource: with a shared stack an address on a link, with an exclusive one the whole link."""

    physical: str = ""
    address: str = ""
    defrouter: str = ""


@dataclass
class Attr:
    """An attr resource: whatever somebody wants to remember."""

    name: str = ""
    type: str = ""
    value: str = ""


@dataclass
class Zone:
    """One zone: its line of the index and its file, and what the kernel knows of it."""

    name: str
    state: str = "configured"
    zonepath: str = ""
    brand: str = ""
    autoboot: bool = False
    ip_type: str = "shared"
    uuid: str = ""
    resources: list[Resource] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)
    attrs: list[Attr] = field(default_factory=list)

    @property
    def root(self) -> str:
        """The zone's root in the global zone."""
        return f"{self.zonepath}/root"

    @property
    def kernel(self) -> str:
        """``ready``, ``running``, ``down``; the state of the index when the kernel knows no such zone."""
        place = RUN / f"{self.name}.kernel"
        return str(json.loads(place.read_text())["state"]) if place.exists() else self.state

    def save(self) -> None:
        """Write the zone's file and its line of the index."""
        attributes = {
            "name": self.name,
            "zonepath": self.zonepath,
            "autoboot": str(self.autoboot).lower(),
            "brand": self.brand,
            "ip-type": self.ip_type,
        }
        top = ET.Element("zone", attributes)
        for one in self.resources:
            node = ET.SubElement(top, "filesystem", special=one.special, directory=one.dir, type=one.type)
            for option in one.options:
                ET.SubElement(node, "fsoption", name=option)
        for net in self.nets:
            ET.SubElement(top, "network", {key: value for key, value in vars(net).items() if value})
        for attr in self.attrs:
            ET.SubElement(top, "attr", vars(attr))
        ET.indent(top)
        text = ET.tostring(top, encoding="unicode")
        (ETC / f"{self.name}.xml").write_text(f'<?xml version="1.0"?>\n{DOCTYPE}\n{text}\n')
        self.set_state(self.state)

    def set_state(self, state: str) -> None:
        """Change the state in the index."""
        self.state = state
        if state != "configured" and not self.uuid:
            self.uuid = str(uuid.uuid4())
        lines = [line for line in _index() if not line.startswith(f"{self.name}:")]
        quoted = f'"{self.zonepath}"' if ":" in self.zonepath else self.zonepath
        lines.append(f"{self.name}:{state}:{quoted}:{self.uuid}")
        (ETC / "index").write_text("".join(f"{line}\n" for line in lines))

    def forget(self) -> None:
        """Delete the zone's configuration."""
        lines = [line for line in _index() if not line.startswith(f"{self.name}:")]
        (ETC / "index").write_text("".join(f"{line}\n" for line in lines))
        (ETC / f"{self.name}.xml").unlink()

    def set_kernel(self, state: str | None, pid: int = 0) -> None:
        """Tell what the kernel knows of the zone; None: nothing any more. ``pid`` is its init."""
        place = RUN / f"{self.name}.kernel"
        if state is None:
            place.unlink(missing_ok=True)
        else:
            place.write_text(json.dumps({"state": state, "pid": pid}))

    @property
    def pid(self) -> int:
        """The process that holds the zone's init, 0 if there is none."""
        place = RUN / f"{self.name}.kernel"
        return int(json.loads(place.read_text())["pid"]) if place.exists() else 0


def _index() -> list[str]:
    place = ETC / "index"
    return place.read_text().splitlines() if place.exists() else []


def load(name: str) -> Zone | None:
    """Return a zone, None if there is no such zone."""
    for line in _index():
        if line.startswith(f"{name}:"):
            _, state, rest = line.split(":", 2)
            zone = _from_file(ETC / f"{name}.xml")
            zone.name, zone.state, zone.uuid = name, state, rest.rpartition(":")[2]
            return zone
    return None


def all_zones() -> list[Zone]:
    """Return all zones but the global one."""
    return [zone for line in _index() if (zone := load(line.split(":")[0]))]


def _from_file(path: Path) -> Zone:
    top = ET.fromstring(path.read_text())
    resources = [
        Resource(
            one.attrib["directory"],
            one.attrib["special"],
            one.attrib["type"],
            [option.attrib["name"] for option in one],
        )
        for one in top.findall("filesystem")
    ]
    return Zone(
        top.attrib["name"],
        "configured",
        top.attrib["zonepath"],
        top.attrib["brand"],
        top.attrib["autoboot"] == "true",
        top.get("ip-type", "shared"),
        "",
        resources,
        [Net(**one.attrib) for one in top.findall("network")],
        [Attr(**one.attrib) for one in top.findall("attr")],
    )


class LockedError(Exception):
    """Somebody else holds the zone's lock."""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the zone's lock; children find _ZONEADM_LOCK_HELD=1 and do not lock again."""
    if os.environ.get("_ZONEADM_LOCK_HELD") == "1":
        yield
        return
    with open(RUN / f"{name}.zoneadm.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(name) from error
        os.environ["_ZONEADM_LOCK_HELD"] = "1"
        try:
            yield
        finally:
            del os.environ["_ZONEADM_LOCK_HELD"]


# --- zonecfg ------------------------------------------------------------------------------------------


class ConfigError(Exception):
    """zonecfg refuses a command."""


class Zonecfg:
    """One run of zonecfg on one zone; what was changed is committed at the end, also after an error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.zone = load(name)
        self.resource: Resource | Net | Attr | None = None
        self.changed = self.deleted = False

    def run(self, line: str) -> None:
        """Carry out one command."""
        words = shlex.split(line)
        if words:
            command = getattr(self, f"do_{words[0]}", None)
            if command is None:
                raise ConfigError(f"syntax error: {line}")
            command(*words[1:])

    def do_create(self, *words: str) -> None:
        """create -t TEMPLATE | -b"""
        if self.zone is not None:
            raise ConfigError("zone already exists")
        if words[:1] == ("-t",):
            template = ETC / f"{words[1]}.xml"
            if not template.exists():
                raise ConfigError(f"{words[1]}: no such template")
            self.zone = _from_file(template)
            self.zone.name = self.name
        else:
            self.zone = Zone(self.name)
        self.changed = True

    def do_set(self, *words: str) -> None:
        """set PROPERTY=VALUE"""
        key, _, value = " ".join(words).partition("=")
        zone = self._zone()
        if self.resource:
            if not hasattr(self.resource, key.strip()):
                raise ConfigError(f"unknown property: {key}")
            setattr(self.resource, key.strip(), value.strip())
        elif key == "zonepath" and zone.state != "configured":
            raise ConfigError("zonepath cannot be changed: the zone is installed")
        elif key == "autoboot":
            zone.autoboot = value == "true"
        elif key in ("zonepath", "brand", "ip-type"):
            setattr(zone, key.replace("-", "_"), value)
        else:
            raise ConfigError(f"unknown property: {key}")
        self.changed = True

    def do_add(self, *words: str) -> None:
        """add fs; add net; add attr; add options [a,b]"""
        if words == ("fs",):
            self.resource = Resource("", "", "")
        elif words in (("net",), ("attr",)):
            self.resource = Net() if words == ("net",) else Attr()
        elif words[:1] == ("options",) and isinstance(self.resource, Resource):
            self.resource.options += "".join(words[1:]).strip("[]").split(",")
        else:
            raise ConfigError(f"cannot add {' '.join(words)}")

    def do_end(self) -> None:
        """End a resource; what is there is there once."""
        one, zone = self.resource, self._zone()
        if isinstance(one, Resource):
            _end(one, zone.resources, one.dir, [other.dir for other in zone.resources], bool(one.special))
        elif isinstance(one, Net):
            _end(one, zone.nets, one.physical, [], True)
        elif isinstance(one, Attr):
            _end(one, zone.attrs, one.name, [other.name for other in zone.attrs], bool(one.type))
        else:
            raise ConfigError("no resource to end")
        self.resource, self.changed = None, True

    def do_remove(self, *words: str) -> None:
        """remove fs dir=PATH; remove attr name=NAME"""
        zone = self._zone()
        resources = [one for one in zone.resources if words != ("fs", f"dir={one.dir}")]
        attrs = [one for one in zone.attrs if words != ("attr", f"name={one.name}")]
        if len(resources) + len(attrs) == len(zone.resources) + len(zone.attrs):
            raise ConfigError("no such resource")
        zone.resources, zone.attrs, self.changed = resources, attrs, True

    def do_delete(self, *words: str) -> None:
        """delete [-F]"""
        if self._zone().state != "configured" and "-F" not in words:
            raise ConfigError("the zone is installed")
        self._zone().forget()
        self.deleted = True

    def do_info(self, what: str = "brand") -> None:
        """Tell one property."""
        zone = self._zone()
        print(f"{what}: {getattr(zone, what.replace('-', '_'))}")

    def do_export(self) -> None:
        """Print commands that make the same zone."""
        zone = self._zone()
        print(f"create -b\nset zonepath={zone.zonepath}\nset brand={zone.brand}")
        print(f"set autoboot={str(zone.autoboot).lower()}\nset ip-type={zone.ip_type}")
        for one in zone.resources:
            print(f"add fs\nset dir={one.dir}\nset special={one.special}\nset type={one.type}")
            print(f"add options [{','.join(one.options)}]\nend" if one.options else "end")
        for kind, resources in (("net", zone.nets), ("attr", zone.attrs)):
            for resource in resources:
                print(f"add {kind}")
                for key, value in vars(resource).items():
                    if value:
                        print(f'set {key}="{value}"')
                print("end")

    def commit(self) -> None:
        """Verify and write what was changed; nothing while a resource is open."""
        if self.changed and not self.deleted and self.resource is None and self.zone:
            _verify_net(self.zone, brandfiles.load(self.zone.brand))
            self.zone.save()

    def _zone(self) -> Zone:
        if self.zone is None:
            raise ConfigError(f"{self.name}: no such zone configured")
        return self.zone


def _end(
    one: Resource | Net | Attr, resources: list[Any], key: str, known: list[str], complete: bool
) -> None:
    if not key or not complete:
        raise ConfigError("incomplete resource")
    if key in known:
        raise ConfigError(f"{key}: already exists")
    resources.append(one)


def _verify_net(zone: Zone, brand: brandfiles.Brand) -> None:
    """Check what verify_func checks of the network: who says which address, and whether the brand may."""
    exclusive = zone.ip_type == "exclusive"
    if exclusive and brand.platform.get("allow-exclusive-ip") != "true":
        raise ConfigError("the brand allows no exclusive IP stack")
    for net in zone.nets:
        if exclusive and (net.address or net.defrouter):
            raise ConfigError("address cannot be set for an exclusive IP stack")
        if not exclusive and not net.address:
            raise ConfigError("address must be set for a shared IP stack")


def zonecfg(argv: list[str]) -> int:
    """``zonecfg -z NAME COMMANDS | -f FILE``: one exit code for all failures, and partial commits."""
    flag, name, *rest = argv
    if flag != "-z" or not NAME.fullmatch(name):
        print(f"{name}: invalid zone name", file=sys.stderr)
        return 1
    from_file = rest[:1] == ["-f"]
    text = Path(rest[1]).read_text() if from_file else " ".join(rest)
    session, code = Zonecfg(name), 0
    for line in re.split(r"[;\n]", text):
        try:
            session.run(line)
        except ConfigError as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = 1
            if from_file:
                break
    try:
        session.commit()
    except brandfiles.InvalidBrandError:
        print(f"{name}: brand is invalid or missing", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return code
