"""What only the host knows and does: mounts, facts, processes, booting. One package per kind of host."""
