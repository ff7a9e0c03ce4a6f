"""A bill of materials as CycloneDX 1.6 in JSON: a component for each package and for each file.

The same zone gives the same bytes. The standard wants a serial number of its own for each bill, even of the
same content; ours is made from the content, so that who compares two bills need not take them apart. The time
is that of the zone's receipt, when what is said here was measured; files that were edited since say so.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from partialroot import __version__
from partialroot.accounting.bill import Bill, File, Package
from partialroot.accounting.purl import package_url
from partialroot.model import Supplier
from partialroot.paths import RootPath, safe_name
from partialroot.source.packages.licences import Licence

Document = dict[str, Any]

ZONE = "zone"
_NAMES = "https://cyclonedx.org/"  # in which our serial numbers are names (RFC 9562, version 5)
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")


def document(bill: Bill) -> Document:
    """Return a bill of materials; its texts are such that any JSON reader takes them."""
    refs = {one.supplier: _package_ref(bill, one.supplier) for one in bill.packages}
    about: Document = {
        "metadata": _metadata(bill),
        "components": [
            *(_package(one, refs[one.supplier]) for one in bill.packages),
            *(_file(one, refs) for one in bill.files),
        ],
        "dependencies": list(_dependencies(bill, refs)),
        "compositions": list(_compositions(bill, refs)),
    }
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": _serial(about), "version": 1}
    return head | about


def encode(bill: Document) -> bytes:
    """Return a bill of materials as a file's content."""
    return json.dumps(bill, indent=1).encode("ascii") + b"\n"


def _serial(about: Document) -> str:
    import uuid

    content = hashlib.sha256(json.dumps(about).encode("ascii")).hexdigest()
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, _NAMES + content)}"


# --- what is told -----------------------------------------------------------------------------------


def _metadata(bill: Bill) -> Document:
    receipt = bill.receipt
    properties = [
        *(("profile", one) for one in receipt.profiles),
        *(("image", one) for one in [receipt.digest] if one),
        ("source", receipt.request.source),
        ("platform", receipt.request.platform),
        *(("unseen", f"{path}: {why}") for path, why in sorted(bill.unseen.items())),
    ]
    return {
        "timestamp": datetime.fromtimestamp(int(receipt.created), UTC).isoformat().replace("+00:00", "Z"),
        "tools": {"components": [{"type": "application", "name": "partialroot", "version": __version__}]},
        "component": {"type": "container", "bom-ref": ZONE, "name": safe_name(receipt.zonepath)},
        "properties": _properties(properties),
    }


def _package(one: Package, ref: str) -> Document:
    about = one.about
    told: Document = {"type": "library", "bom-ref": ref, "name": _text(one.supplier.package)}
    if one.supplier.version:
        told["version"] = _text(one.supplier.version)
    if about and about.supplier:
        told["supplier"] = {"name": _text(about.supplier)}
    if about and about.summary:
        told["description"] = _text(about.summary)
    if about and about.licences:
        told["licenses"] = _licences(about.licences)
    if about and about.copyright:
        told["copyright"] = _text(about.copyright)
    told["purl"] = ref
    if about and _URL.fullmatch(about.homepage):
        told["externalReferences"] = [{"type": "website", "url": about.homepage}]
    return {**told, "properties": _properties(_completeness(one))}


def _completeness(one: Package) -> Iterator[tuple[str, str]]:
    yield "package:whole", {True: "true", False: "false", None: "unknown"}[one.is_whole]
    yield "package:files-present", str(one.present)
    if one.owned is not None:
        yield "package:files-owned", str(one.owned)
    if one.about and one.about.source:
        yield "package:source", one.about.source
    if one.installed:
        yield "package:installed-now", one.installed


def _file(one: File, refs: Mapping[Supplier, str]) -> Document:
    told: Document = {"type": "file", "bom-ref": _file_ref(one.path), "name": safe_name(one.path)}
    if one.sha256:
        told["hashes"] = [{"alg": "SHA-256", "content": one.sha256}]
    return {**told, "properties": _properties(_described(one, refs))}


