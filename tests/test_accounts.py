"""Accounts against pwd and grp on this system, and the few a zone gets."""

import grp
import pwd
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.source.accounts import (
    ILLUMOS,
    NO_LOGIN,
    parse_group,
    parse_passwd,
    shadow_of,
    zone_accounts,
)

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
toor:x:0:0::/root:/bin/csh
sync:x:4:65534:sync:/bin:/bin/sync
web:x:33:33:www,,,:/var/www:/usr/sbin/nologin
alice:$6$hash:1000:1000:Alice B\udce9rd:/home/alice:
bob:x:1001:100::/home/bob:/usr/bin/fish
"""
GROUP = """\
root:x:0:
web:x:33:
users:x:100:
staff:x:50:web,alice
alice:x:1000:
wheel:$1$hash:10:root,bob
nogroup:x:65534:
"""


def zone(
    users: Iterable[str] = (),
    groups: Iterable[str] = (),
    uids: Iterable[int] = (),
    gids: Iterable[int] = (),
    programs: Iterable[str] = ("/bin/sh", "/bin/bash"),
) -> tuple[list[str], list[str], frozenset[str]]:
    passwd, group, unknown = zone_accounts(PASSWD, GROUP, users, groups, uids, gids, {*programs}.__contains__)
    assert all(text.endswith("\n") for text in (passwd, group) if text)
    return passwd.splitlines(), group.splitlines(), unknown


def test_parsed_as_the_c_library_does() -> None:
    users = parse_passwd(Path("/etc/passwd").read_text("utf-8", "surrogateescape"))
    assert len(users) > 3
    for user in users.values():
        known = pwd.getpwnam(user.name)
        assert user == (
            known.pw_name,
            known.pw_uid,
            known.pw_gid,
            known.pw_gecos,
            known.pw_dir,
            known.pw_shell,
        )
    groups = parse_group(Path("/etc/group").read_text("utf-8", "surrogateescape"))
    assert len(groups) > 3
    for group in groups.values():
        entry = grp.getgrnam(group.name)
        assert group == (entry.gr_name, entry.gr_gid, tuple(entry.gr_mem))


@pytest.mark.parametrize(
    "line",
    ["", "a", "a:x:1:1::/", "a:x:one:1::/:/bin/sh", "a:x:-1:1::/:/bin/sh", ":x:1:1::/:/bin/sh", "+::::::",
     "#a:x:1:1::/:/bin/sh", "a:x:\u0661:1::/:/bin/sh", "a:x:4294967295:1::/:/bin/sh",
     "a:x:1:1::/:/bin/sh:more"],
)  # fmt: skip
def test_lines_that_are_no_users(line: str) -> None:
    assert list(parse_passwd(f"{line}\nb:x:1:1::/:/bin/sh\nb:x:2:2::/:/bin/sh\n").values()) == [
        ("b", 1, 1, "", "/", "/bin/sh")
    ]


def test_a_named_user_comes_with_its_groups() -> None:
    users, groups, unknown = zone(users=["web"])
    assert users == ["web:*:33:33:www,,,:/var/www:/usr/sbin/nologin"]
    assert groups == ["web:*:33:", "staff:*:50:web"]
    assert not unknown


def test_owners_are_kept_by_number_and_each_number_once() -> None:
    users, groups, _ = zone(uids=[0, 4711], gids=[100, 4711])
    assert users == ["root:*:0:0:root:/root:/bin/bash"]
    assert groups == ["root:*:0:", "users:*:100:", "wheel:*:10:root"]


def test_a_named_group_comes_without_its_members() -> None:
    assert zone(groups=["staff"]) == ([], ["staff:*:50:"], frozenset())


def test_who_is_unknown_is_told() -> None:
    assert zone(users=["web", "nobody"], groups=["nogroup", "kvm"])[2] == {"nobody", "kvm"}


def test_names_that_are_no_text_survive() -> None:
    assert zone(users=["alice"])[0] == ["alice:*:1000:1000:Alice B\udce9rd:/home/alice:/bin/sh"]


@pytest.mark.parametrize(
    ("user", "programs", "shell"),
    [
        ("root", ["/bin/bash"], "/bin/bash"),
        ("root", ["/bin/sh"], "/bin/sh"),
        ("root", [], NO_LOGIN),
        ("web", ["/bin/sh"], "/usr/sbin/nologin"),
        ("sync", ["/bin/sh"], NO_LOGIN),
        ("bob", ["/bin/sh"], "/bin/sh"),
        ("alice", ["/bin/sh"], "/bin/sh"),
        ("alice", [], NO_LOGIN),
    ],
)
def test_shells(user: str, programs: list[str], shell: str) -> None:
    users, _, _ = zone(users=[user], programs=programs)
    assert users[0].rpartition(":")[2] == shell


@pytest.mark.parametrize("shell", ["sh", "/usr/../bin/sh", "/bin/\0sh", "//bin//sh"])
def test_a_shell_that_is_no_path_is_none_the_zone_has(shell: str) -> None:
    passwd, _, _ = zone_accounts(
        f"a:x:1:1::/:{shell}\n", "", ["a"], [], [], [], lambda path: path == "/bin/sh"
    )
    assert passwd == "a:*:1:1::/:/bin/sh\n"


fields = st.text("ab:x,0123/\n\udce9#+-", max_size=80)


@settings(max_examples=300, deadline=None)
@given(fields, fields, st.sets(st.sampled_from(["a", "b", "ab"])), st.sets(st.integers(0, 20)))
def test_any_text_gives_accounts_without_passwords(
    passwd: str, group: str, names: set[str], numbers: set[int]
) -> None:
    users, groups, unknown = zone_accounts(passwd, group, names, names, numbers, numbers, lambda _: True)
    kept, kept_groups = parse_passwd(users), parse_group(groups)
    assert names - unknown <= kept.keys() & kept_groups.keys()
    assert all(line.split(":")[1] == "*" for line in (users + groups).splitlines())
    assert all(set(one.members) <= kept.keys() for one in kept_groups.values())
    assert zone_accounts(users, groups, names, names, numbers, numbers, lambda _: True)[:2] == (users, groups)


def test_on_illumos_the_password_is_in_shadow() -> None:
    programs = {"/bin/sh"}.__contains__
    passwd, group, _ = zone_accounts(PASSWD, GROUP, ["root", "bob", "sync"], [], [], [], programs, ILLUMOS)
    assert passwd.splitlines() == [
        "root:x:0:0:root:/root:/bin/sh",
        "sync:x:4:65534:sync:/bin:/usr/bin/false",
        "bob:x:1001:100::/home/bob:/bin/sh",
    ]
    assert group.splitlines()[0] == "root:*:0:"
    assert shadow_of(passwd, ILLUMOS).splitlines() == ["root:NP:::::::", "sync:NP:::::::", "bob:NP:::::::"]


@given(st.text(alphabet="ab:x1\n#+"))
def test_every_user_has_one_line_of_shadow(passwd: str) -> None:
    lines = shadow_of(passwd, ILLUMOS).splitlines()
    assert [line.split(":") for line in lines] == [[name, "NP", *[""] * 7] for name in parse_passwd(passwd)]
