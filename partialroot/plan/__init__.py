"""From a profile and a source to a plan: what goes into the zone, why, and by which method."""
