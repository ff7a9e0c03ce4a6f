"""Files of illumos whose lines name modules: crypt.conf(5), netconfig(5), pkcs11.conf(5) and mech(5)."""

_ISA = {32: "/", 64: "/64/"}
_GSS = {32: "/usr/lib/gss", 64: "/usr/lib/amd64/gss"}

SECURITY = "/usr/lib/security"
"""Where relative modules of PAM and of crypt(3C) are; 64-bit ones in its directory 64."""


def module_path(name: str, bits: int) -> str:
    """Return a module's path: relative ones are in SECURITY, $ISA stands for what 64-bit programs add."""
    return _with_isa(name, bits) if name.startswith("/") else f"{SECURITY}{_ISA[bits]}{name}"


def _with_isa(path: str, bits: int) -> str:
    return path.replace("/$ISA/", _ISA[bits], 1)


def crypt_modules(text: str, bits: int) -> tuple[str, ...]:
    """Return the paths of the modules for hashed passwords: second column (libc, gen/crypt.c)."""
    return tuple(dict.fromkeys(module_path(words[1], bits) for words in _rows(text) if len(words) > 1))


def transport_modules(text: str, bits: int) -> tuple[str, ...]:
    """Return the names of the libraries that translate addresses: seventh column, with commas.

    A dash is a transport whose translation is built in (libnsl, netdir/netdir.c).
    """
    columns = [words[6] for words in _rows(text) if len(words) > 6]
    return tuple(dict.fromkeys(name for one in columns if one != "-" for name in one.split(",") if name))


def pkcs11_providers(text: str, bits: int) -> tuple[str, ...]:
    """Return the paths of the providers: first column, to a colon; one entry is no library (pkcs11Conf.c)."""
    names = (words[0].partition(":")[0] for words in _rows(text))
    libraries = (name for name in names if name and name.lower() != "metaslot")
    return tuple(dict.fromkeys(_with_isa(name, bits) for name in libraries))


def gss_mechanisms(text: str, bits: int) -> tuple[str, ...]:
    """Return the paths of the mechanisms: third column, always in one directory (libgss, g_initialize.c)."""
    names = (words[2].lstrip("/") for words in _rows(text) if len(words) > 2)
    return tuple(dict.fromkeys(f"{_GSS[bits]}/{name}" for name in names if name))


def _rows(text: str) -> list[list[str]]:
    return [words for words in (line.partition("#")[0].split() for line in text.splitlines()) if words]
