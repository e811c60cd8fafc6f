"""`brim`: the command line."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

import click

from cli.commands import COMMANDS, command
from cli.session import leaf, sentences

INTERRUPTED = 130  # as shells say of a command that Ctrl-C ended

EPILOG = """\b
Examples:
  brim demo                                 see it work, on this machine alone
  brim up                                   run it, with a simulated fleet
  brim apply -f workload.yaml -f policy.yaml --wait
  brim get pods -n test -M                  pods of all members
  brim explain deploy/qwen3 -n test         why its replicas are where they are
"""


class Commands(click.Group):
    """Lists commands in the order of a first day with brim, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command(cmd_name)


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="brim", prog_name="brim")
def cli() -> None:
    """Fill your own clusters to the brim, then burst to the cloud."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Every failure is a sentence on standard error and a status that is not 0; a traceback is shown only where
    BRIM_LOG__LEVEL is debug.
    """
    logging.getLogger("brim").addHandler(logging.NullHandler())
    try:
        status = cli.main(arguments, prog_name="brim", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever went wrong
        return _complain(error)
    return status if isinstance(status, int) else 0


def _complain(error: Exception) -> int:
    found = leaf(error)
    if isinstance(found, click.ClickException):
        found.show()
        return found.exit_code
    for line in sentences(error):
        click.echo(f"Error: {line}", err=True)
    if os.environ.get("BRIM_LOG__LEVEL") == "debug":
        traceback.print_exception(error)
    return 1


def main() -> None:
    sys.exit(run())


if __name__ == "__main__":
    main()
