"""``python -m partialroot``, and the command that is installed.

Until its code is there nothing was begun: an interrupt then ends it without a word.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else ignored, by who started us
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from partialroot.cli import command

if __name__ == "__main__":
    command()
