"""`kdbench` and `python -m kdbench`: the command line, which Ctrl-C ends without a traceback."""

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit; while it is imported, Ctrl-C ends the process at once.

    A KeyboardInterrupt there would be printed as a traceback, or be lost in one of importlib's callbacks.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as of `kdbench run ... &` in a script
        signal.signal(signal.SIGINT, _stop)
    from kdbench.cli import STOPPED
    from kdbench.cli import main as run

    try:
        signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:  # before or after it is handled there
        sys.exit(STOPPED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interpreter's own end would print a traceback


def _stop(*_: object) -> None:
    try:
        os.write(2, b"\nstopped\n")  # below the terminal's ^C
    finally:
        os._exit(130)


if __name__ == "__main__":
    main()
