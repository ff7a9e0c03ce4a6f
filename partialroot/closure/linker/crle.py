"""``ld.config``, the configuration file of illumos' dynamic linker: include/rtc.h, rtld/config_elf.c.

After an optional 16-byte identification comes a header of 32-bit offsets, all relative to that header.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from partialroot.closure.elf import Abi

_MAGIC = b"?RLC"
_IDENTIFICATION = 16
_FLAGS, _DIRECTORIES = 4, 36
_ENVIRONMENT = {32: 68, 64: 72}  # two 64-bit numbers before it are aligned differently
_IGNORE, _ALTERNATIVES, _UPM = 0x1, 0x2, 0x8
_LATEST = 4
_MOST_VARIABLES = 1000


class Config(NamedTuple):
    """What a file changes: ``before`` are directories searched first, ``directories`` replace the default.

    ``preload`` names what every program loads, ``bind_now`` says that all is bound at start-up;
    ``alternatives``: it has objects to be taken for others.
    """

    before: tuple[str, ...] = ()
    directories: tuple[str, ...] | None = None
    preload: tuple[str, ...] = ()
    alternatives: bool = False
    bind_now: bool = False


NOTHING = Config()


def parse(data: bytes, abi: Abi) -> Config | None:
    """Return what a file says to objects of an ABI; None when it is damaged, for others, or to be ignored."""
    if data.startswith(_MAGIC):
        if tuple(data[4:7]) != (abi.bits // 32, 1 if abi.little else 2, abi.machine):
            return None
        data = data[_IDENTIFICATION:]
    try:
        return _parse(data, abi)
    except (struct.error, ValueError):
        return None


def _parse(data: bytes, abi: Abi) -> Config | None:
    version, flags = _number(data, 0), _number(data, _FLAGS)
    if version > _LATEST or flags & _IGNORE:
        return None
    directories = _number(data, _DIRECTORIES)
    variables = dict(_variables(data, _number(data, _ENVIRONMENT[abi.bits])))
    path = variables.get("LD_LIBRARY_PATH") or variables.get(f"LD_LIBRARY_PATH_{abi.bits}", "")
    return Config(
        _split(path.replace(";", ":")),
        _with_lib(_split(_text(data, directories)), abi.bits, flags) if directories else None,
        tuple(variables.get("LD_PRELOAD", "").replace(":", " ").split()),
        bool(flags & _ALTERNATIVES),
        bool(variables.get("LD_BIND_NOW")),
    )


def _with_lib(directories: tuple[str, ...], bits: int, flags: int) -> tuple[str, ...]:
    """Files from before /lib was searched get it before /usr/lib (libconv/config.c, conv_config_upm)."""
    lib = "/lib" if bits == 32 else "/lib/64"
    if flags & _UPM or lib in directories or f"/usr{lib}" not in directories:
        return directories
    at = directories.index(f"/usr{lib}")
    return (*directories[:at], lib, *directories[at:])


def _variables(data: bytes, at: int) -> Iterator[tuple[str, str]]:
    """Yield the environment: pairs of a text's offset and flags, ended by 0."""
    for entry in range(at, at + 8 * _MOST_VARIABLES, 8):
        offset = _number(data, entry) if at else 0
        if not offset:
            return
        name, _, value = _text(data, offset).partition("=")
        yield name, value


def _number(data: bytes, at: int) -> int:
    found: tuple[int] = struct.unpack_from("<I", data, at)
    return found[0]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "surrogateescape")


def _split(path: str) -> tuple[str, ...]:
    return tuple(one.rstrip("/") for one in path.split(":") if one.startswith("/"))
