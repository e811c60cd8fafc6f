"""`brim`, `python -m cli`, and the plugins by which kubectl finds brim. It loads the rest only inside its functions, so
that Ctrl-C before anything runs is as quiet as it is later."""

from __future__ import annotations

import sys
from collections.abc import Callable

INTERRUPTED = 130  # as shells say of a command that Ctrl-C ended


def main() -> None:
    def brim() -> int:
        from cli.main import run

        return run()

    _exit_with(brim)


def kubectl_brim() -> None:
    """`kubectl brim …`: kubectl runs what is called kubectl-brim."""

    def plugin() -> int:
        from cli.plugins import run_plugin

        return run_plugin("brim")

    _exit_with(plugin)


def kubectl_amc() -> None:
    """`kubectl amc …`."""

    def plugin() -> int:
        from cli.plugins import run_plugin

        return run_plugin("amc")

    _exit_with(plugin)


def complete_kubectl_brim() -> None:
    """What kubectl asks for completions of `kubectl brim …`."""

    def complete() -> int:
        from cli.plugins import complete_plugin

        return complete_plugin("brim", sys.argv[1:])

    _exit_with(complete)


def complete_kubectl_amc() -> None:
    """As `complete_kubectl_brim`, for `kubectl amc …`."""

    def complete() -> int:
        from cli.plugins import complete_plugin

        return complete_plugin("amc", sys.argv[1:])

    _exit_with(complete)


def _exit_with(command: Callable[[], int]) -> None:
    try:
        status = command()
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


if __name__ == "__main__":
    main()
