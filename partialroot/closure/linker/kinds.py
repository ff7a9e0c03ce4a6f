"""Which kind of dynamic linker a name is of: told before the module for that kind is imported."""

from partialroot.closure.elf import Elf
from partialroot.closure.linker.ports import X86, X86_64

LINKERS = {X86: "/lib/ld.so.1", X86_64: "/lib/amd64/ld.so.1"}
"""illumos' linker of each machine, by its real path, which is also its DT_SONAME."""

ISALIST = ("amd64", "pentium_pro+mmx", "pentium_pro", "pentium+mmx", "pentium", "i486", "i386", "i86")
"""illumos' instruction sets, the best first, those of every process (i86pc/os/startup.c, setx86isalist)."""

_MUSL = "ld-musl-"
_ARCHES = {(3, 32): "i386", (62, 64): "x86_64", (62, 32): "x32", (183, 64): "aarch64", (243, 64): "riscv64"}
_ARCHES |= {(22, 64): "s390x", (21, 64): "powerpc64le", (258, 64): "loongarch64", (40, 32): "armhf"}


def is_sunos(interpreter: str, elf: Elf) -> bool:
    """Whether a program of this machine that names this linker is one of illumos, never by its OS ABI."""
    return elf.abi.machine in LINKERS and interpreter.rpartition("/")[2] == "ld.so.1"


def kernel_name(interpreter: str) -> str:
    """Return what illumos' kernel looks up for a program's interpreter (exec/elf/elf.c, USR_LIB_RTLD).

    These two spellings lose their /usr; every other is taken literally.
    """
    short = interpreter.removeprefix("/usr")
    return short if short in LINKERS.values() else interpreter


def is_musl(interpreter: str) -> bool:
    """Whether a program that names this linker is one of musl's."""
    return musl_parts(interpreter) is not None


def musl_parts(interpreter: str) -> tuple[str, str] | None:
    """Return where the directory of musl's linker is, and its name without the end; None for another's."""
    directory, _, name = interpreter.rpartition("/")
    prefix, slash, inner = directory.rpartition("/")
    stem = name.removesuffix(".so.1")
    is_musls = stem not in (name, _MUSL) and stem.startswith(_MUSL)
    is_inside = slash and inner and prefix[:1] in ("", "/")
    return (prefix, stem) if is_musls and is_inside else None


def usual_of_musl(elf: Elf) -> str | None:
    """Return where musl's linker for an object's machine usually is."""
    arch = _ARCHES.get((elf.abi.machine, elf.abi.bits))
    return f"/lib/ld-musl-{arch}.so.1" if arch else None
