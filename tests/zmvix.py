"""What zmvix.sh builds of a global zone's packages: a small model of its own, that moves real files.

It shares no code with partialroot. Packages come from the table of the synthetic global zone and are copied
as they were shipped; ksh sources the fix scripts.
"""

import glob
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import globalzone

_MADE = ("usr", "sbin", "lib", "lib/inet", "usr/lib", "usr/sbin", "usr/bin", "usr/bin/i86", "usr/bin/amd64")
GONE = """
-fr etc/mail etc/nwam etc/zones etc/brand etc/skel etc/svc/profile etc/tm etc/saf etc/sasl etc/zfs
-fr etc/logadm.d
-fr var/sadm var/svc var/mail var/spool var/preserve var/games var/saf var/opt var/cron var/idmap var/logadm
-fr etc/rc?.d etc/init.d etc/cron.d etc/opt etc/dev etc/rcm etc/dfs etc/dhcp etc/ftpd
-f etc/rc? etc/ftpusers
-fr etc/fs/hsfs etc/inet/ike etc/inet/secret
-f etc/devlink.tab etc/dgroup.tab etc/fmthard etc/dumpdates etc/format etc/dcopy etc/clri etc/cron etc/labelit
-f etc/killall etc/cfgadm etc/format.dat etc/fsck etc/fsdb etc/grpck etc/install etc/mkfs etc/magic
-f etc/mailcap etc/mime.types etc/mknod etc/prtconf etc/prtvtoc etc/reboot etc/remote etc/setmnt
-fr etc/versions etc/sysevent etc/system.d
-f etc/whodo etc/tar etc/swap etc/swapadd etc/sysdef
-fr etc/user_attr.d etc/security/auth_attr.d etc/security/exec_attr.d etc/security/prof_attr.d
-fr etc/security/audit etc/security/lib etc/security/dev
-f etc/inet/ipsecinit.sample etc/inet/ipsecalgs etc/nsswitch.ad etc/nsswitch.ldap
rmdir var/audit var/adm/exacct var/adm/streams var/adm/log
-f var/adm/aculog var/adm/spellhist etc/mount etc/mountall etc/umount etc/umountall etc/logadm.conf etc/utmpx
-f etc/wtmpx etc/dacf.conf
-fr platform boot kernel devices dev
rmdir export home mnt opt
-f reconfigure
"""


def build(root: Path, zone: Path, checkout: Path, names: Sequence[str]) -> Path:
    """Build at ``root`` what ``zmvix.sh NAMES`` builds of the packages that ``zone`` has, and return it."""
    root.mkdir(mode=0o755)
    for name in ("zmvi", *names):
        for package in _words(checkout / f"{name}.pkgs"):
            _install(package.split(".")[0], zone, root)
    stage = root / "stage"
    stage.mkdir()
    for top in ("usr", "lib", "sbin"):
        (root / top).rename(stage / top)
    for path in (
        "usr",
        "sbin",
        "lib",
        "lib/inet",
        "usr/lib",
        "usr/sbin",
        "usr/bin",
        "usr/bin/i86",
        "usr/bin/amd64",
    ):
        (root / path).mkdir(mode=0o755)
    _move(stage, root, [], [*_words(checkout / "mvi.files"), "usr/bin/getent"])
    for name in names:
        _move(stage, root, _words(checkout / f"{name}.dirs"), _words(checkout / f"{name}.files"))
    shutil.rmtree(stage)
    for line in GONE.strip().split("\n"):
        _remove(root, *line.split())
    (root / "dev").mkdir(mode=0o755)
    _fix(root, checkout, names)
    _start(root, checkout, names)
    return root


def _words(file: Path) -> list[str]:
    lines = file.read_text().split("\n") if file.exists() else []
    return [word for line in lines if not line.startswith("#") for word in line.split()]


