"""`brim`: the command line."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import ClassVar

import click
from click.shell_completion import CompletionItem

from cli.__main__ import INTERRUPTED
from cli.colours import painted
from cli.commands import COMMANDS, Entry, command
from cli.complaints import leaf, sentences

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

    entries: ClassVar[Mapping[str, Entry]] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command(cmd_name) if cmd_name in self.entries else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        own = click.Command.shell_complete(self, ctx, incomplete)  # options; a Group's would load every command
        found = [(name, entry) for name, entry in self.entries.items() if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=entry.summary) for name, entry in found), *own]


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="brim", prog_name="brim")
def cli() -> None:
    """Fill your own clusters to the brim, then burst to the cloud."""


def run(arguments: Sequence[str] | None = None, *, group: click.Group = cli, program: str = "brim") -> int:
    """Run one command and return its exit status. group, program: what is called, and by which words.

    Every failure is a sentence on standard error and a status that is not 0; a traceback is shown only where
    BRIM_LOG__LEVEL is debug.
    """
    logging.getLogger("brim").addHandler(logging.NullHandler())
    try:
        status = group.main(arguments, prog_name=program, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever went wrong
        return _complain(leaf(error))
    return status if isinstance(status, int) else 0


def _complain(error: BaseException) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has had enough; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    for line in sentences(error):
        click.echo(f"{painted('Error:', sys.stderr, fg='red')} {line}", err=True)
    if os.environ.get("BRIM_LOG__LEVEL") == "debug":
        traceback.print_exception(error)
    return 1
