"""Four services that no profile ships, as a new user tries them: from "it runs on my machine" to a zone.

Three commands: ``learn`` runs the service and writes its profile, ``populate --boot`` builds the zone and
starts it, ``sbom`` says what is in it. The zone then answers every request as the full system does, ``verify
--watch`` has nothing to tell, and learning again nothing to add.
"""

import json
import os
import socket
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from command import partialroot
from needs import needs, require

from partialroot.pipeline.learning import environment

pytestmark = needs("root", "glibc", "dpkg", "mount", "runc", "strace", "veth")

FLASK = """\
import sys
from flask import Flask, jsonify, render_template, request
app = Flask(__name__)

@app.route("/")
def page():
    return render_template("page.html", name=request.args.get("name", "nobody"))

@app.route("/numbers")
def numbers():
    return jsonify([n * n for n in range(5)])

app.run("0.0.0.0", int(sys.argv[1]))
"""
PAGE = "<!DOCTYPE html><title>{{ name }}</title><p>{{ name|upper }}</p>\n"

NODE = """\
const crypto = require("crypto"), fs = require("fs"), http = require("http"), path = require("path");
const zlib = require("zlib");
const greet = require("./lib/greet");
http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/hash") return response.end(crypto.createHash("sha256").update("x").digest("hex"));
  const zone = { timeZone: "Europe/Madrid" };
  if (url.pathname === "/date") return response.end(new Date(0).toLocaleString("en-GB", zone));
  const text = fs.readFileSync(path.join(__dirname, "pages", "index.html"), "utf8");
  response.end(zlib.gunzipSync(zlib.gzipSync(greet(text, url.searchParams.get("name")))));
}).listen(Number(process.argv[2]), "0.0.0.0");
"""
GREET = 'module.exports = (text, name) => text.replace("NAME", name || "nobody");\n'

GO = """\
package main

import ("fmt"; "mime"; "net/http"; "os"; "os/user"; "time")

func main() {
	http.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		root, err := user.Lookup("root")
		fmt.Fprintln(w, root.Uid, root.HomeDir, err, mime.TypeByExtension(".css"))
	})
	http.HandleFunc("/date", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, time.Unix(0, 0).Format(time.RFC1123))
	})
	http.Handle("/", http.FileServer(http.Dir(os.Args[2])))
	panic(http.ListenAndServe(os.Args[1], nil))
}
"""


class Service(NamedTuple):
    """A command with its port, and what it is asked: paths of HTTP, or lines of redis."""

    command: list[str]
    port: int
    requests: tuple[str, ...]

    @property
    def probes(self) -> list[str]:
        """The same requests for learn and verify, which know nothing of a zone's address."""
        if self.is_http:
            asked = [f"http://127.0.0.1:{self.port}{request}" for request in self.requests]
        else:
            asked = [f"redis-cli -p {self.port} {request}" for request in self.requests]
        return ["--wait", "300", *(word for one in asked for word in ("--probe", one))]

    @property
    def is_http(self) -> bool:
        return self.requests[0].startswith("/")

    def answers(self, address: str) -> list[bytes]:
        """Return what it answers at an address, once it listens there."""
        ask = self._get if self.is_http else self._say
        end = time.monotonic() + 120
        while True:
            try:
                return [ask(address, request) for request in self.requests]
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _get(self, address: str, path: str) -> bytes:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{address}:{self.port}{path}", timeout=60) as answer:
            body: bytes = answer.read()
        return body

    def _say(self, address: str, line: str) -> bytes:
        with socket.create_connection((address, self.port), timeout=60) as connection:
            connection.sendall(f"{line}\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as answer:
                return answer.read()


def redis(place: Path, port: int) -> Service:
    require("redis")
    (place / "data").mkdir()
    words = ["--port", str(port), "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", str(place / "data")]
    return Service(
        ["redis-server", *words], port, ("SET key value", "GET key", "EVAL 'return 1+1' 0", "SAVE")
    )


def flask(place: Path, port: int) -> Service:
    require("flask")
    write(place, {"app.py": FLASK, "templates/page.html": PAGE, "static/style.css": "p { color: red }\n"})
    requests = ("/", "/?name=you", "/numbers", "/static/style.css")
    return Service(["/usr/bin/python3", str(place / "app.py"), str(port)], port, requests)


def node(place: Path, port: int) -> Service:
    require("node")
    write(place, {"server.js": NODE, "lib/greet.js": GREET, "pages/index.html": "<p>NAME</p>\n"})
    return Service(["node", str(place / "server.js"), str(port)], port, ("/", "/?name=you", "/hash", "/date"))


def go(place: Path, port: int) -> Service:
    require("go", "gcc")
    write(place, {"pages/index.html": "<p>page</p>\n", "pages/style.css": "p { color: red }\n"})
    (place.parent / "build").mkdir()
    (place.parent / "build/main.go").write_text(GO)
    settings = {"GO111MODULE": "off", "GOPROXY": "off", "GOFLAGS": "", "CGO_ENABLED": "1"}
    places = {"GOCACHE": str(place.parent / "build/cache"), "GOPATH": str(place.parent / "build/path")}
    build = ["go", "build", "-o", str(place / "server"), "main.go"]
    subprocess.run(build, cwd=place.parent / "build", env={**os.environ, **settings, **places}, check=True)
    words = [str(place / "server"), f"0.0.0.0:{port}", str(place / "pages")]
    return Service(words, port, ("/", "/style.css", "/who", "/date"))


def write(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def free_port() -> int:
    """Return a port that nobody has, nor a connection is given of itself: it could be one to itself."""
    for port in range(20000, 30000):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def on_this_machine(service: Service) -> Iterator[None]:
    """Run the service as it is, with all of this system around it."""
    from plumbum import local

    with local.env(PATH=environment()["PATH"]):
        program = local[service.command[0]]
    process = subprocess.Popen(
        [*program.formulate(), *service.command[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("make", [redis, flask, node, go])
def test_from_it_runs_on_my_machine_to_a_zone(
    make: Callable[[Path, int], Service], scratch: Path, store: Path
) -> None:
    place, profile, zone = scratch / "app", scratch / "app.toml", scratch / "zone"
    place.mkdir()
    service = make(place, free_port())
    with on_this_machine(service):
        wanted = service.answers("127.0.0.1")

    learn: list[str | Path] = ["learn", "--out", profile, "--store", store, *service.probes]
    partialroot(*learn, "--", *service.command)
    made = partialroot("populate", "--boot", zone, profile, "--store", store, "--json").document
    try:
        (booted,) = [one["booted"] for one in made["zones"]]
        assert booted["runtime"] == "runc" and service.answers(booted["address"]) == wanted
        bill = json.loads(partialroot("sbom", zone, "--store", store).out)
        assert bill["bomFormat"] == "CycloneDX" and len(bill["components"]) >= made["totals"]["files"]
        partialroot("halt", "--grace", "1", zone, "--store", store)

        watched = partialroot("verify", "--watch", zone, "--store", store, *service.probes)
        assert (watched.out, watched.err) == ("", "")
    finally:
        partialroot("remove", zone, "--store", store, code=None)

    text = profile.read_text()
    assert tomllib.loads(text)["parameters"] == {"port": str(service.port)}
    assert len(text.splitlines()) < 80, "for people to read"
    partialroot("profiles", "check", profile, "--store", store)
    partialroot(*learn, "--merge", profile, "--", *service.command)
    assert profile.read_text() == text
