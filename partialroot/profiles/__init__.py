"""Profiles: from the text a user writes to one Profile that says what a zone contains and runs."""
