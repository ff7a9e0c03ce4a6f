"""Zones that differ in parameters: the plan made from another's is the one that would be made anew."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from sources import write

from partialroot.errors import ProfileError
from partialroot.model import Action, Plan
from partialroot.pipeline import grouping
from partialroot.pipeline.grouping import Asked, Planner
from partialroot.pipeline.planning import make_plan
from partialroot.pipeline.sources import Options
from partialroot.plan.vary import vary
from partialroot.profiles.library import Library
from partialroot.source.tree import Tree

HEAD = """
[parameters]
port = "8000"
name = "tool"
"""
# What a parameter may change of a plan that is there already.
VARIED = {
    "text": 'files = ["/usr/bin/tool"]\n[text."/etc/motd"]\ncontent = "@port@ and @port@"\n',
    "start": '[start]\ncommand = ["/usr/bin/tool", "@port@", "x"]\n',
    "edit": 'files = ["/etc/hosts"]\n[edit."/etc/hosts"]\nappend = ["127.0.0.1 h@port@"]\n',
    "edit of a text": '[text."/etc/a"]\ncontent = "@port@"\n[edit."/etc/a"]\nappend = ["more"]\n',
    "edits of a text": '[text."/etc/a"]\ncontent = "1"\n[edit."/etc/a"]\nsubstitute = [["1", "@port@"]]\n',
    "nothing": 'files = ["/usr/bin/tool"]\n',
    "owners stay": 'users = ["root"]\n[text."/etc/motd"]\ncontent = "@port@"\nowner = "root"\n',
}
# What takes another closure, another image, or a look at the source.
ANEW = {
    "program": 'programs = ["/usr/bin/@name@"]\n',
    "file": 'files = ["/usr/bin/@name@"]\n',
    "script": '[text."/srv/run"]\ncontent = "#!/usr/bin/@name@\\n"\nmode = "0755"\n',
    "script that is called": '[text."/srv/run"]\ncontent = "#!/usr/bin/@name@\\n"\n',
    "program that is started": '[start]\ncommand = ["/usr/bin/@name@"]\n',
    "path": '[text."/etc/@name@"]\ncontent = "x"\n',
    "directory": '[directories."/srv/@name@"]\n',
    "shared": 'files = ["/usr/bin/tool"]\n[text."/usr/lib/app/conf"]\ncontent = "@port@"\n',
    "stack": '[text."/etc/pam.d/@port@"]\ncontent = "x"\n',
    "elsewhere": 'private = ["/usr/app"]\n[text."/usr/app/conf"]\ncontent = "@port@"\n',
}


class Planning:
    """A source, and plans of a profile with values for its parameters; counts the plans made anew."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top, self.anew = top, 0
        for name in ("tool", "other"):
            write(top / "source/usr/bin" / name, f"#!/usr/bin/{name}\n", 0o755)
        write(top / "source/etc/hosts", "::1 localhost\n", 0o644)
        write(top / "source/etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644)
        write(top / "source/etc/group", "root:x:0:\n", 0o644)

        def counted(*words: Any, **more: Any) -> Any:
            self.anew += 1
            return make_plan(*words, **more)

        monkeypatch.setattr(grouping, "make_plan", counted)

    def plans(self, profile: str, *values: dict[str, str]) -> list[Plan]:
        """Return a plan for each of some values, all from one planner."""
        file = self.top / "app.toml"
        lists, bracket, tables = (
            profile.partition("\n[") if not profile.startswith("[") else ("", "", profile)
        )
        write(file, f"{lists}\n{HEAD}{bracket}{tables}", 0o644)
        options = Options(store=self.top / "store", source=self.top / "source")
        asked = [Asked((str(file),), one) for one in values]
        planner = Planner(options, [(self.top / "zone", one) for one in asked])
        return [planner.plan(one).plan for one in asked]


@pytest.fixture
def planning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planning]:
    tmp_path.chmod(0o700)
    yield Planning(tmp_path, monkeypatch)


def timeless(plan: Plan) -> Plan:
    """Return a plan without the ctimes of its files: a trial link changes these."""

    def same(action: Action) -> Action:
        node = action.entry.node and action.entry.node._replace(ctime_ns=0)
        return action._replace(entry=action.entry._replace(node=node))

    return plan._replace(shared=tuple(map(same, plan.shared)), private=tuple(map(same, plan.private)))


GOLDEN = "0" * 64
OTHERS: tuple[dict[str, str], ...] = ({}, {"port": "9001"}, {"port": "9002", "name": "other"}, {"port": ""})


@pytest.mark.parametrize("what", [*VARIED, *ANEW])
@needs("root")
def test_a_plan_from_another_is_as_one_made_anew(planning: Planning, what: str) -> None:
    profile = (VARIED | ANEW)[what]
    together = planning.plans(profile, *OTHERS)
    count = planning.anew
    alone = [planning.plans(profile, one)[0] for one in OTHERS]
    assert list(map(timeless, together)) == list(map(timeless, alone))
    if what in VARIED:
        assert count == 1
        assert len({id(plan.shared) for plan in together}) == 1
    else:
        assert count > 1


def test_a_golden_layer_is_for_all_values(planning: Planning) -> None:
    """What profiles write is not in it."""
    one = planning.plans(VARIED["text"], {"port": "1"})[0]._replace(golden=GOLDEN)
    library, source = Library((), "linux"), Tree(planning.top / "source")
    made, other = (library.compose([one.profiles[0]], {"port": port}) for port in ("1", "2"))
    varied, same = vary(one, made, other, source), vary(one, made, made, source)
    assert varied is not None and varied.golden == GOLDEN
    assert same == one


def test_the_same_values_are_planned_once(planning: Planning) -> None:
    one, two = planning.plans(VARIED["text"], {"port": "1"}, {"port": "1"})
    assert one is two


def test_an_edit_that_cannot_be_done(planning: Planning) -> None:
    profile = 'files = ["/etc/hosts"]\n[edit."/etc/hosts"]\ndrop = ["::1 @name@"]\n'
    with pytest.raises(ProfileError, match="has no line"):
        planning.plans(profile, {"name": "localhost"}, {"name": "nothing"})
