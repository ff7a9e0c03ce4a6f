"""Apply an edit to the text of a file."""

from partialroot.errors import ProfileError
from partialroot.model import EditWish
from partialroot.profiles.items import check_size
from partialroot.profiles.wording import quoted


def apply_edit(content: str, edit: EditWish) -> str:
    """Return ``content`` with lines dropped, substrings substituted and lines appended, in this order.

    Lines end with a newline only. Raises ProfileError when a line to drop or a substring to substitute is
    not there (the file is not the one the edit was written for), and when the result is too large.
    """
    lines = content.removesuffix("\n").split("\n") if content else []
    for line in edit.drop:
        if line not in lines:
            raise _nothing_to_do(edit, "has no line", line, "the whole line counts, with its blanks")
        lines = [kept for kept in lines if kept != line]
    text = "\n".join(lines) + ("\n" if lines and content.endswith("\n") else "")
    for old, new in edit.substitute:
        text = _substitute(text, old, new, edit)
    if edit.append and text and not text.endswith("\n"):
        text += "\n"
    text += "".join(f"{line}\n" for line in edit.append)
    check_size(len(text.encode(errors="surrogateescape")), edit.where)
    return text


def _substitute(text: str, old: str, new: str, edit: EditWish) -> str:
    count = text.count(old)
    if not count:
        raise _nothing_to_do(edit, "does not contain", old, "drop comes before substitute")
    check_size(len(text) + count * (len(new) - len(old)), edit.where)
    return text.replace(old, new)


def _nothing_to_do(edit: EditWish, lacks: str, what: str, hint: str) -> ProfileError:
    return ProfileError(f"{edit.path} {lacks} {quoted(what)}", path=edit.where, hint=hint)
