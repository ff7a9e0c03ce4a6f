"""``python -m partialroot``."""

from partialroot.cli import command

if __name__ == "__main__":
    command()
