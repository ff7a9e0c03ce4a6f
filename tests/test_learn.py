"""``learn`` as it is typed: commands that run for real under strace, and the profiles that come of it."""

import os
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from bootable import PATIENCE, until
from command import CHECKOUT, Done, partialroot
from needs import needs
from test_learn_traces import STRACE, TRUSS

from partialroot.host import tracing
from partialroot.learn.interpret import interpret
from partialroot.learn.trace import Use
from partialroot.pipeline.learning import environment

pytestmark = needs("glibc", "strace")

SERVER = """\
import http.server, sys
open(sys.argv[2]).read()
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def learn(out: Path, *words: str | Path, code: int | None = 0, before: tuple[str | Path, ...] = ()) -> Done:
    return partialroot(
        "learn", "--out", out, "--store", out.parent / "store", *words, code=code, before=before
    )


def said(out: Path) -> dict[str, Any]:
    return tomllib.loads(out.read_text())


def check(out: Path) -> None:
    """The profile is complete, as ``profiles check`` sees it."""
    partialroot("profiles", "check", out, "--store", out.parent / "store")


@pytest.fixture
def out(scratch: Path) -> Path:
    return scratch / "app.toml"


def test_a_command_that_ends(out: Path, scratch: Path) -> None:
    (scratch / "app/data").mkdir(parents=True)
    (scratch / "app/data/one").write_text("1\n")
    app = script(scratch / "app/run", f"cat {scratch}/app/data/one\nseq 3 >{scratch}/app/written\n")
    done = learn(out, "--", app, "an argument")
    assert said(out) == {
        "summary": "run, as it was seen to run",
        "uses": ["base"],
        "programs": [str(app), "seq"],
        "files": [str(scratch / "app")],
        "start": {"command": [str(app), "an argument"]},
    }
    assert "# started" in out.read_text() and "own directory, used by cat" in out.read_text()
    assert f"{out}: " in done.out
    check(out)


@needs("root")
def test_learning_again_changes_nothing(out: Path, scratch: Path) -> None:
    state, home = scratch / "state", scratch / "home"
    state.mkdir()
    home.mkdir()
    app = script(
        home / "run",
        f"cat /etc/services >/dev/null; cat {state}/* ; echo x >>{state}/log; cat {state}/log; pwd",
    )
    learn(out, "--", app)
    once = out.read_text()
    assert said(out)["directories"] == {str(state): {"mode": f"{state.stat().st_mode & 0o7777:04o}"}}
    done = learn(out, "--merge", out, "--", app)
    assert out.read_text() == once and "nothing new" in done.out
    check(out)


def test_another_run_adds_what_it_needs_and_no_more(out: Path, scratch: Path) -> None:
    app = script(scratch / "app/run", 'cat "$1"\n')
    learn(out, "--", app, "/etc/services")
    out.write_text(out.read_text().replace("# started", "# mine"))
    learn(out, "--merge", out, "--", app, "/etc/protocols")
    assert said(out)["files"] == ["/etc/services", "/etc/protocols"]
    assert said(out)["start"]["command"] == [str(app), "/etc/services"]
    assert "# mine" in out.read_text()
    check(out)


def test_secrets_are_named_only_when_they_are_asked_for(out: Path, scratch: Path) -> None:
    secret = scratch / "app.key"
    secret.write_text("-----BEGIN PRIVATE KEY-----\n")
    command = ("--", "cat", secret, "/etc/services")
    done = learn(out, *command)
    assert "secrets" not in said(out) and said(out)["files"] == ["/etc/services"]
    assert f'a secret (it holds a private key); to copy it: secrets = ["{secret}"]' in out.read_text()
    assert f"warning: {secret} is left out, as it is a secret" in done.err
    check(out)
    done = learn(out, "--merge", out, "--secrets", *command)
    assert said(out)["secrets"] == [str(secret)]
    assert f"warning: {secret} is copied, as --secrets says" in done.err
    check(out)


@needs("root", "setpriv")
def test_users_and_private_directories(out: Path, scratch: Path) -> None:
    scratch.chmod(0o755)
    state = scratch / "state"
    state.mkdir()
    os.chown(state, 33, 33)
    app = script(scratch / "run", f"setpriv --reuid 33 --regid 33 --clear-groups touch {state}/x\n")
    learn(out, "--", app)
    assert said(out)["users"] == ["www-data"]
    wanted = {"mode": "0755", "owner": "www-data", "group": "www-data"}
    assert said(out)["directories"][str(state)] == wanted
    check(out)


@needs("root")
def test_what_is_written_below_usr_is_private(out: Path, scratch: Path) -> None:
    """In a mount namespace of its own, where something can be mounted there."""
    learn_it = f"{sys.executable} -m partialroot learn --out {out} -- touch /usr/local/src/x"
    ours = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    words = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none /usr/local/src && exec {learn_it}"]
    subprocess.run(words, check=True, env=ours, capture_output=True)
    assert said(out)["private"] == ["/usr/local/src"]


def test_a_command_is_run_where_a_zone_would_run_it(out: Path, scratch: Path) -> None:
    """PATH and HOME are all it has, and it starts in the directory that it uses."""
    script(scratch / "app/run", f"env >{scratch}/environment; cat data\n")
    (scratch / "app/data").write_text("x\n")
    ours = os.environ | {"PYTHONPATH": str(CHECKOUT), "ODD": "1"}
    words = [sys.executable, "-m", "partialroot", "learn", "--out", str(out), "--", "./run"]
    subprocess.run(words, check=True, env=ours, cwd=scratch / "app", capture_output=True)
    app = str(scratch / "app")
    assert said(out)["start"]["command"] == ["/usr/bin/env", "-C", app, f"{app}/run"]
    names = {line.partition("=")[0] for line in (scratch / "environment").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME"}
    check(out)


def test_a_start_goes_only_where_it_must(out: Path, scratch: Path) -> None:
    """A directory that is listed is reason enough; that a shell looks where it is, is none."""
    ours = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    app = script(scratch / "app/run", "cat /etc/services\n")
    for command, start in (
        ([str(app)], [str(app)]),
        (["ls"], ["/usr/bin/env", "-C", str(scratch), "/usr/bin/ls"]),
    ):
        words = [sys.executable, "-m", "partialroot", "learn", "--out", str(out), "--", *command]
        subprocess.run(words, check=True, env=ours, cwd=scratch, capture_output=True)
        assert said(out)["start"]["command"] == start
        out.unlink()


@pytest.fixture
def server(scratch: Path) -> Callable[[int], list[str]]:
    (scratch / "app").mkdir()
    (scratch / "app/server.py").write_text(SERVER)
    return lambda port: ["python3", str(scratch / "app/server.py"), str(port), "/etc/services"]


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def test_a_service_is_asked_and_stopped(out: Path, server: Callable[[int], list[str]]) -> None:
    port = free_port()
    probes = ["--probe", f"http://127.0.0.1:{port}/", "--probe", "true"]
    done = learn(out, *probes, "--json", "--", *server(port))
    assert said(out)["parameters"] == {"port": str(port)}
    assert said(out)["start"]["command"][-2:] == ["@port@", "/etc/services"]
    assert done.document["changed"] and done.document["text"] == out.read_text()
    assert f"it listens at 127.0.0.1:{port} only" in done.document["warnings"][0]
    assert "/etc/services" in said(out)["files"] and not running(str(port))
    assert len(out.read_text().splitlines()) < 100 < done.document["lookups"]
    check(out)


def test_without_a_probe_it_is_stopped_when_it_listens(out: Path, server: Callable[[int], list[str]]) -> None:
    port = free_port()
    learn(out, "--for", "0.1", "--", *server(port))
    assert said(out)["parameters"] == {"port": str(port)} and not running(str(port))


def running(word: str) -> list[str]:
    processes = subprocess.check_output(["ps", "-eo", "args="], text=True).splitlines()
    return [line for line in processes if word in line.split()]


@pytest.fixture
def unavailable() -> Iterator[str]:
    """The address of a server that listens already, and answers nothing but 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("probe", "error"),
    [
        ("{url}", "did not succeed within 0.5 seconds: 503"),
        ("false", "'false' did not succeed within 0.5 seconds: exit 1"),
        ("no-such-program", "No such file"),
    ],
)
def test_a_probe_that_never_succeeds(out: Path, unavailable: str, probe: str, error: str) -> None:
    mark = f"1000.{os.getpid()}"
    words = ["--probe", probe.format(url=unavailable), "--wait", "0.5", "--", "sleep", mark]
    done = learn(out, *words, code=1)
    assert error in done.err and not out.exists() and not running(mark)


