"""The functions of illumos' libraries that open other objects by name: who calls one needs what it opens."""

ISAEXEC = frozenset((b"isaexec",))
"""Programs that run the one of their name for the best instruction set (libc, gen/isaexec.c)."""

DIGESTING = frozenset((b"sem_open", b"shm_open", b"mq_open"))
"""libc opens libmd for these."""

HASHING = frozenset((b"crypt", b"crypt_gensalt", b"crypt_genhash_impl"))
"""libc opens the modules for every hash a password may have (gen/crypt.c, and libsecdb)."""

TRANSPORTING = frozenset(
    b"t_open netdir_getbyname netdir_getbyaddr rpcb_set rpcb_getaddr svc_create svc_tp_create "
    b"svc_tli_create clnt_create clnt_tp_create clnt_tli_create".split()
)
"""libnsl opens what /etc/netconfig names, for transports other than the built-in ones (netdir/netdir.c)."""

RESOLVING = frozenset(
    b"getaddrinfo getnameinfo gethostbyname gethostbyaddr gethostbyname_r gethostbyaddr_r "
    b"getipnodebyname getipnodebyaddr getservbyname getservbyport".split()
)
"""libnsl (nss/gethostbyname_r.c) and libsocket look up no name without /etc/netconfig."""

ALL = ISAEXEC | DIGESTING | HASHING | TRANSPORTING | RESOLVING
LONGEST = max(map(len, ALL)) + 1
"""As many bytes of a name tell whether it is one of them."""
