"""From what a program was seen to do to a profile: traces, what they show to be needed, lines of TOML."""
