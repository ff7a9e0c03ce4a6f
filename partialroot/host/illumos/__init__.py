"""illumos: what is mounted, and how a running global zone is made ready to be read."""
