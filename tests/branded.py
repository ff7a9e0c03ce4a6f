"""A machine with our brand installed, and a global zone that a small zone can be made of."""

import shutil
import subprocess
import sys
from pathlib import Path

from lifecycle.machine import TESTS, Machine, Said

CHECKOUT = TESTS.parent
BRAND = "/usr/lib/brand/partial-root"
ZONEPATH = "/export/zones/web"
STORE = "/be/var/lib/partialroot"
# What a test changes is the source, which is / on a real system, and with it the store.
HOOK = """#!{python} -IB
import sys
sys.path[:0] = [{checkout!r}, {checkout!r} + "/tests"]
from pathlib import Path
import sunos
sunos.become()
from partialroot.brand.hooks import main
def options():
    from partialroot.pipeline.sources import Options
    return Options(Path({store!r}), Path("/be"), "illumos", (Path("/be/profiles"),))
sys.exit(main({words}, options))
"""
COMMAND = """
import sys
sys.path[:0] = [{checkout!r}, {checkout!r} + "/tests"]
import sunos
sunos.become()
from partialroot.cli import main
sys.exit(main(sys.argv[1:]))
"""
# What init does with the one line of inittab that counts: run its command, and again when it ends.
INIT = """#!/sbin/sh
echo "$$ boots" >>/var/log
command=$(sed -n 's/^smf::sysinit://p' /etc/inittab)
exec /sbin/sh -c "exec $command"
"""
PROFILE = """\
summary = "A page"
programs = ["/sbin/init", "/sbin/sh", "/usr/bin/httpd", "/usr/bin/sed", "/usr/bin/cat", "/usr/bin/ln"]
files = ["/lib/libshared.so.1", "/etc/motd"]
[directories."/var"]
[text."/srv/index.html"]
content = "hello @who@\\n"
[parameters]
who = "world"
port = "8000"
[start]
command = ["/usr/bin/httpd", "-f", "-p", "127.0.0.1:@port@", "-h", "/srv"]
"""


class Branded(Machine):
    """A machine with a pool, the brand and a source at /be, the boot environment that runs."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.make_pool()
        self._make_source()
        self._install_brand()

    def configure(self, zone: str = "web", more: str = "") -> None:
        """Configure a zone of the brand."""
        self.zonecfg(zone, f"create -t TRIBpartial; set zonepath=/export/zones/{zone}; {more}")

    def install_zone(self, zone: str = "web", *words: str) -> None:
        """Configure and install a zone with the profile ``page``."""
        self.configure(zone)
        self.zoneadm(zone, "install", "-p", "page", *words)

    def partialroot(self, *words: str, code: int | None = 0) -> Said:
        """Run the command line, as on illumos."""
        line = COMMAND.format(checkout=str(CHECKOUT))
        return self.run(sys.executable, "-IBc", line, *words, "--store", STORE, code=code)

    def change(self, inside: str, text: str) -> None:
        """Replace a file of the source as packages do: by rename."""
        path = self.path(f"/be{inside}")
        fresh = path.with_name(f"{path.name}.fresh")
        fresh.write_text(text)
        fresh.chmod(path.stat().st_mode & 0o7777)
        fresh.rename(path)

    def entries(self, zonepath: str = ZONEPATH) -> list[str]:
        """Return what is in a zonepath."""
        return sorted(path.name for path in self.path(zonepath).iterdir())

    def image(self, zonepath: str = ZONEPATH) -> Path:
        """Return the image of a zone, as seen from outside."""
        return self.path(str(self.path(f"{zonepath}/image").readlink()))

    def images(self) -> list[str]:
        """Return the images of the store, without the marks of homes elsewhere."""
        place = self.path(f"{STORE}/images")
        names = (path.name for path in place.iterdir()) if place.exists() else ()
        return sorted(name for name in names if not name.startswith("."))

    def _make_source(self) -> None:
        for name in ("sbin", "usr/bin", "lib", "etc", "var/lib", "profiles"):
            self.path(f"/be/{name}").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, self.path("/be/sbin/sh"))
        for name in ("httpd", "sed", "cat", "ln", "getent"):
            shutil.copy(busybox, self.path(f"/be/usr/bin/{name}"))
        self.write("/be/sbin/init", INIT, 0o755)
        self.write("/be/lib/libshared.so.1", "the library of be1\n")
        for name, text in {
            "motd": "welcome\n",
            "passwd": "root:x:0:0::/root:/sbin/sh\n",
            "group": "root::0:\n",
            "release": "illumos\n",
            "inittab": "",
        }.items():
            self.write(f"/be/etc/{name}", text)
        self.path("/be/profiles").chmod(0o755)
        self.write("/be/profiles/page.toml", PROFILE)

    def _install_brand(self) -> None:
        command = [sys.executable, str(CHECKOUT / "scripts/install-brand"), str(self.root)]
        subprocess.run(command, check=True)
        for name, words in (("hook", "sys.argv[1:]"), ("zap-upgrade", '["zap_upgrade", *sys.argv[1:]]')):
            text = HOOK.format(python=sys.executable, checkout=str(CHECKOUT), store=STORE, words=words)
            self.write(f"{BRAND}/{name}", text, 0o755)
