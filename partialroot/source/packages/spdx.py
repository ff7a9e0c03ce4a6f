"""SPDX identifiers of the licences that package databases name: the common ones, by their short names."""

import re

# Those that are called the same by Debian (but for capitals), IPS and SPDX.
_SAME = """
         0BSD AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 Apache-1.0 Apache-1.1 Apache-2.0 Artistic-2.0 Beerware
    BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSL-1.0 bzip2-1.0.5 bzip2-1.0.6
    CC-BY-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-1.0 CC-BY-SA-2.0 CC-BY-SA-2.5 CC-BY-SA-3.0
    CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 curl EFL-1.0 EFL-2.0 EPL-1.0 EPL-2.0 FSFAP FSFUL FSFULLR FTL HPND
    ICU IJG     Info-ZIP ISC Latex2e Libpng libpng-2.0 LPPL-1.0 LPPL-1.1 LPPL-1.2 LPPL-1.3a LPPL-1.3c MIT
    MIT-0 MPL-1.0 MPL-1.1     MPL-2.0 NCSA NTP OFL-1.0 OFL-1.1 OLDAP-2.8 OpenSSL PHP-3.0 PHP-3.01 PostgreSQL
    PSF-2.0 Python-2.0 Ruby SGI-B-1.1     SGI-B-2.0 Sleepycat SMLNJ TCL Unicode-3.0 Unicode-DFS-2015
    Unicode-DFS-2016 Unlicense Vim W3C WTFPL X11 Xnet Zlib     ZPL-1.1 ZPL-2.0 ZPL-2.1
"""
# Those that are called otherwise. DEP-5's Artistic and GFDL without "NIV" can mean several of SPDX'.
_OTHERWISE = {
    "apache-2": "Apache-2.0",
    "artistic-2": "Artistic-2.0",
    "boost-1.0": "BSL-1.0",
    "bsd-2": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "cddl": "CDDL-1.0",
    "cddl-1": "CDDL-1.0",
    "expat": "MIT",
    "lic_cddl": "CDDL-1.0",
    "perl": "(Artistic-1.0-Perl OR GPL-1.0-or-later)",
    "psf-2": "PSF-2.0",
    "python": "Python-2.0",
}
_KNOWN = {name.lower(): name for name in _SAME.split()} | _OTHERWISE
_GNU = re.compile(r"(A?GPL|LGPL)-?v?([123])(\.[01])?(\.0)?(\+|-only|-or-later)?", re.IGNORECASE)
_GNU_VERSIONS = {"GPL": "1.0 2.0 3.0", "LGPL": "2.0 2.1 3.0", "AGPL": "1.0 3.0"}
_DOCUMENTATION = re.compile(r"GFDL-NIV-(1\.[123])(\+?)", re.IGNORECASE)


def identifier(name: str) -> str | None:
    """Return the SPDX identifier of a licence's short name (of Perl's two an expression), None if unknown.

    Without a ``+`` the GNU licences are taken at their word: that version only (copyright-format 1.0).
    """
    return _KNOWN.get(name.lower()) or _gnu(name)


def _gnu(name: str) -> str | None:
    if found := _DOCUMENTATION.fullmatch(name):
        return f"GFDL-{found[1]}-no-invariants-{'or-later' if found[2] else 'only'}"
    found = _GNU.fullmatch(name)
    if found is None:
        return None
    family, version = found[1].upper(), found[2] + (found[3] or ".0")
    if version not in _GNU_VERSIONS[family]:
        return None
    return f"{family}-{version}-{'or-later' if found[5] in ('+', '-or-later') else 'only'}"
