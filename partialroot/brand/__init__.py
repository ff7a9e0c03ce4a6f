"""The zone brand ``partial-root``: what zoneadm and zoneadmd call, and the files that say so."""
