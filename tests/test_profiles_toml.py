"""From TOML to a Profile: every field arrives with its line, and nothing but ProfileError comes of junk."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import ProfileError
from partialroot.model import DirectoryWish, EditWish, Profile, Start, TextWish
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.profiles.toml import KEYS, parse_profile

WHOLE = '''summary = "All keys"
uses = ["base"]
programs = ["node", "/usr/bin/["]
packages = ["lib*", "libc6:amd64"]
files = [
    "/etc/hosts/",  # the slash goes
    "/usr/lib/{a,b}*",
]
optional = ["/etc/localtime"]
secrets = ["/etc/key"]
exclude = ["/usr/share/doc"]
modules = { pam = ["login"], nss = [
    "passwd"] }
private = ["/usr/lib/state"]
users = ["root"]
groups = ["staff"]
lean = false
read_only = true
network = "host"

[parameters]
port = "8000"

[directories."/srv"]
mode = "2755"
owner = 33
[directories."/run"]

[text."/etc/motd"]
content = """
hello @port@
"""
mode = "600"
group = "staff"

[edit."/etc/hosts"]
drop = ["a"]
substitute = [["b", ""]]
append = ["c", "c"]

[start]
command = ["sh", "-c", "exit"]
setuid = true
'''


def test_every_field_arrives_with_its_line() -> None:
    assert parse_profile(WHOLE, "all", "all.toml") == Profile(
        name="all",
        where="all.toml",
        summary="All keys",
        uses=(Item("base", "all.toml:2"),),
        programs=(Item("node", "all.toml:3"), Item("/usr/bin/[", "all.toml:3")),
        packages=(Item("lib*", "all.toml:4"), Item("libc6:amd64", "all.toml:4")),
        files=(Item("/etc/hosts", "all.toml:6"), Item("/usr/lib/{a,b}*", "all.toml:7")),
        optional=(Item("/etc/localtime", "all.toml:9"),),
        secrets=(Item("/etc/key", "all.toml:10"),),
        exclude=(Item("/usr/share/doc", "all.toml:11"),),
        pam=(Item("login", "all.toml:12"),),
        nss=(Item("passwd", "all.toml:13"),),
        private=(Item("/usr/lib/state", "all.toml:14"),),
        users=(Item("root", "all.toml:15"),),
        groups=(Item("staff", "all.toml:16"),),
        lean=False,
        read_only=True,
        network="host",
        parameters={"port": "8000"},
        directories=(
            DirectoryWish(RootPath("/srv"), "all.toml:24", 0o2755, "33"),
            DirectoryWish(RootPath("/run"), "all.toml:27"),
        ),
        texts=(TextWish(RootPath("/etc/motd"), "all.toml:29", "hello @port@\n", 0o600, None, "staff"),),
        edits=(EditWish(RootPath("/etc/hosts"), "all.toml:36", ("a",), (("b", ""),), ("c", "c")),),
        start=Start("all.toml:41", ("sh", "-c", "exit"), setuid=True),
        places={
            "lean": "all.toml:17",
            "read_only": "all.toml:18",
            "network": "all.toml:19",
            "parameters.port": "all.toml:22",
        },
    )


def test_nothing_said_is_nothing_wished() -> None:
    assert parse_profile("", "x", "x.toml") == Profile("x", "x.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files = [", "x.toml:1: not TOML"),
        ('\n\nfiles = ["a" "b"]', "x.toml:3: not TOML"),
        ("lean = true\nlean = true", "x.toml:2: not TOML: Cannot overwrite a value"),
        ('"pro\\u0007grams" = 1', "x.toml:1: unknown key 'pro\\x07grams' (did you mean 'programs'?)"),
        ("x" * 5000 + " = 1", "xx...' (known keys: directories, edit, exclude"),
        ("a.b.c = 1", "x.toml:1: unknown key 'a'"),
        ("parameters = 1", "x.toml:1: parameters must be a table"),
        ("[[text]]", "x.toml:1: text must be a table, not an array"),
        ('text."/a" = "b"', "x.toml:1: text.'/a' must be a table, not a string"),
        ("[parameters]\n'@' = '1'", "x.toml:2: '@' is not the name of a parameter"),
        ('files = ["/a\\u0000b"]', "has a NUL"),
        ('files = ["/a\\nb"]', "cannot be printed"),
        ('files = ["/{.,}./etc"]', "x.toml:1: '/../etc' has a '..'"),
        ('exclude = ["' + "/{a,b}" * 12 + '"]', "x.toml:1: "),
        ('files = ["/' + "a" * 5000 + '"]', "x.toml:1: a path of 5001 characters is too long"),
        ('programs = [".."]', "not the name or path of a program"),
        ('programs = ["py*"]', "not the name or path of a program"),
        ('summary = "a\\nb"', "one line"),
        ('[directories."/a/../b"]', "x.toml:1: '/a/../b' has a '..'"),
        ('[text."/a"]\ncontent = "x"\nmode = "0o7"', "x.toml:3: '0o7' is not a mode"),
        ('[edit."/a"]\nsubstitute = [["", "x"]]', "x.toml:2: substitute must hold pairs"),
        ('[edit."/a"]\nsubstitute = [["x"]]', "x.toml:2: substitute must hold pairs"),
        ('[start]\ncommand = ["a\\u0000"]', "has a NUL"),
        ('[start]\ncommand = ["./a"]', "not the name or path of a program"),
        ("[start]\ncommand = []", "x.toml:1: start must have either"),
        ("[start]\npause = false", "x.toml:1: start must have either"),
        ("lean = 1e400", "x.toml:1: lean must be true or false, not a float"),
        ("lean = " + "9" * 5000, "x.toml: not TOML"),
        ("lean = 2020-01-01", "not a date"),
        ('[text."/a"]\ncontent = "' + "é" * 600_000 + '"', "x.toml:2: 1200000 bytes of text are too much"),
        ("#" * 3_000_000, "x.toml: larger than 2097152 bytes"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "x", "x.toml")
    assert message in str(caught.value)


def test_what_holds_a_parameter_is_judged_later() -> None:
    profile = parse_profile('files = ["@where@/x"]\nusers = ["@who@"]', "x", "x.toml")
    assert profile.files == (Item("@where@/x", "x.toml:1"),)


# --- junk ---------------------------------------------------------------------------------------------

_LEAVES = st.one_of(
    st.sampled_from(
        ['"/a"', '"x"', '"/{a,b}*"', '"@p@"', '"0755"', '""', '"/a/../b"', '"a\\u0000"', '"private"']
    ),
    st.sampled_from(["1", "-1", "true", "false", "1.5", "2020-01-01", "nan"]),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(
            st.tuples(st.sampled_from(["pam", "nss", "a", "mode"]), inner),
            max_size=2,
            unique_by=lambda p: p[0],
        ).map(lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"),
    ),
    max_leaves=4,
)
_KEYS = st.sampled_from(
    [*KEYS, *(key.replace(".", '."/x".') for key in KEYS), "parameters.p", "unknown", '""."/y"']
)
_DOCUMENTS = st.lists(st.tuples(_KEYS, _VALUES), max_size=5, unique_by=lambda pair: pair[0]).map(
    lambda pairs: "\n".join(f"{key} = {value}" for key, value in pairs)
)


def _profile_or_error(text: str) -> None:
    try:
        profile = parse_profile(text, "x", "x.toml")
    except ProfileError as error:
        assert error.path is not None
        assert error.path.startswith("x.toml")
        assert str(error).isprintable()
    else:
        assert isinstance(profile, Profile)


@settings(max_examples=500, deadline=None)
@given(_DOCUMENTS)
def test_documents_give_a_profile_or_an_error(text: str) -> None:
    _profile_or_error(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_a_profile_or_an_error(text: str) -> None:
    _profile_or_error(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, 4), st.text(alphabet=WHOLE + "\0é\r", max_size=4))
def test_a_damaged_profile_gives_a_profile_or_an_error(at: int, gone: int, put: str) -> None:
    _profile_or_error(WHOLE[:at] + put + WHOLE[at + gone :])
