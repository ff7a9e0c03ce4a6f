"""Files of illumos whose lines name modules by path: crypt.conf(5) and netconfig(5)."""

SECURITY = "/usr/lib/security"
"""Where relative modules of PAM and of crypt(3C) are; 64-bit ones in its directory 64."""


def module_path(name: str, bits: int) -> str:
    """Return a module's path: relative ones are in SECURITY, $ISA stands for what 64-bit programs add."""
    isa = "/" if bits == 32 else "/64/"
    return name.replace("/$ISA/", isa) if name.startswith("/") else f"{SECURITY}{isa}{name}"


def crypt_modules(text: str, bits: int) -> tuple[str, ...]:
    """Return the paths of the modules for hashed passwords: second column (libc, gen/crypt.c)."""
    return tuple(dict.fromkeys(module_path(words[1], bits) for words in _rows(text) if len(words) > 1))


def transport_modules(text: str, bits: int) -> tuple[str, ...]:
    """Return the names of the libraries that translate addresses: seventh column, with commas.

    A dash is a transport whose translation is built in (libnsl, netdir/netdir.c).
    """
    columns = [words[6] for words in _rows(text) if len(words) > 6]
    return tuple(dict.fromkeys(name for one in columns if one != "-" for name in one.split(",") if name))


def _rows(text: str) -> list[list[str]]:
    return [words for words in (line.partition("#")[0].split() for line in text.splitlines()) if words]
