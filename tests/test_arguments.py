"""The words of the command line, and how mistakes in them are told."""

import json
import signal
import subprocess
import sys
import tomllib

import pytest
from command import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st

from partialroot.cli import MODULES, arguments, main, values
from partialroot.errors import UsageError


def test_zonepaths_and_profiles_may_be_mixed() -> None:
    words = ["node", "/zones/a", "./mine.toml", "/zones/b", "/profiles/other.toml", "base"]
    assert values.zones_and_profiles(words) == (
        ("/zones/a", "/zones/b"),
        ("node", "./mine.toml", "/profiles/other.toml", "base"),
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["zones/a", "node"], "zonepaths are absolute"),
        (["node"], "no ZONEPATH"),
        (["/zones/a"], "no PROFILE"),
        (["./a", "node"], "zonepaths are absolute"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        values.zones_and_profiles(words)


@given(st.permutations(["/a", "/b", "node", "x.toml"]))
def test_each_kind_keeps_its_order(words: list[str]) -> None:
    zonepaths, profiles = values.zones_and_profiles(words)
    assert zonepaths == tuple(word for word in words if word in ("/a", "/b"))
    assert profiles == tuple(word for word in words if word in ("node", "x.toml"))


def test_options_may_stand_anywhere() -> None:
    parsed = arguments.parse(["populate", "/a", "--set", "port=1", "node", "--json", "base"])
    assert parsed.words == ["/a", "node", "base"]
    assert (parsed.verb, parsed.json, parsed.settings) == ("populate", True, ["port=1"])


def test_a_verb_nearly_right_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        arguments.parse(["populat", "/a"])
    assert caught.value.hint == "did you mean 'populate'?"


def test_an_option_nearly_right_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        arguments.parse(["populate", "/a", "node", "--keep-gong"])
    assert caught.value.hint == "did you mean '--keep-going'?"


def test_every_verb_is_a_function_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import import_module

    assert set(arguments.VERBS) == set(MODULES)
    for verb, module in MODULES.items():
        assert callable(getattr(import_module(module), verb))
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert f"example: partialroot {verb}" in capsys.readouterr().out


def test_settings_need_an_equals_sign() -> None:
    assert values.parameters(["port=8001", "empty=", "a=b=c"]) == {"port": "8001", "empty": "", "a": "b=c"}
    for bad in ("port", "=8001"):
        with pytest.raises(UsageError, match="has no '='"):
            values.parameters([bad])


def test_share_takes_auto_or_a_list() -> None:
    assert values.methods("auto") == ("auto",)
    assert values.methods("mount, clone") == ("mount", "clone")
    with pytest.raises(UsageError, match="knows no 'reflink'"):
        values.methods("mount,reflink")


@pytest.mark.parametrize("words", [["frobnicate"], ["populate"], ["plan", "--share"], []])
def test_a_mistake_is_one_message_and_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("partialroot: error: ")
    assert "Traceback" not in said.err


def test_with_json_a_mistake_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["populate", "--json", "zones/a", "node"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "usage"
    assert error["path"] == "zones/a"
    assert error["hint"]


ON_ZONES = ("status", "verify", "audit", "mount", "unmount", "boot", "halt", "remove")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["populate", "/a", "base", "--address", "1.2.3"], "'1.2.3' is no IPv4 address"),
        (["halt", "/a", "--grace", "-1"], "argument --grace: invalid seconds value: '-1'"),
        (["halt", "/a", "--grace", "nan"], "argument --grace: invalid seconds value: 'nan'"),
        (["explain", "/a", "usr/bin/node"], "paths are absolute"),
        (["explain", "a", "/usr/bin/node"], "paths are absolute"),
        *(([verb, "a"], "zonepaths are absolute") for verb in ON_ZONES),
        *(([verb, "/a", "--all"], "zones are named beside --all") for verb in ON_ZONES),
    ],
)
def test_mistakes_are_refused_before_anything_is_looked_at(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert message in said.err and "hint: " in said.err
    assert not said.out


def test_an_interrupt_is_an_error_of_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("partialroot.cli.looking.status", interrupted)
    assert main(["status", "--all", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["message"] == "interrupted"
    assert said.err == "partialroot: error: interrupted\n"


INTERRUPTED = """
import os, runpy, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["partialroot", "doctor"]
{start}
"""
STARTS = {
    "module": 'runpy.run_module("partialroot", run_name="__main__")',
    "script": "from partialroot.__main__ import command; command()",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize(
    ("module", "end"),
    [
        ("partialroot.cli", (-signal.SIGINT, "")),
        ("partialroot.cli.looking", (1, "partialroot: error: interrupted\n")),
    ],
)
def test_an_interrupt_while_code_is_imported_shows_none_of_it(
    start: str, module: str, end: tuple[int, str]
) -> None:
    line = [sys.executable, "-c", INTERRUPTED.format(module=module, start=start)]
    done = subprocess.run(line, capture_output=True, text=True, env={"PYTHONPATH": str(CHECKOUT)})
    assert (done.returncode, done.stderr) == end


def test_the_installed_command_is_the_one_that_is_quiet() -> None:
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"partialroot": "partialroot.__main__:command"}


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "| head -c 1", ">/dev/full"])
def test_nobody_has_to_listen(redirection: str) -> None:
    line = f"{sys.executable} -m partialroot plan shell {redirection}"
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
