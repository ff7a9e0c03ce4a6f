"""export: zones as others take them."""

from argparse import Namespace
from pathlib import Path

from partialroot.cli import documents, messages, show
from partialroot.pipeline.exporting import Exported
from partialroot.pipeline.exporting import export as write
from partialroot.pipeline.zones import chosen
from partialroot.zone.place import store_path


def export(args: Namespace) -> int:
    """Write a zone as a tarball or an OCI image layout, or print the list of its files."""
    store = store_path(args.store)
    (zonepath,) = chosen(store, (args.zonepath,), every=False)
    file, oci = (None if one is None else Path(one).absolute() for one in (args.file, args.oci))
    with messages.busy(f"exporting {zonepath}"):
        done = write(store, Path(zonepath), file, oci, args.manifest)
    if args.json:
        print(documents.encode(_document(args, done)))
    elif args.manifest:
        for line in done.lines:
            print(line)
    elif not args.quiet:
        where = " and ".join(str(one) for one in (file, oci) if one)
        show.line(f"{zonepath}: {done.files} files, {show.size(done.bytes)}: {where}")
    for note in done.notes:
        messages.say(note)
    if not args.quiet:
        messages.say_warnings(done.left_out)
    return 0


def _document(args: Namespace, done: Exported) -> documents.Document:
    return {
        "zonepath": args.zonepath,
        "file": args.file,
        "oci": args.oci,
        "manifest": list(done.lines) if args.manifest else None,
        "files": done.files,
        "bytes": done.bytes,
        "left_out": list(done.left_out),
    }
