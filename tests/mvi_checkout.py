"""A checkout of mvi: the lists of its repository, and scripts in the manner of its own.

The lists have what they had in early 2026: those of node and nginx name files that
their packages no longer have.
"""

from pathlib import Path

LISTS = {
    "zmvi.pkgs": "SUNWcsd SUNWcs TRIBsys-library TRIBshell-ksh93 TRIBsys-net TRIBsys-lib-math",
    "mvi.dirs": "usr sbin lib lib/inet usr/lib usr/sbin usr/bin usr/bin/i86 usr/bin/amd64",
    "mvi.files": """
        lib/ld.so.1 lib/libbsm.so.1 lib/libc.so.1 lib/libcontract.so.1 lib/libgen.so.1 lib/libinetutil.so.1
        lib/libm.so.2 lib/libmd.so.1 lib/libmp.so.2 lib/libnsl.so.1 lib/libnvpair.so.1 lib/libpam.so.1
        lib/libscf.so.1 lib/libsecdb.so.1 lib/libsocket.so.1 lib/libtsol.so.2 lib/libuutil.so.1 sbin/autopush
        sbin/init sbin/sh sbin/soconfig usr/bin/env usr/bin/i86/ksh93 usr/bin/sh usr/lib/ld.so.1
        usr/lib/libsmbios.so.1 usr/lib/libast.so.1 usr/lib/libcmd.so.1 usr/lib/libdll.so.1
        usr/lib/libshell.so.1 usr/lib/libsum.so.1 usr/bin/du lib/libcmdutils.so.1 lib/libavl.so.1 usr/bin/ls
        lib/libsec.so.1 lib/libcurses.so.1 usr/lib/libidmap.so.1 usr/bin/hostname lib/inet/ipmgmtd
        lib/libumem.so.1 sbin/ifconfig usr/sbin/ifconfig lib/libxnet.so.1 lib/libipadm.so.1 lib/libdladm.so.1
        lib/libdlpi.so.1 lib/nss_files.so.1 usr/lib/nss_files.so.1""",
    "node.pkgs": "TRIBgcc4runtime.10.3.0.1.0 TRIBv-node-v22.22.22.2.0",
    "node.dirs": "lib/amd64 usr/lib/amd64 usr/versions/node-v18/bin",
    "node.files": """
        lib/64 usr/lib/64 usr/lib/amd64/ld.so.1 lib/amd64/ld.so.1 lib/amd64/libkstat.so.1
        lib/amd64/libumem.so.1 lib/amd64/libsocket.so.1 lib/amd64/libnsl.so.1 lib/amd64/librt.so.1
        lib/amd64/libmp.so.2 lib/amd64/libmd.so.1 lib/amd64/libm.so.2 lib/amd64/libc.so.1
        lib/amd64/libsendfile.so.1 usr/lib/amd64/libstdc++.so.6 usr/lib/amd64/libstdc++.so.6.0.28
        usr/lib/amd64/libgcc_s.so.1 lib/amd64/libpthread.so.1 usr/versions/node-v18/bin/node""",
    "nginx.pkgs": """
        TRIBcompress-bzip2.1.0.8.0 TRIBlib-zlib.1.3.2.0 TRIBlib-security-openssl.3.5.6.0
        TRIBlib-pcre2.10.47.0 TRIBblix-nginx.1.28.3.0""",
    "nginx.files": """
        usr/lib/libpcre.so.1.2.10 usr/lib/libpcre.so.1 lib/libsendfile.so.1 lib/libssl.so.1.1
        lib/libcrypto.so.1.1 lib/libz.so.1""",
    "zlogin.dirs": "# where PAM modules live\nusr/lib/security",
    "zlogin.files": """# for zlogin without -S
        usr/bin/login usr/lib/security/pam_roles.so.1 usr/lib/security/pam_unix_account.so.1
        usr/lib/security/pam_unix_session.so.1 usr/lib/security/pam_unix_auth.so.1
        usr/lib/security/pam_unix_cred.so.1 usr/lib/security/pam_authtok_get.so.1
        usr/lib/security/pam_dhkeys.so.1 usr/lib/passwdutil.so.1 lib/libdevinfo.so.1 lib/libproc.so.1
        usr/lib/libproject.so.1""",
}

SCRIPTS = {
    "nonet-fix.sh": """#!/bin/sh
# no network: what is not there is no error
rm -f kernel/drv/e1000g*
rm usr/sbin/ifconfig
rmdir usr/sbin
rm -f sbin/ifconfig
rm -fr lib/inet
rm -f lib/libdladm.so.1 lib/libdevinfo.so.1 lib/libdlpi.so.1 lib/libgen.so.1 lib/libipadm.so.1
rm -f lib/libxnet.so.1 etc/default/inetinit etc/default/ipsec
rm -fr etc/dladm etc/ipadm etc/rpcsec etc/net
rm etc/rpc
rm etc/there-is-no-such-file
SIZE=`echo $SIZE | sed s:M::`
SIZE=$(($SIZE-4))M
""",
    "node.rc": "#!/sbin/sh\n/usr/versions/node-v18/bin/node /hello.js > /dev/console < /dev/null 2>&1 &\n",
    "node-fix.sh": """#!/bin/sh
cat > hello.js <<EOF
require('http').createServer((request, response) => response.end('hello')).listen(8000);
EOF
rm -fr usr/versions/node-v18/include usr/versions/node-v18/share
rm -f usr/lib/libgcc_s.* usr/lib/libstdc++.so*
SIZE=`echo $SIZE | sed s:M::`
SIZE=$(($SIZE+36))M
echo $xopt $SIZE > etc/size
""",
    "nginx.rc": "#!/sbin/sh\n/opt/tribblix/nginx/sbin/nginx > /dev/console < /dev/null 2>&1 &\n",
    "zlogin-fix.sh": "#!/bin/sh\ntouch root/.hushlogin\n",
    "wipe.rc": "#!/sbin/sh\n/wipe.sh\n",
    "wipe.sh": "#!/sbin/sh\necho wiping\n",
    "wipe-fix.sh": """#!/bin/sh
cp "${THOME}/mvi/wipe.sh" wipe.sh
chmod a+x wipe.sh
rm -f etc/services etc/inet/services kernel/drv/amd64/ip6*
rm -fr etc/security/*.d
rm etc/inet/ipsec*
rmdir usr/bin/amd64
rmdir var/adm/*
rmdir export mnt opt home
export SIZE=44M
""",
    # Away from the stage and back, over what is there and what is not.
    "narrow-fix.sh": """#!/bin/sh
rm -fr `find kernel -name amd64 -type d`
rm -fr `find lib -name amd64 -type d`
HERE=`pwd`
for top in kernel usr/lib
do
    for dir in `find $top -xdev -name amd64 -type d`
    do
        cd $dir
        for file in *
        do
            rm -f ../$file
        done
        cd $HERE
    done
done
gsed -i 's/minor/lesser/' etc/minor_perm
gsed -i '/no-such-line/d' etc/name_to_major
pwd | wc -l > etc/lines
SIZE=48M
""",
}


def make(directory: Path, **more: str) -> Path:
    """Write a checkout, which no ``umask`` opens to others; ``more`` has further files."""
    directory.mkdir(mode=0o755)
    lists = {name: _one_per_line(text) for name, text in LISTS.items()}
    for name, text in {**lists, **SCRIPTS, **more}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
    return directory


def _one_per_line(text: str) -> str:
    lines = (line.strip() for line in text.split("\n"))
    words = ([line] if line.startswith("#") else line.split() for line in lines)
    return "".join(f"{word}\n" for line in words for word in line)
