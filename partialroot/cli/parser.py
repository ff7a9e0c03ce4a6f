"""What the words behind a verb mean: options and other words, in any mixture.

What argparse makes of them (the tests' judge), but without its import, its regular expressions and its
translations: these take a tenth of the time of a small command. Help is left to argparse.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol

from partialroot.errors import UsageError


class Namespace(SimpleNamespace):
    """What was understood: each argument's value by its name."""


class Grammar(Protocol):
    """What arguments are added to: a Parser, or one of argparse's."""

    def add_argument(self, *names: str, **how: Any) -> Any:
        """Add an option, or the name of a word; see argparse for what may be said of them."""


class Argument:
    """An option, or what stands for words that are none; its fields are those of argparse."""

    __slots__ = ("action", "choices", "default", "dest", "names", "nargs", "required", "shown", "type")

    def __init__(
        self,
        *names: str,
        action: str = "store",
        choices: Sequence[str] | None = None,
        default: Any = None,
        dest: str | None = None,
        metavar: str | None = None,
        nargs: str | None = None,
        required: bool = False,
        type: Callable[[str], Any] = str,
        help: str = "",
    ) -> None:
        self.names, self.action, self.choices, self.nargs, self.type = names, action, choices, nargs, type
        self.default = False if action == "store_true" else default
        self.dest = dest or names[-1].lstrip("-").replace("-", "_")
        self.required = required
        self.shown = "/".join(names) if self.is_option else metavar or self.dest

    @property
    def is_option(self) -> bool:
        """Whether it begins with a dash."""
        return self.names[0].startswith("-")

    def value(self, text: str) -> Any:
        """Return what a word means. Raises UsageError."""
        try:
            value = self.type(text)
        except ValueError:
            self.refuse(f"invalid {self.type.__name__} value: {text!r}")
        if self.choices is not None and value not in self.choices:
            self.refuse(f"invalid choice: {text!r} (choose from {', '.join(map(repr, self.choices))})")
        return value

    def refuse(self, why: str) -> NoReturn:
        """Say what is wrong with its value."""
        raise UsageError(f"argument {self.shown}: {why}")


class Parser:
    """Understands the words of one verb."""

    def __init__(self) -> None:
        self._options: dict[str, Argument] = {}
        self._others: list[Argument] = []
        self._arguments: list[Argument] = []

    def add_argument(self, *names: str, **how: Any) -> None:
        """Add an option, or the name of a word, as argparse does."""
        one = Argument(*names, **how)
        self._arguments.append(one)
        if one.is_option:
            self._options |= dict.fromkeys(names, one)
        else:
            self._others.append(one)

    @property
    def names(self) -> Iterable[str]:
        """The options' names."""
        return self._options

    def parse(self, words: Iterable[str]) -> tuple[Namespace, list[str]]:
        """Return what the words mean, and those that mean nothing. Raises UsageError."""
        values = {one.dest: one.default for one in self._arguments}
        todo, plain, unknown, given = deque(words), list[str](), list[str](), set[str]()
        while todo:
            word = todo.popleft()
            if word == "--":
                plain += todo
                break
            if not self._is_option(word):
                plain.append(word)
                continue
            options = self._named(word)
            for one in options:
                given.add(one.dest)
                self._take(one, word, todo, values)
            if not options:
                unknown.append(word)
        missing = [one.shown for one in self._options.values() if one.required and one.dest not in given]
        missing += self._assign(plain, values)
        if missing:
            raise UsageError(f"the following arguments are required: {', '.join(missing)}")
        return Namespace(**values), unknown + plain

    def _is_option(self, word: str) -> bool:
        """Whether a word is an option; a negative number is none, nor is what has blanks in it."""
        if word[:1] != "-" or word == "-" or word[1:].replace(".", "", 1).isdecimal():
            return False
        return " " not in word.partition("=")[0] or word in self._options

    def _named(self, word: str) -> Sequence[Argument]:
        """Return the options that a word names: of one letter several, if they take no values."""
        one = self._options.get(word.partition("=")[0])
        if one is not None:
            return (one,)
        several = [self._options.get(f"-{letter}") for letter in word[1:]]
        return [one for one in several if one and one.action == "store_true"] if all(several) else ()

    def _take(self, one: Argument, word: str, todo: deque[str], values: dict[str, Any]) -> None:
        """Note the value of an option: of most it is in its word, or the next one."""
        _, equals, text = word.partition("=")
        if one.action == "store_true":
            if equals:
                one.refuse(f"ignored explicit argument {text!r}")
            values[one.dest] = True
            return
        if not equals:
            if not todo or todo[0] == "--" or self._is_option(todo[0]):
                one.refuse("expected one argument")
            text = todo.popleft()
        value = one.value(text)
        values[one.dest] = [*(values[one.dest] or ()), value] if one.action == "append" else value

    def _assign(self, plain: list[str], values: dict[str, Any]) -> list[str]:
        """Give words that are no options to those they stand for; return what nothing is left for."""
        missing = []
        for one in self._others:
            if one.nargs in ("*", "+"):
                values[one.dest] = [one.value(word) for word in plain]
            elif plain:
                values[one.dest] = one.value(plain[0])
            if not plain and one.nargs in (None, "+"):
                missing.append(one.shown)
            del plain[: None if one.nargs in ("*", "+") else 1]
        return missing
