"""The documents say what is so: the JSON of docs/json.md, the commands of the README."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import CHECKOUT, partialroot
from needs import needs

EXAMPLES: dict[str, Any] = {
    name: json.loads(text)
    for name, text in re.findall(
        r"^```json (\S+)\n(.*?)^```", (CHECKOUT / "docs/json.md").read_text(), re.DOTALL | re.MULTILINE
    )
}
PROFILE = """
uses = ["base"]
files = ["/etc/hosts.allow"]
optional = ["/usr/bin/env"]
[directories."/srv"]
mode = "0755"
[start]
command = ["/bin/sh", "-c", "sleep 1000"]
"""


def differences(example: Any, actual: Any, at: str = "") -> Iterator[str]:
    """Yield where two values differ in kind; null stands for any kind."""
    if example is None or actual is None:
        return
    if type(example) is not type(actual) and {type(example), type(actual)} != {int, float}:
        yield f"{at}: {type(actual).__name__} instead of {type(example).__name__}"
    elif isinstance(example, dict) and not at.endswith((".by_method", ".methods")):
        yield from (f"{at}.{key}: on one side only" for key in example.keys() ^ actual.keys())
        for key in example.keys() & actual.keys():
            yield from differences(example[key], actual[key], f"{at}.{key}")
    elif isinstance(example, list) and example:
        for one in actual:
            yield from differences(example[0], one, f"{at}[]")


@pytest.mark.parametrize(
    ("example", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": "1"}]}),
        ([], {}),
        (True, 1),
    ],
)
def test_the_judge_sees_differences(example: Any, actual: Any) -> None:
    assert list(differences(example, actual))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The object of each verb, from the life of one zone."""
    top = tmp_path_factory.mktemp("docs")
    top.chmod(0o700)
    profile, zone, store = top / "life.toml", top / "zone", top / "store"
    profile.write_text(PROFILE)
    said: dict[str, Any] = {}

    def say(name: str, *words: str | Path, code: int | None = 0) -> None:
        options = ("--json", "--store", store)
        said[name] = partialroot(words[0], *options, *words[1:], code=code).document

    say("refused", "populate", "base", code=2)
    said["error"] = {key: said["refused"][key] for key in ("error", "format")}
    say("plan", "plan", profile)
    say("populate", "populate", zone, profile)
    profile.write_text(PROFILE.replace("0755", "0700"))
    say("dry", "populate", zone, profile, "--dry-run")
    said["populate-dry-run"] = {key: said["dry"][key] for key in ("format", "zones")}
    profile.write_text(PROFILE)
    say("explain", "explain", zone, "/usr/bin/env", "--what-if-removed")
    say("closure", "closure", "/bin/sh", "/usr/bin/env", "--modules")
    say("export", "export", zone, "--manifest", "mtree")
    say("affected", "affected", "/usr/bin/env")
    say("sbom", "sbom", zone, "--out", top / "bill.json")
    say("status", "status", zone, "--size")
    say("unmount", "unmount", zone)
    say("mount", "mount", zone)
    (zone / "root/etc/hosts").unlink()
    say("verify", "verify", zone, code=5)
    say("refresh", "refresh", zone)
    profile.write_text(f'{PROFILE}[text."/etc/motd"]\ncontent = "new"\n')
    say("refresh", "refresh", zone)
    say("rollback", "rollback", zone)
    say("prune", "prune", "-n")
    say("audit", "audit", zone, code=None)
    say("verify-watch", "verify", "--watch", "--wait", "0", "--for", "0", zone, code=None)
    say("boot", "boot", zone, code=None)
    say("status", "status", zone, "--size", code=None)
    say("halt", "halt", zone)
    say("remove", "remove", zone)
    say("learn", "learn", "--out", top / "learned.toml", "--", "/bin/true", code=None)
    say("doctor", "doctor")
    say("profiles-list", "profiles", "list")
    say("profiles-check", "profiles", "check", "base")
    return said


