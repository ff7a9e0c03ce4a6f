"""Composition: unions, overrides, contradictions with both sides, parameters; order makes no difference."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import ConflictError, PartialRootError, ProfileError
from partialroot.model import DirectoryWish, EditWish, Profile
from partialroot.profiles.compose import compose
from partialroot.profiles.toml import parse_profile


def parsed(**texts: str) -> dict[str, Profile]:
    return {name: parse_profile(text, name, f"{name}.toml") for name, text in texts.items()}


def composed(asked: str, texts: dict[str, str], parameters: dict[str, str] | None = None) -> Profile:
    """Compose the profiles named in ``asked``, which may use all others."""
    profiles = parsed(**texts)
    return compose([profiles[name] for name in asked.split()], profiles, parameters or {})


def put_together(asked: str, parameters: dict[str, str] | None = None, **texts: str) -> Profile:
    return composed(asked, texts, parameters)


def texts_of(items: tuple[object, ...]) -> list[str]:
    return [str(getattr(item, "text", getattr(item, "path", ""))) for item in items]


# --- lists and last words -----------------------------------------------------------------------------


def test_lists_are_united_in_order_and_keep_the_first_place() -> None:
    profile = put_together(
        "web",
        base='programs = ["sh", "ls"]',
        web='uses = ["base"]\nprograms = ["node", "ls"]',
    )
    assert profile.programs == (("sh", "base.toml:1"), ("ls", "base.toml:1"), ("node", "web.toml:2"))
    assert profile.uses == ()
    assert profile.name == "web"


def test_names_places_and_summaries() -> None:
    profile = put_together("b a", a='summary = "A"\nlean = true', b='summary = "B"\nnetwork = "host"')
    assert (profile.name, profile.where, profile.summary) == ("a+b", "a.toml, b.toml", "A; B")
    assert profile.places == {"lean": "a.toml:2", "network": "b.toml:2"}


@pytest.mark.parametrize(
    ("base", "web", "field", "expected"),
    [
        ("lean = true", "lean = false", "lean", False),
        ("network = 'host'", "", "network", "host"),
        ("read_only = true", "read_only = false", "read_only", False),
        ('files = ["/etc/motd"]', '[text."/etc/motd"]\ncontent = "x"', "files", ()),
        ('[text."/etc/motd"]\ncontent = "x"', 'files = ["/etc/motd"]', "texts", ()),
        ('[directories."/srv"]', '[text."/srv"]\ncontent = "x"', "directories", ()),
        ('files = ["/etc/motd"]', 'exclude = ["/etc"]', "files", ()),
        ('programs = ["/bin/sh"]', 'exclude = ["/bin/*sh"]', "programs", ()),
        ('[text."/etc/motd"]\ncontent = "x"', 'exclude = ["/etc/*"]', "texts", ()),
        ('[edit."/etc/motd"]\ndrop = ["x"]', 'exclude = ["/etc/motd"]', "edits", ()),
        ('[edit."/etc/motd"]\ndrop = ["x"]', '[text."/etc/motd"]\ncontent = "y"', "edits", ()),
        ("", "", "start", None),
    ],
)
def test_a_profile_has_the_last_word_over_those_it_uses(
    base: str, web: str, field: str, expected: object
) -> None:
    assert getattr(put_together("web", base=base, web=f'uses = ["base"]\n{web}'), field) == expected


def test_the_last_word_reaches_through_the_middle_and_beats_siblings_of_the_used() -> None:
    profile = put_together(
        "top plain",
        base="lean = true",
        plain='uses = ["base"]',
        middle='uses = ["base"]',
        top='uses = ["middle"]\nlean = false',
    )
    assert profile.lean is False


def test_what_is_named_is_taken_although_a_used_profile_excludes_it() -> None:
    profile = put_together(
        "web", base='exclude = ["/usr/share/doc"]', web='uses = ["base"]\nfiles = ["/usr/share/doc/x"]'
    )
    assert texts_of(profile.files) == ["/usr/share/doc/x"]
    assert texts_of(profile.exclude) == ["/usr/share/doc"]


def test_parts_of_a_directory_come_from_different_profiles() -> None:
    profile = put_together(
        "a b", a='[directories."/srv"]\nmode = "0700"', b='[directories."/srv"]\nowner = "www-data"'
    )
    assert profile.directories == (DirectoryWish(profile.directories[0].path, "a.toml:1", 0o700, "www-data"),)


def test_edits_of_a_file_are_united() -> None:
    profile = put_together(
        "a b",
        a='[edit."/x"]\ndrop = ["1"]\nsubstitute = [["a", "b"]]\nappend = ["", ""]',
        b='[edit."/x"]\ndrop = ["1", "2"]\nsubstitute = [["a", "b"], ["c", "d"]]\nappend = ["", "z"]',
    )
    assert profile.edits == (
        EditWish(profile.edits[0].path, "a.toml:1", ("1", "2"), (("a", "b"), ("c", "d")), ("", "", "z")),
    )


# --- contradictions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("lean = true", "lean = false", "a.toml:1: gives lean a value, and b.toml:1 another"),
        (
            "\nnetwork = 'host'",
            "network = 'private'",
            "a.toml:2: gives network a value, and b.toml:1 another",
        ),
        (
            "[start]\npause = true",
            "[start]\ncommand = ['sh']",
            "a.toml:1: gives the zone a start, and b.toml:1",
        ),
        (
            '[text."/x"]\ncontent = ""',
            '\n[text."/x"]\ncontent = ""\nmode = "0600"',
            "a.toml:1: gives /x a content, mode or owner, and b.toml:2 another",
        ),
        (
            '[directories."/x"]\nmode = "0700"',
            '[directories."/x"]\nmode = "0755"',
            "a.toml:1: gives the directory /x its mode, and b.toml:1 another",
        ),
        (
            '[text."/x"]\ncontent = ""',
            'files = ["/x"]',
            "a.toml:1: writes the text /x, and b.toml:1 wants the file /x",
        ),
        (
            '[text."/x"]\ncontent = ""',
            '[directories."/x"]',
            "writes the text /x, and b.toml:1 makes the directory /x",
        ),
        ('files = ["/x/y"]', 'exclude = ["/x"]', "a.toml:1: wants the file /x/y, and b.toml:1 excludes /x"),
        (
            'secrets = ["/x/y"]',
            'exclude = ["/*/y"]',
            "a.toml:1: wants the file /x/y, and b.toml:1 excludes /*/y",
        ),
        (
            'programs = ["/x/y/z"]',
            'exclude = ["/*/y"]',
            "a.toml:1: wants the program /x/y/z, and b.toml:1 excludes",
        ),
        ('[edit."/x"]\ndrop = [""]', 'exclude = ["/"]', "a.toml:1: edits /x, and b.toml:1 excludes /"),
        (
            '[edit."/x"]\nsubstitute = [["a", "b"]]',
            '[edit."/x"]\nsubstitute = [["a", "c"]]',
            "a.toml:1: gives 'a' in /x a substitute, and b.toml:1 another",
        ),
        ("parameters.p = '1'", "parameters.p = '2'", "gives the parameter p a value, and b.toml:1 another"),
    ],
)
def test_contradictions_name_both_sides(a: str, b: str, message: str) -> None:
    for asked in ("a b", "b a"):
        with pytest.raises(ConflictError) as caught:
            put_together(asked, a=a, b=b)
        assert message in str(caught.value)
    settled = put_together(
        "both", {"p": "3"} if "parameters" in a else {}, a=a, b=b, both=f'uses = ["a"]\n{b}'
    )
    assert settled.name == "both"


def test_an_exclude_of_a_sibling_is_a_contradiction_although_another_user_agrees() -> None:
    with pytest.raises(ConflictError, match="excludes /x"):
        put_together("a b", base='files = ["/x"]', a='uses = ["base"]\nexclude = ["/x"]', b='files = ["/x"]')


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ('files = ["/usr"]', 'exclude = ["/usr/share/doc"]'),
        ('files = ["/usr/*"]', 'exclude = ["/usr/share"]'),
        ('optional = ["/x"]', 'exclude = ["/x"]'),
        ('programs = ["sh"]', 'exclude = ["/bin/sh"]'),
        ('[text."/x"]\ncontent = "1"', '[text."/x"]\ncontent = "1"'),
        ("[start]\npause = true", "[start]\npause = true"),
        ('files = ["/xy"]', 'exclude = ["/x"]'),
    ],
)
def test_what_is_no_contradiction(a: str, b: str) -> None:
    put_together("a b", a=a, b=b)


@pytest.mark.parametrize(
    ("asked", "texts", "message"),
    [
        (
            "a",
            {"a": '\nuses = ["b"]', "b": 'uses = ["a"]'},
            "b.toml:1: the profiles use each other in a loop: a uses b uses a",
        ),
        ("a", {"a": 'uses = ["a"]'}, "a.toml:1: the profiles use each other in a loop: a uses a"),
        (
            "a",
            {"a": 'uses = ["bse"]', "base": ""},
            "a.toml:1: no profile is called 'bse' (did you mean 'base'?)",
        ),
    ],
)
def test_uses_that_lead_nowhere(asked: str, texts: dict[str, str], message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        composed(asked, texts)
    assert message in str(caught.value)


def test_a_very_long_chain_is_refused() -> None:
    chain = {f"p{i}": f'uses = ["p{i + 1}"]' for i in range(3000)}
    with pytest.raises(ProfileError, match="loop"):
        composed("p0", chain)


def test_two_profiles_of_one_name() -> None:
    one, other = parse_profile("", "a", "x/a.toml"), parse_profile("lean = true", "a", "y/a.toml")
    with pytest.raises(ProfileError, match=r"two different profiles are called 'a': x/a\.toml and y/a\.toml"):
        compose([one, other], {}, {})
    user = parse_profile('uses = ["a"]', "b", "b.toml")
    with pytest.raises(ProfileError, match="two different profiles"):
        compose([one, user], {"a": other}, {})
    assert compose([one, one], {}, {}) == compose([one], {}, {})


# --- parameters ---------------------------------------------------------------------------------------

EVERYWHERE = """
files = ["/srv/@name@/x"]
users = ["@name@"]
[parameters]
name = "web"
port = "80"
[directories."/srv/@name@"]
owner = "@name@"
[text."/srv/@name@/conf"]
content = "@port@ @port@ me@home@port@ @unknown@"
group = "@name@"
[edit."/etc/@name@"]
substitute = [["@port@", "<@name@>"]]
append = ["@port@"]
[start]
command = ["/bin/@name@", "@port@"]
"""


def test_parameters_go_everywhere_and_unknown_names_stay() -> None:
    profile = put_together("a", {"port": "8001"}, a=EVERYWHERE)
    assert profile.parameters == {"name": "web", "port": "8001"}
    assert texts_of(profile.files) == ["/srv/web/x"]
    assert texts_of(profile.users) == ["web"]
    assert [(wish.path, wish.owner) for wish in profile.directories] == [("/srv/web", "web")]
    (text,) = profile.texts
    assert (text.path, text.content, text.group) == (
        "/srv/web/conf",
        "8001 8001 me@home8001 @unknown@",
        "web",
    )
    (edit,) = profile.edits
    assert (edit.path, edit.substitute, edit.append) == ("/etc/web", (("8001", "<web>"),), ("8001",))
    assert profile.start is not None
    assert profile.start.command == ("/bin/web", "8001")


def test_a_value_is_not_searched_for_parameters() -> None:
    profile = put_together(
        "a", {"name": "@port@"}, a='parameters = {name = "", port = "1"}\n[text."/x"]\ncontent = "@name@"'
    )
    assert profile.texts[0].content == "@port@"


def test_a_user_chooses_the_default_of_what_it_uses() -> None:
    texts = {"a": 'parameters.p = "1"\n[text."/x"]\ncontent = "@p@"', "b": 'uses = ["a"]\nparameters.p = "2"'}
    assert composed("b", texts).texts[0].content == "2"
    assert composed("a b", texts, {"p": "3"}).texts[0].content == "3"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prt": "1"}, "these profiles have no parameter 'prt' (did you mean 'port'?)"),
        ({"name": "../.."}, "a.toml:2: '/srv/../../x' has a '..'"),
        ({"name": "a/b\0"}, "a.toml:2: '/srv/a/b\\x00/x' has a NUL"),
        ({"name": "a b"}, "'a b' is not the name of a user or group"),
        ({"port": "\0"}, "a.toml:15: '\\x00' has a NUL"),
        ({"port": "\udcff"}, "the value of port is not UTF-8"),
        ({"port": "x" * 600_000}, "bytes of text are too much"),
    ],
)
def test_values_that_do_not_fit(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        put_together("a", parameters, a=EVERYWHERE)
    assert message in str(caught.value)


# --- order makes no difference --------------------------------------------------------------------------

_STATEMENTS = st.sampled_from(
    [
        "lean = true",
        "lean = false",
        'files = ["/x", "/y/z"]',
        'files = ["/y/z", "/w"]',
        'exclude = ["/y"]',
        'exclude = ["/x*"]',
        'users = ["@p@"]',
        'programs = ["sh", "ls"]',
        'text."/x".content = "1"',
        'text."/x".content = "@p@"',
        'directories."/d".mode = "0700"',
        'directories."/d".owner = "root"',
        'edit."/x" = {append = ["1"], drop = ["@p@"]}',
        'edit."/x" = {append = ["2", "2"], substitute = [["a", "b"]]}',
        'edit."/w" = {substitute = [["a", "c"]]}',
        "start.pause = true",
        'start.command = ["sh", "@p@"]',
        'parameters.p = "1"',
        'parameters.p = "2"',
    ]
)


def _subject(line: str) -> str:
    return "start" if line.startswith("start") else line.split("=")[0]


_NAMES = ("a", "b", "c", "d")


@st.composite
def libraries(draw: st.DrawFn) -> dict[str, Profile]:
    """Return profiles that use those before them."""
    texts = {}
    for index, name in enumerate(_NAMES):
        uses = draw(st.lists(st.sampled_from(_NAMES[:index]), unique=True)) if index else []
        lines = draw(st.lists(_STATEMENTS, max_size=4, unique_by=_subject))
        texts[name] = "\n".join([f"uses = {uses}", *lines])
    return parsed(**texts)


def outcome(asked: tuple[Profile, ...], library: dict[str, Profile]) -> Profile | str:
    try:
        return compose(asked, library, {})
    except PartialRootError as error:
        return f"{type(error).__name__}: {error}"


@settings(max_examples=300, deadline=None)
@given(libraries(), st.sets(st.sampled_from(_NAMES), min_size=1, max_size=3))
def test_order_and_repetition_make_no_difference(library: dict[str, Profile], asked: set[str]) -> None:
    profiles = tuple(library[name] for name in sorted(asked))
    first = outcome(profiles, library)
    for permuted in itertools.permutations(profiles):
        assert outcome(permuted, library) == first
    assert outcome(profiles + profiles, library) == first


@settings(max_examples=300, deadline=None)
@given(libraries(), st.sampled_from(_NAMES))
def test_what_is_composed_composes_to_itself(library: dict[str, Profile], name: str) -> None:
    once = outcome((library[name],), library)
    # Not with excludes: to name what a used profile excludes would now be a contradiction in one profile.
    if isinstance(once, Profile) and not once.exclude:
        assert compose([once], {}, {}) == once