def test_who_does_not_end_is_killed_and_so_is_who_went_away(scratch: Path) -> None:
    """A process that ignores SIGTERM, in a session of its own, whose parent is gone."""
    mark = f"1000.{os.getpid()}"
    deaf = script(scratch / "deaf", f"trap '' TERM; sleep {mark}; sleep {mark}\n")
    app = script(scratch / "run", f"setsid {deaf} & exit 0\n")
    with tracing.running([str(app)], environment()) as watched:
        until(lambda: running(mark), "it sleeps")
        assert len(watched.traced()) >= 2
        watched.stop(grace=0.2)
        assert not running(mark)
        assert str(deaf) in [one.path for one in interpret(watched.calls()).lookups if one.use is Use.EXEC]


def test_a_command_that_goes_into_the_background_is_told_of(out: Path, scratch: Path) -> None:
    pid, mark = scratch / "pid", f"1000.{os.getpid()}2"
    app = script(scratch / "run", f"echo $$ >{pid}; setsid sleep {mark} & exit 0\n")
    asleep = f"pgrep --full --exact '(/usr/bin/)?sleep {mark}'"
    ended = f"""sh -c 'test -s {pid} && ! kill -0 "$(cat {pid})"'"""
    done = learn(out, "--probe", asleep, "--probe", ended, "--", app)
    assert "it puts itself into the background: a zone ends with its first process" in done.err
    assert "background" not in learn(out, "--merge", out, "--probe", asleep, "--", "sleep", mark).err


