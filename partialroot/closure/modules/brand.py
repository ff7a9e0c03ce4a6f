"""The programs that a zone's brand runs in it, by the text of its ``config.xml`` (brand(7), zlogin(1))."""

from typing import NamedTuple

from partialroot.errors import SourceError

ELEMENTS = ("initname", "user_cmd", "login_cmd", "forcedlogin_cmd")
"""What runs inside the zone: its first process, and what zlogin starts."""


class BrandProgram(NamedTuple):
    """A program, by its path in the zone, and the element that names it."""

    path: str
    element: str


USUAL = (
    BrandProgram("/sbin/init", "initname"),
    BrandProgram("/usr/bin/getent", "user_cmd"),
    BrandProgram("/usr/bin/login", "login_cmd"),
)
"""What all brands of Tribblix run: for a source in which ours is not installed yet."""


def programs(config: str, where: str = "config.xml") -> tuple[BrandProgram, ...]:
    """Return the programs in the order of ELEMENTS, each once; SourceError when the text is no plain XML.

    zlogin splits a command at blanks; an empty one is none.
    """
    texts = _texts(config, where)
    found: dict[str, str] = {}
    for element in ELEMENTS:
        words = texts.get(element, "").split()
        if words and words[0].startswith("/"):
            found.setdefault(words[0], element)
    return tuple(BrandProgram(path, element) for path, element in found.items())


def _texts(config: str, where: str) -> dict[str, str]:
    """Return the text of each of the elements; the DTD is not read, and there may be no entities in it."""
    from xml.parsers import expat  # there are brands on illumos only

    texts: dict[str, str] = {}
    inside: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: inside.append(name)
    parser.EndElementHandler = lambda name: inside.pop()

    def text(data: str) -> None:
        if len(inside) == 2 and inside[1] in ELEMENTS:
            texts[inside[1]] = texts.get(inside[1], "") + data

    def refuse(*declaration: object) -> None:
        raise SourceError("has entities of its own, which could expand without end", path=where)

    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(config.encode("utf-8", "surrogateescape"), True)
    except expat.ExpatError as error:
        raise SourceError(f"is no XML: {error}", path=where) from None
    return texts
