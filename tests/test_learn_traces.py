"""What strace and truss print, understood: the same calls give the same trace, whoever wrote them down."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.host.illumos import processes
from partialroot.learn import strace, truss
from partialroot.learn.calls import Call, decoded, string, unescaped
from partialroot.learn.interpret import interpret
from partialroot.learn.trace import Listening, Trace, Use, united

STRACE = """\
100 execve("/usr/bin/server", ["server", "a)b"], 0x7ffc /* 2 vars */) = 0
100 access("/etc/ld.so.preload", R_OK) = -1 ENOENT (No such file or directory)
100 openat(AT_FDCWD</srv>, "conf/app.json", O_RDONLY|O_CLOEXEC) = 3</srv/conf/app.json>
100 newfstatat(3</srv/conf/app.json>, "", {st_mode=S_IFREG|0644, st_size=2, ...}, AT_EMPTY_PATH) = 0
100 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 101
101 execve("/usr/bin/helper", ["helper"], 0x7ffc /* 2 vars */ <unfinished ...>
100 openat(AT_FDCWD</srv>, "/var/log/app.log", O_WRONLY|O_CREAT|O_APPEND, 0644) = 4</var/log/app.log>
101 <... execve resumed>)           = 0
101 newfstatat(AT_FDCWD</srv>, "/etc/localtime",  <unfinished ...>
100 rename("a \\"quoted\\" name", "b") = 0
101 <... newfstatat resumed>{st_mode=S_IFREG|0644, st_size=114, ...}, 0) = 0
101 openat(5</usr/share/app>, "data.txt", O_RDONLY) = 6</usr/share/app/data.txt>
101 setresuid(33, 33, 33)             = 0
100 mkdir("/var/lib/app", 0755)       = -1 EEXIST (File exists)
100 fchownat(AT_FDCWD</srv>, "/var/lib/app", 33, -1, 0) = 0
100 bind(7<socket:[1]>, {sa_family=AF_INET, sin_port=htons(8000), sin_addr=inet_addr("0.0.0.0")}, 16) = 0
100 listen(7<socket:[1]>, 511)        = 0
100 bind(8<socket:[2]>, {sa_family=AF_INET6, sin6_port=htons(9000), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0
100 connect(9<socket:[3]>, {sa_family=AF_UNIX, sun_path="/run/db.socket"}, 110) = 0
100 connect(9<socket:[3]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such f)
101 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---
101 +++ exited with 0 +++
100 exit_group(0)                     = ?
100 +++ killed by SIGKILL +++
"""

TRUSS = """\
100:\texecve("/usr/bin/server", 0x08047E10, 0x08047E18)  argc = 2
100:\taccess("/etc/ld.so.preload", R_OK)\t\tErr#2 ENOENT
100:\topenat(AT_FDCWD, "conf/app.json", O_RDONLY|O_CLOEXEC) = 3
100:\tfstatat64(3, 0x00000000, 0x08047300, 0x1000)\t= 0
100:\tforkx(0)\t\t\t\t\t= 101
101:\tforkx()\t\t(returning as child ...)\t= 100
101:\texecve("/usr/bin/helper", 0x08047E10, 0x08047E18)  argc = 1
100/2:\topen("/var/log/app.log", O_WRONLY|O_CREAT|O_APPEND, 0644) = 4
101:\tstat64("/etc/localtime", 0x08047488)\t\t= 0
100:\trename("a \\"quoted\\" name", "b")\t\t= 0
101:\topen("/usr/share/app", O_RDONLY|O_DIRECTORY)\t= 5
101:\topenat(5, "data.txt", O_RDONLY)\t\t\t= 6
101:\tsetreuid(33, 33)\t\t\t\t= 0
100:\tmkdir("/var/lib/app", 0755)\t\t\tErr#17 EEXIST
100:\tfchownat(AT_FDCWD, "/var/lib/app", 33, -1, 0)\t= 0
100:\tbind(7, 0x08047A90, 16, SOV_SOCKBSD)\t\t= 0
100:\t\tAF_INET  name = 0.0.0.0  port = 8000
100:\tlisten(7, 511, SOV_DEFAULT)\t\t\t= 0
100:\tconnect(9, 0x08047A90, 110, SOV_DEFAULT)\t= 0
100:\t\tAF_UNIX  name = /run/db.socket
100:\taccept(7, 0x08047A90, 0x08047A80, SOV_DEFAULT) (sleeping...)
101:\t    Received signal #15, SIGTERM [default]
101:\t    *** process killed ***
100:\t_exit(0)
"""


def of_strace(text: str, directory: str = "/srv", entered: str | None = None, root: str = "") -> Trace:
    return interpret(strace.calls(text.splitlines()), directory=directory, entered=entered, root=root)


def of_truss(text: str) -> Trace:
    return interpret(truss.calls(text.splitlines(keepends=True)), directory="/srv")


def seen(trace: Trace) -> list[tuple[str, str, str, str]]:
    return [(one.path, one.use, one.error, one.program) for one in trace.lookups]


def test_strace() -> None:
    trace = of_strace(STRACE)
    server, helper = "/usr/bin/server", "/usr/bin/helper"
    assert seen(trace) == [
        (server, "exec", "", ""),
        ("/etc/ld.so.preload", "look", "ENOENT", server),
        ("/srv/conf/app.json", "read", "", server),
        ("/var/log/app.log", "write", "", server),
        (helper, "exec", "", server),
        ('/srv/a "quoted" name', "write", "", server),
        ("/srv/b", "write", "", server),
        ("/etc/localtime", "look", "", helper),
        ("/usr/share/app/data.txt", "read", "", helper),
        ("/var/lib/app", "look", "", server),
        ("/var/lib/app", "write", "", server),
    ]
    assert trace.listening == {Listening("0.0.0.0", 8000)}
    assert trace.sockets == {"/run/db.socket"}
    assert trace.uids == {33}
    assert trace.relative == {"/srv/conf/app.json", '/srv/a "quoted" name', "/srv/b"}
    assert trace.processes == 2


def test_truss_says_the_same() -> None:
    ours, theirs = of_truss(TRUSS), of_strace(STRACE)
    opened = ("/usr/share/app", "read", "", "/usr/bin/helper")  # strace -y shows it without
    assert sorted(seen(ours)) == sorted([*seen(theirs), opened])
    assert ours._replace(lookups=()) == theirs._replace(lookups=())


def test_a_descriptor_s_directory_is_known_by_its_opening_only_as_long_as_it_is_open() -> None:
    lines = [
        '1:\topen("/a", O_RDONLY)\t= 4',
        "1:\tfchdir(4)\t= 0",
        '1:\tstat("x", 0x1)\t= 0',
        "1:\tclose(4)\t= 0",
    ]
    lines += ['1:\topenat(4, "y", O_RDONLY)\t= 5', '1:\topenat(AT_FDCWD, "z", O_RDONLY)\t= 5']
    assert [one.path for one in of_truss("\n".join(lines)).lookups] == ["/a", "/a/x", "/a/z"]


def test_both_ways_to_open() -> None:
    flags = {
        "O_RDONLY": ["read"],
        "O_RDWR": ["read", "write"],
        "O_RDWR|O_CREAT": ["write"],
        "O_WRONLY": ["write"],
    }
    for flag, uses in flags.items():
        assert [one.use for one in of_strace(f'1 open("/x", {flag}) = 3</x>').lookups] == uses


@pytest.mark.parametrize(
    "call",
    [
        'mkdir("/x", 0755) = -1 EEXIST',
        'open("/x", O_WRONLY) = -1 EISDIR',
        'readlink("/x", 0x1, 9) = -1 EINVAL',
    ],
)
def test_an_error_may_say_that_something_is_there(call: str) -> None:
    assert [one[:3] for one in of_strace(f"1 {call} (so)").lookups] == [("/x", "look", "")]


def test_a_process_that_becomes_another_s_thread_goes_on() -> None:
    """execve(2) of a thread: it goes on under the number of its process."""
    text = """\
7 openat(AT_FDCWD</>, "/a", O_RDONLY) = 3</a>
8 execve("/usr/bin/next", ["next"], 0x1 /* 0 vars */ <unfinished ...>
7 +++ superseded by execve in pid 8 +++
7 <... execve resumed>)                 = 0
7 open("/b", O_RDONLY)                  = 3</b>
"""
    assert seen(of_strace(text))[-2:] == [
        ("/usr/bin/next", "exec", "", ""),
        ("/b", "read", "", "/usr/bin/next"),
    ]


def test_where_a_process_is() -> None:
    text = """\
1 chdir("sub")                          = 0
1 stat("x", {st_mode=S_IFREG|0644, ...}) = 0
1 vfork()                               = 2
2 chdir("/other")                       = 0
2 stat("x", 0x1)                        = -1 ENOENT (No such file or directory)
1 stat("../y", 0x1)                     = -1 ENOENT (No such file or directory)
1 fchdir(3</back>)                      = 0
1 stat("./z", 0x1)                      = -1 EACCES (Permission denied)
"""
    looked = [(one.path, one.error) for one in of_strace(text).lookups if one.path[-1] in "xyz"]
    wanted = [("/srv/sub/x", ""), ("/other/x", "ENOENT"), ("/srv/sub/../y", "ENOENT"), ("/back/z", "EACCES")]
    assert looked == wanted


ENTERING = """\
5 openat(AT_FDCWD</>, "/host", O_RDONLY) = 3</host>
5 execve("/usr/sbin/chroot", ["chroot", "/zone"], 0x1 /* 0 vars */) = 0
5 open("/before", O_RDONLY)             = 3</before>
5 chroot("/zone")                       = 0
5 chdir("/")                            = 0
5 execve("/bin/app", ["app"], 0x1 /* 0 vars */) = -1 ENOENT (No such file or directory)
5 execve("/usr/bin/app", ["app"], 0x1 /* 0 vars */) = 0
5 openat(AT_FDCWD</zone>, "x", O_RDONLY) = 3</zone/x>
5 openat(AT_FDCWD</zone/srv>, "y", O_RDONLY) = 3</zone/srv/y>
"""


@pytest.mark.parametrize(
    ("entered", "paths"),
    [
        ("chroot", ["/usr/bin/app", "/x", "/srv/y"]),
        ("exec", ["/usr/sbin/chroot", "/before", "/zone", "/", "/bin/app", "/usr/bin/app", "/x", "/srv/y"]),
    ],
)
def test_what_happens_before_a_zone_is_entered_does_not_count(entered: str, paths: list[str]) -> None:
    trace = of_strace(ENTERING, entered=entered, root="/zone")
    assert [one.path for one in trace.lookups] == paths


def test_the_processes_of_a_session() -> None:
    """What illumos' ps prints: the tracer leads the session of those it traces."""
    text = "    0     0\n  100   100\n  101   100\n 1011  100\n  102   102\nodd line\n\n"
    assert processes.parse_session(text, 100) == (101, 1011)
    said = {("/usr/bin/ps", "-e", "-o", "pid=", "-o", "sid="): "8 7\n"}
    assert processes.session_of(7, lambda *words: said[words]) == (8,)


def test_several_runs_are_united() -> None:
    both = united([of_strace(STRACE), of_truss(TRUSS)])
    assert len(both.lookups) == len(of_strace(STRACE).lookups) + len(of_truss(TRUSS).lookups)
    assert both.listening == {Listening("0.0.0.0", 8000)} and both.processes == 4
    assert united([]) == Trace()


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ('"/a"', "/a"),
        ('""', ""),
        ('"caf\\303\\251"', "café"),
        ('"caf\\xc3\\xa9"', "café"),
        ('"\\351"', "\udce9"),
        ('"a\\tb\\n\\"\\\\"', 'a\tb\n"\\'),
        ('"cut off"...', None),
        ('"cut off"..', None),
        ("0x7ffe", None),
        ("NULL", None),
    ],
)
def test_strings(argument: str, text: str | None) -> None:
    assert string(argument) == text


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("AT_FDCWD</srv>", "/srv"),
        ("3</a\\74b\\76>", "/a<b>"),
        ("3<socket:[12]>", None),
        ("3</dev/null<char 1:3>>", None),
        ("1<<3", None),
        ("AT_FDCWD", None),
    ],
)
def test_decoded_descriptors(argument: str, path: str | None) -> None:
    assert decoded(argument) == path