def test_an_interrupt_ends_the_run_and_it_is_learned(out: Path, scratch: Path) -> None:
    """The probe tells when it is exercised: before that, an interrupt is one of the command itself."""
    mark = f"1000.{os.getpid()}1"
    app = script(scratch / "run", f"cat /etc/services >/dev/null; sleep {mark}\n")
    asked = scratch / "asked"
    probe = f"sh -c ': >{asked}; exit 1'"
    words = [
        sys.executable,
        "-m",
        "partialroot",
        "learn",
        "--out",
        str(out),
        "--probe",
        probe,
        "--",
        str(app),
    ]
    process = subprocess.Popen(
        words, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.DEVNULL
    )
    until(lambda: running(mark) and asked.exists(), "it is exercised")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0 and not running(mark)
    assert said(out)["files"] == ["/etc/services"]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ((), 2, "there is nothing to learn from"),
        (("--", "no-such-program"), 2, "no program is called 'no-such-program' in /usr/local/sbin"),
        (("--", "/etc/passwd"), 2, "/etc/passwd: it is no program that can be run"),
        (("--", "sh", "-c", "echo why >&2; exit 7"), 1, "it ended with exit code 7: why"),
        (("--probe", "false", "--", "true"), 1, "it ended before 'false' succeeded: exit code 0"),
        (("--probe", "'", "--", "true"), 2, '--probe "\'": No closing quotation'),
        (("--probe", " ", "--", "true"), 2, "--probe is empty"),
        (("--trace", "/etc/passwd"), 2, "it is no trace"),
        (("--trace", "/no/such"), 2, "/no/such: cannot be read: No such file"),
        (("--merge", "/no/such.toml", "--", "true"), 2, "/no/such.toml: cannot be read"),
        (("--uses", "basic", "--", "true"), 2, "no profile is called"),
        (("--source", "/usr", "--", "true"), 2, "a command runs on this system only"),
    ],
)
def test_mistakes(out: Path, words: tuple[str, ...], code: int, error: str) -> None:
    assert error in learn(out, *words, code=code).err
    assert not out.exists()


def test_nothing_is_overwritten(out: Path) -> None:
    out.write_text("# mine\n")
    assert f"hint: say --merge {out} to add to it" in learn(out, "--", "true", code=2).err
    assert "a profile's file ends in .toml" in learn(out.with_suffix(".txt"), "--", "true", code=2).err
    assert out.read_text() == "# mine\n"


def test_without_a_tracer_or_the_right_to_trace(out: Path, scratch: Path) -> None:
    """One sentence, and what to do."""
    done = learn(out, "--", "true", code=2, before=("env", "PATH=/no/such"))
    assert done.err.splitlines() == [
        "partialroot: error: strace is not installed",
        "partialroot: hint: as root: apt install strace",
    ]
    script(
        scratch / "strace", "echo 'strace: ptrace(PTRACE_TRACEME, ...): Operation not permitted' >&2; exit 1"
    )
    done = learn(out, "--", "true", code=2, before=("env", f"PATH={scratch}"))
    assert "error: strace cannot trace here: strace: ptrace(PTRACE_TRACEME, ...): Operation" in done.err
    assert "the capability SYS_PTRACE" in done.err and not out.exists()


def test_profiles_to_build_on(out: Path) -> None:
    learn(out, "--uses", "shell", "--", "bash", "-c", "grep -c . /etc/services")
    assert said(out)["uses"] == ["shell"] and said(out)["programs"] == ["bash"]
    check(out)