@needs("glibc")
@pytest.mark.parametrize("name", EXAMPLES)
def test_json_is_as_documented(documents: dict[str, Any], name: str) -> None:
    if name in ("boot", "learn", "verify-watch") and "error" in documents[name]:
        assert documents[name]["error"]["kind"] in ("boot", "trace")  # nothing here can run, or watch, a zone
        return
    assert not list(differences(EXAMPLES[name], documents[name], name))


@needs("glibc")
def test_an_error_comes_with_the_keys_of_its_verb(documents: dict[str, Any]) -> None:
    assert documents["refused"].keys() == documents["populate"].keys() | {"error"}


@pytest.mark.parametrize(
    "verb", ["populate", "plan", "closure", "explain", "status", "boot", "learn", "doctor", "export"]
)
def test_a_mistake_in_the_words_has_the_keys_of_its_verb(verb: str) -> None:
    """Also what the parser refuses, before it knows anything."""
    said = partialroot(verb, "--no-such-option", "--json", code=2).document
    assert said.keys() == EXAMPLES[verb].keys() | {"error"}


@pytest.mark.parametrize(
    "verb", ["verify", "audit", "refresh", "rollback", "mount", "unmount", "boot", "halt", "remove"]
)
def test_a_zone_that_failed_has_the_keys_of_its_verb(tmp_path: Path, verb: str) -> None:
    zone = tmp_path / "none"
    said = partialroot(verb, zone, "--json", "--store", tmp_path / "store", code=2).document
    example = EXAMPLES[{"audit": "verify", "unmount": "mount", "rollback": "refresh"}.get(verb, verb)]
    assert said["zones"][0].keys() == example["zones"][0].keys()
    assert said["error"] == said["zones"][0]["error"]


@needs("glibc")
@pytest.mark.parametrize("words", [("closure", "/no/such"), ("profiles", "check", "wanting.toml")])
def test_what_is_missing_is_an_error_of_the_document(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "wanting.toml").write_text('files = ["/no/such"]\n')
    tmp_path.chmod(0o700)
    paths = [tmp_path / word if word.endswith(".toml") else word for word in words]
    said = partialroot(*paths, "--json", code=2).document
    assert said["error"]["kind"] == "missing" and "/no/such" in said["error"]["message"]
    assert [one["name"] for one in said["missing"]] == ["/no/such"]


@needs("glibc")
def test_json_that_shares_an_example(documents: dict[str, Any]) -> None:
    assert not list(differences(EXAMPLES["verify"], documents["audit"], "audit"))
    assert not list(differences(EXAMPLES["mount"], documents["unmount"], "unmount"))
    assert not list(differences(EXAMPLES["refresh"], documents["rollback"], "rollback"))


@needs("glibc")
def test_json_is_sorted_and_has_its_format(documents: dict[str, Any]) -> None:
    for document in documents.values():
        assert document["format"] == 1
        assert list(document) == sorted(document)


@pytest.mark.parametrize("page", ["README.md", "docs/json.md", "docs/learn.md", "docs/accounting.md"])
def test_commands_of_the_documents_exist(page: str) -> None:
    text = (CHECKOUT / page).read_text()
    verbs = set(re.findall(r"(?:`|# |\$ |: )partialroot ([a-z]+)", text))
    known = set(re.findall(r"^    ([a-z]+) ", partialroot("--help").out, re.MULTILINE))
    assert verbs, "the pattern finds the commands"
    assert verbs <= known
    files = re.findall(r"(?:\b(?:scripts|docs|tests)|\.ci)/[\w.-]*\w", text)
    assert not [name for name in files if not (CHECKOUT / name).exists()]


def test_options_of_the_documents_exist() -> None:
    """Each verb's options in the README are known to that verb."""
    text = (CHECKOUT / "README.md").read_text()
    for verb, rest in re.findall(r"(?:`|# |\$ )partialroot ([a-z]+)([^`\n]*)", text):
        known = partialroot(verb, "--help").out
        assert all(option in known for option in re.findall(r"(?<=\s)--[a-z-]+", rest))


def test_the_changelog_names_every_verb() -> None:
    known = re.findall(r"^    ([a-z]+) ", partialroot("--help").out, re.MULTILINE)
    text = (CHECKOUT / "CHANGELOG.md").read_text()
    assert not [verb for verb in known if f"`{verb}`" not in text]
