"""Debian's control files: stanzas of fields, as in /var/lib/dpkg/status (deb822(5))."""

from collections.abc import Iterator

from partialroot.errors import SourceError


def stanzas(text: str, wanted: frozenset[str], where: str) -> Iterator[dict[str, str]]:
    """Yield the ``wanted`` fields (in lower case) of each stanza; continued lines stay separate lines.

    Raises SourceError, naming the file ``where``, for a line that is neither a field nor a continuation.
    """
    for stanza in text.split("\n\n"):
        fields = dict(_fields(stanza, wanted, where))
        if fields:
            yield fields


def _fields(stanza: str, wanted: frozenset[str], where: str) -> Iterator[tuple[str, str]]:
    name, lines = "", list[str]()
    for line in stanza.split("\n"):
        if line.startswith((" ", "\t")) and name:
            lines.append(line)
        elif line:
            if name in wanted:
                yield name, "\n".join(lines)
            field, colon, value = line.partition(":")
            if not colon or not field or field.isspace():
                raise SourceError(f"a line is no field: {line[:60]!r}", path=where)
            name, lines = field.lower(), [value.strip()]
    if name in wanted:
        yield name, "\n".join(lines)
