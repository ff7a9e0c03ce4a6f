"""Package URLs (ECMA-427): the names by which others know a package."""

from urllib.parse import quote

from partialroot.model import Supplier

_DEBIAN = "debian"


def package_url(supplier: Supplier, platform: str, distribution: tuple[str, str]) -> str:
    """Return the package URL of a package: ``pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12``.

    ``distribution`` is ID and VERSION_ID of os-release(5). illumos' packages, SVR4 and IPS, have no type of
    their own and are ``generic``; the slashes in a name of IPS make its namespace.
    """
    name, version, architecture = supplier
    system = distribution[0]
    if platform == "linux":
        kind = f"deb/{_quoted(system or _DEBIAN)}"
        name = name.partition(":")[0]  # the architecture of a foreign one is a qualifier
    else:
        kind = "generic"
    path = "/".join(map(_quoted, filter(None, name.split("/"))))
    qualifiers = {"arch": architecture, "distro": "-".join(filter(None, distribution)) if system else ""}
    query = "&".join(f"{key}={_quoted(value)}" for key, value in qualifiers.items() if value)
    return f"pkg:{kind}/{path}{f'@{_quoted(version)}' if version else ''}{f'?{query}' if query else ''}"


def _quoted(text: str) -> str:
    return quote(text, safe=":", errors="surrogateescape")
