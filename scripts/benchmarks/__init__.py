"""The rows of ``scripts/bench``: a module for each subject, with its ROWS."""