def _described(one: File, refs: Mapping[Supplier, str]) -> Iterator[tuple[str, str]]:
    yield "file:layer", one.layer
    yield "file:origin", one.origin
    if one.method:
        yield "file:method", one.method
    if one.supplier:
        yield "package", one.supplier.package
        yield "package:version", one.supplier.version
        yield "package:ref", refs[one.supplier]
    if one.recorded:
        yield "file:edited", "true"
        yield "file:recorded-sha256", one.recorded
    if one.note:
        yield "file:note", one.note


def _licences(licences: Iterable[Licence]) -> list[Document]:
    """Return licences as CycloneDX has them: one expression where there is a choice, else a list.

    A licence that SPDX does not know cannot be in an expression: then a choice is named as the database does.
    """
    ids: set[str] = set()
    choices: dict[str, str] = {}
    names: set[str] = set()
    for name, spdx in licences:
        if spdx is None:
            names.add(name)
        elif " OR " in spdx:
            choices[spdx] = name
        else:
            ids.update(spdx.split(" AND "))
    if choices and not names:
        terms = [*sorted(ids), *(f"({one})" for one in sorted(choices))]
        text = " AND ".join(terms) if len(terms) > 1 else next(iter(choices))
        return [{"expression": text, "acknowledgement": "declared"}]
    told = [{"id": one} for one in sorted(ids)]
    told += [{"name": _text(one)} for one in sorted({*names, *choices.values()})]
    return [{"license": {**one, "acknowledgement": "declared"}} for one in told]


# --- how it hangs together --------------------------------------------------------------------------


def _dependencies(bill: Bill, refs: Mapping[Supplier, str]) -> Iterator[Document]:
    """Yield what the zone is made of, then what packages and files need of each other to run."""
    loose = [_file_ref(file.path) for file in bill.files if file.supplier is None]
    yield {"ref": ZONE, "dependsOn": [*sorted(refs.values()), *loose]}
    owners = {file.path: refs[file.supplier] for file in bill.files if file.supplier}
    packages: dict[str, set[str]] = {ref: set() for ref in sorted(refs.values())}
    for path, needed in bill.needs.items():
        if path in owners:
            packages[owners[path]].update(owners[one] for one in needed if one in owners)
    for ref, others in packages.items():
        yield {"ref": ref, "dependsOn": sorted(others - {ref})}
    for path, needed in sorted(bill.needs.items()):
        yield {"ref": _file_ref(path), "dependsOn": [_file_ref(one) for one in needed]}


def _compositions(bill: Bill, refs: Mapping[Supplier, str]) -> Iterator[Document]:
    """Yield of what this is all there is: of the zone, and of the packages that are wholly there."""
    yield {"aggregate": "incomplete" if bill.unseen else "complete", "assemblies": [ZONE]}
    for aggregate, is_whole in (("complete", True), ("incomplete", False), ("unknown", None)):
        such = sorted(refs[one.supplier] for one in bill.packages if one.is_whole is is_whole)
        if such:
            yield {"aggregate": aggregate, "assemblies": such}


def _package_ref(bill: Bill, supplier: Supplier) -> str:
    return package_url(supplier, bill.receipt.request.platform, bill.distribution)


def _file_ref(path: RootPath) -> str:
    return "file:" + quote(path, safe="/", errors="surrogateescape")


def _properties(pairs: Iterable[tuple[str, str]]) -> list[Document]:
    return [{"name": f"partialroot:{name}", "value": _text(value)} for name, value in pairs]


def _text(text: str) -> str:
    """Return a text of a database, which may hold anything: all but new lines and tabs is printable."""
    if text.isprintable():
        return text
    return "".join(one if one in "\n\t" else safe_name(one) for one in text)
