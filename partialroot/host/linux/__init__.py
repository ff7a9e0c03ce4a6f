"""The Linux host: read-only binds by system call, facts found by trying, OCI bundles."""