def _install(package: str, zone: Path, root: Path) -> None:
    """Copy what a package has, directories first; an editable file as it was shipped."""
    rows = [
        row for row in globalzone.rows() if package in row.packages and os.path.lexists(f"{zone}{row.path}")
    ]
    for row in sorted(rows):
        source, place = Path(f"{zone}{row.path}"), Path(f"{root}{row.path}")
        for above in reversed(place.relative_to(root).parents):
            if not (root / above).is_dir():
                (root / above).mkdir()
                _like(zone / above, root / above)
        if row.kind == "d":
            place.mkdir(exist_ok=True)
        elif row.kind == "s":
            place.unlink(missing_ok=True)
            place.symlink_to(row.target)
        else:
            shipped = zone / f"var/sadm/pkg/{package}/save/pspool/{package}/reloc{row.path}"
            place.write_bytes((shipped if row.kind == "e" else source).read_bytes())
        _like(source, place)


@cache
def _rows() -> list[globalzone.Row]:
    return sorted(globalzone.rows())


def _like(source: Path, place: Path) -> None:
    status = source.lstat()
    os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    if not place.is_symlink():
        place.chmod(status.st_mode & 0o7777)


def _move(stage: Path, root: Path, directories: list[str], files: list[str]) -> None:
    for path in directories:
        for one in (*reversed(Path(path).parents), Path(path)):
            if not (root / one).exists():
                (root / one).mkdir(mode=0o755)
    for path in files:
        if os.path.lexists(stage / path) and (root / path).parent.is_dir():
            (stage / path).rename(root / path)


def _remove(root: Path, how: str, *patterns: str) -> None:
    for path in (Path(one) for pattern in patterns for one in glob.glob(f"{root}/{pattern}")):
        if how == "rmdir":
            if path.is_dir() and not os.listdir(path):
                path.rmdir()
        elif path.is_symlink() or path.is_file():
            path.unlink()
        elif how == "-fr":
            shutil.rmtree(path)


def _fix(root: Path, checkout: Path, names: Sequence[str]) -> None:
    present = [name for name in names if (checkout / f"{name}-fix.sh").exists()]
    lines = [f"xopt={name}; . {checkout}/{name}-fix.sh" for name in present]
    gnu = root.parent / "gnu"
    gnu.mkdir()
    (gnu / "gsed").symlink_to(shutil.which("sed") or "sed")
    subprocess.run(
        ["ksh93", "-c", "\n".join([*lines, "exit 0"])],
        cwd=root,
        env={"THOME": str(checkout.parent), "MVI_DIR": str(checkout), "PATH": f"{os.environ['PATH']}:{gnu}"},
        stderr=subprocess.DEVNULL,
        umask=0o022,
        check=True,
    )


def _start(root: Path, checkout: Path, names: Sequence[str]) -> None:
    etc = root / "etc"
    script = ["#!/sbin/sh"]
    for name in (name for name in names if (checkout / f"{name}.rc").exists()):
        shutil.copy(checkout / f"{name}.rc", etc / f"mvi-{name}.rc")
        (etc / f"mvi-{name}.rc").chmod(0o755)
        script.append(f'echo " *** Running {name} startup ***" > /dev/console')
        script.append(f"/etc/mvi-{name}.rc >/dev/console 2>&1 </dev/console")
    script.append('echo " *** Welcome to minimal viable illumos ***" > /dev/console')
    script.append("/bin/sh >/dev/console 2>&1 </dev/console")
    (etc / "mvi.rc").write_text("\n".join(script) + "\n")
    (etc / "mvi.rc").chmod(0o755)
    lines = [line for line in (etc / "inittab").read_text().splitlines() if "startd" not in line]
    (etc / "inittab").unlink()
    (etc / "inittab").write_text("\n".join([*lines, "smf::sysinit:/etc/mvi.rc"]) + "\n")
    (etc / "inittab").chmod(0o644)
    if not (root / "usr/bin/bash").exists():
        passwd = etc / "passwd"
        passwd.write_text("".join(line.replace("/bash", "/sh", 1) for line in passwd.open()))
