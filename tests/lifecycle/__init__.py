"""A stand-in for illumos zones on Linux: zoneadm, zoneadmd, zonecfg, mount and their files.

Everything runs in a *machine*: a copy-on-write view of this computer (``machine.py``) in which these
programs are installed and zones live. What they do, in which order and with which arguments, is that of
illumos-gate's zoneadm.c, zoneadmd.c, vplat.c and libbrand.c; nothing of partialroot is used here.

``brandfiles``  config.xml and platform.xml, checked as the DTD demands, and the substitution of tokens
``zones``       /etc/zones: the index and the zones' files; the zonecfg command
``mounts``      /etc/mnttab, mount and umount
``hooks``       how a brand's commands are built and run, by zoneadm and by zoneadmd
``zonepaths``   what zoneadm demands of a zonepath, makes of it and takes away again
``zoneadm``     the zoneadm command
``zoneadmd``    ready, boot and halt; the zlogin command
``copies``      cpio and ls, as far as copies with all their metadata are made and judged by them
``network``     addresses of a shared IP stack, links of an exclusive one
``devices``     what is in a zone's /dev
``standin``     plays init and what it starts, where these are programs of illumos
``machine``     the machine they run in
"""
