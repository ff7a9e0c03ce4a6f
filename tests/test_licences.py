"""Licences: Debian's copyright files and short names, as SPDX expressions that the SPDX list knows."""

import json
import re
from functools import cache
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.source.packages import spdx
from partialroot.source.packages.licences import Licence, expression, of_copyright

DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tool

Files: *
Copyright: 2001 A. Author
License: GPL-2+ or Expat

Files: debian/*
License: Expat
 Permission is hereby granted

License: Verbatim-only
 Copying is permitted.
"""


@cache
def known() -> set[str]:
    """Every identifier of the SPDX list, from the field's library."""
    schema = resources.files("cyclonedx.schema") / "_res" / "spdx.SNAPSHOT.schema.json"
    return set(json.loads(schema.read_text())["enum"])


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPLv3", "GPL-3.0-only"),
        ("GPL-3.0-or-later", "GPL-3.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("lgpl-3", "LGPL-3.0-only"),
        ("AGPL-3+", "AGPL-3.0-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("apache-2.0", "Apache-2.0"),
        ("lic_CDDL", "CDDL-1.0"),
        ("GPL-2.1", None),
        ("AGPL-2", None),
        ("GPL", None),
        ("LGPL", None),
        ("Artistic", None),
        ("GFDL-1.3", None),
        ("public-domain", None),
        ("GPL-2+-with-bison-exception", None),
        ("", None),
    ],
)
def test_short_names(name: str, identifier: str | None) -> None:
    assert spdx.identifier(name) == identifier


GNU = [
    f"{family}-{version}{later}"
    for family in ("GPL", "LGPL", "AGPL", "GFDL-NIV")
    for version in ("1", "1.0", "1.1", "1.2", "1.3", "2", "2.0", "2.1", "3", "3.0", "3.1")
    for later in ("", "+")
]


@pytest.mark.parametrize("name", [*spdx._SAME.split(), *spdx._OTHERWISE, *GNU])
def test_all_that_is_said_is_on_the_list(name: str) -> None:
    said = spdx.identifier(name) or ""
    assert set(re.findall(r"[^\s()]+", said)) - {"AND", "OR"} <= known()
    assert said or name in GNU


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        ("LGPL-2+ and BSD-3-clause or Expat", "LGPL-2.0-or-later AND BSD-3-Clause OR MIT"),
        ("Perl and Expat", "(Artistic-1.0-Perl OR GPL-1.0-or-later) AND MIT"),
        ("GPL-2+ with Autoconf exception", None),
        ("GPL-2+, and Expat", None),
        ("GPL-2+ or", None),
        ("GPL-2+ Expat", None),
        ("GPL-2+ or Strange", None),
        ("", None),
    ],
)
def test_expressions(text: str, expected: str | None) -> None:
    assert expression(text) == expected


def test_a_machine_readable_copyright_file() -> None:
    assert of_copyright(DEP5) == (
        Licence("Expat", "MIT"),
        Licence("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        Licence("Verbatim-only"),
    )


def test_prose_tells_no_more_than_the_texts_it_refers_to() -> None:
    text = "See `/usr/share/common-licenses/LGPL-2.1'.\nOr /usr/share/common-licenses/GPL-3.\n"
    assert of_copyright(text) == (Licence("GPL-3"), Licence("LGPL-2.1"))
    assert of_copyright("All rights reserved.\n") == ()


@given(st.text() | st.text().map(lambda text: f"Format: x\nLicense: {text}\n"))
def test_any_text_is_read(text: str) -> None:
    for licence in of_copyright(text):
        assert licence.name.strip()
        assert set(re.findall(r"[^\s()]+", licence.spdx or "")) - {"AND", "OR"} <= known()