NAMES = st.text(st.characters(exclude_characters="/\0", codec="latin-1"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


def escaped(data: bytes, octal: bool) -> str:
    """Write a string as strace (octal) or truss does."""
    plain = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x09: "\\t"}
    other = "\\{:03o}" if octal else "\\x{:02x}"
    return "".join(plain.get(b, chr(b) if 0x20 <= b < 0x7F else other.format(b)) for b in data)


@given(st.lists(NAMES, min_size=1, max_size=4), st.booleans())
def test_any_name_survives(names: list[str], octal: bool) -> None:
    path = b"/" + b"/".join(name.encode("latin-1") for name in names)
    line = (
        f'1 openat(AT_FDCWD</>, "{escaped(path, octal)}", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
    )
    (found,) = strace.calls([line])
    assert string(found.arguments[1]) == os.fsdecode(path)
    assert found.error == "ENOENT"
    (of_illumos,) = truss.calls([f'1:\topen("{escaped(path, octal)}", O_RDONLY)\tErr#2 ENOENT\n'])
    assert string(of_illumos.arguments[0]) == os.fsdecode(path)


@given(st.text(max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    for calls in (strace.calls, truss.calls):
        interpret(
            calls([text, f"1 {text}", f"1:\t{text}", f'1 open("/x{text}', f"1 <... open resumed>{text}"])
        )
    unescaped(text)


def test_a_line_of_every_shape_is_a_call() -> None:
    assert list(strace.calls(['openat(AT_FDCWD, "/x", O_RDONLY) = 3'])) == [
        Call(0, "openat", ("AT_FDCWD", '"/x"', "O_RDONLY"), "", "3")
    ]
    assert not list(strace.calls(["strace: Process 12 attached", "", "1 exit_group(0) = ?"[:13], "garbage"]))
    assert Use.READ in {one.use for one in of_strace('[pid   12] open("/x", O_RDONLY) = 3').lookups}
