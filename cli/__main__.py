"""`brim`, and `python -m cli`. It loads the rest only inside `main`, so that Ctrl-C before anything runs is as quiet
as it is later."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # as shells say of a command that Ctrl-C ended


def main() -> None:
    try:
        from cli.main import run

        status = run()
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


if __name__ == "__main__":
    main()
