"""illumos: what its commands print, read as text, and its file systems. Imports on any system."""
