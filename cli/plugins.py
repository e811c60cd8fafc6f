"""`kubectl brim …` and `kubectl amc …`: brim where people's hands already are.

kubectl runs an executable kubectl-NAME of the PATH as `kubectl NAME`, and asks kubectl_complete-NAME for completions.
`kubectl brim` has every command of `brim`; `kubectl amc` has those of the tool of that name, so that what was written
for it works on: `kubectl amc get deploy -M`, `kubectl amc rollout approve rollouts/web -m ID`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import click
from click.shell_completion import ShellComplete

from cli.commands import COMMANDS, Entry
from cli.main import Commands, cli, run

NO_FILES: Final = 4  # kubectl's word for "where nothing fits, do not offer files"


class AmcCommands(Commands):
    entries: ClassVar[Mapping[str, Entry]] = {name: COMMANDS[name] for name in ("get", "rollout")}


@click.group(cls=AmcCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="brim", prog_name="kubectl amc")
def amc() -> None:
    """Look at what all members hold (-M) or one of them (-m ID), and approve their rollouts."""


PLUGINS: Final[Mapping[str, click.Group]] = {"brim": cli, "amc": amc}


def run_plugin(name: str) -> int:
    """Run `kubectl NAME …` with this process' arguments; as `cli.main.run`."""
    return run(group=PLUGINS[name], program=f"kubectl {name}")


def complete_plugin(name: str, words: Sequence[str]) -> int:
    """Print what fits the last of the words, in the form that kubectl reads."""
    *before, incomplete = words or ("",)
    completion = ShellComplete(PLUGINS[name], {}, f"kubectl {name}", "")
    for item in completion.get_completions(list(before), incomplete):
        if item.type == "plain":
            click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(f":{NO_FILES}")
    return 0