def test_what_only_a_used_profile_excludes_is_named_if_it_is_needed(out: Path, scratch: Path) -> None:
    manifests = scratch / "manifests"
    manifests.mkdir(mode=0o700)
    (manifests / "lean.toml").write_text('uses = ["base"]\nexclude = ["/etc/services", "/etc/protocols"]\n')
    used = ("--manifests", manifests, "--uses", "lean")
    learn(out, *used, "--", "cat", "/etc/services")
    assert said(out)["files"] == ["/etc/services"]
    out.write_text(out.read_text().replace("[start]", 'exclude = ["/etc/protocols"]\n[start]'))
    learn(out, *used, "--merge", out, "--", "cat", "/etc/services", "/etc/protocols")
    assert said(out)["files"] == ["/etc/services"]


def test_traces_made_elsewhere(out: Path, source: Path, scratch: Path) -> None:
    """Several runs become one profile; what their processes used is looked for in the source."""
    for name, text in (("one", STRACE), ("two", STRACE.replace("/etc/localtime", "/usr/share/app/data one"))):
        (scratch / name).write_text(text)
    for path in ("etc/localtime", "srv/conf/app.json", "usr/bin/server", "usr/bin/helper"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("#!/bin/sh\n")
        (source / path).chmod(0o755)
    (source / "var/lib/app").mkdir(parents=True)
    traces = ("--trace", scratch / "one", "--trace", scratch / "two")
    learn(out, "--source", source, "--uses", "blank", *traces)
    assert set(said(out)["files"]) == {"/etc/localtime", "/srv/conf/app.json", "/usr/share/app/data one"}
    assert said(out)["programs"] == ["server", "helper"] and said(out)["users"] == ["www-data"]
    assert said(out)["directories"]["/var/lib/app"]["mode"] == "0755" and "start" not in said(out)
    assert "connected to /run/db.socket" in out.read_text()
    partialroot("profiles", "check", "--source", source, out)


def test_what_is_left_out_is_said(out: Path, source: Path, scratch: Path) -> None:
    """State of this machine, and what no profile can name; what an application came with is copied."""
    lines = ['1 execve("/usr/bin/cat", ["cat"], 0x1 /* 0 vars */) = 0']
    for path in ("/var/lib/app/db", "/srv/app.db", "/etc/pam.d/app", "/srv/tab\\there"):
        lines += [f'1 open("{path}", O_RDONLY) = 3']
        (source / path.replace("\\t", "\t")[1:]).parent.mkdir(parents=True, exist_ok=True)
        (source / path.replace("\\t", "\t")[1:]).write_text("auth required pam_permit.so\n")
    lines += ['1 open("/var/lib/app/db", O_RDWR) = 3', '1 open("/srv/app.db", O_RDWR|O_CREAT, 0644) = 3']
    (scratch / "trace").write_text("\n".join(lines))
    options = ("--source", source, "--uses", "blank", "--trace", scratch / "trace")
    learn(out, *options, code=None)
    found, text = said(out), out.read_text()
    assert found["modules"] == {"pam": ["app"]}  # whose stack is no package's, so that it must be named, too
    assert found["files"] == ["/etc/pam.d/app", "/srv/app.db"]
    assert 'state of this machine; to begin with a copy: files = ["/var/lib/app/db"]' in text
    assert "no profile can name it: /srv/tab?here" in text
    assert set(found["directories"]) == {"/var/lib/app"}  # /srv is there with its file
    learn(out, *options, "--merge", out, code=None)
    assert out.read_text() == text


def test_truss_of_a_global_zone(out: Path, global_zone: Path, scratch: Path) -> None:
    programs = {"/usr/bin/server": "/usr/bin/login", "/usr/bin/helper": "/usr/bin/cat"}
    text = TRUSS.replace("/etc/localtime", "/etc/default/login").replace("/usr/share/app", "/etc/security")
    for name, program in programs.items():
        text = text.replace(name, program)
    text = text.replace("data.txt", "crypt.conf")
    (scratch / "truss").write_text(text)
    learn(out, "--source", global_zone, "--trace", scratch / "truss", code=None)
    found = said(out)
    assert "login" in found["programs"] and "/etc/security/crypt.conf" in found["files"]
    assert "libc.so" not in out.read_text()


def test_what_a_shell_would_do_with_a_probe_is_not_done(out: Path, scratch: Path) -> None:
    mark = scratch / "made"
    learn(out, "--probe", f"echo x ; touch {shlex.quote(str(mark))}", "--", "sleep", "1000")
    assert not mark.exists()
