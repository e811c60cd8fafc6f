"""`brim schema`: the messages' JSON Schemas."""

from __future__ import annotations

import click

from cli.completion import complete_schemas
from cli.session import echo_as
from shared import fleet
from shared.contracts.schema import schemas
from shared.errors import NotFound

FLEET = "fleet"


@click.command()
@click.argument("name", metavar="[MESSAGE]", required=False, shell_complete=complete_schemas)
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
def schema(name: str | None, output: str) -> None:
    """Print the JSON Schema of one message or of the fleet file, or the names of all.

    \b
    Examples:
      brim schema
      brim schema placement
      brim schema fleet > fleet.schema.json     for an editor that checks as you type
    """
    known = {**schemas(), FLEET: fleet.schema()}
    if name is None:
        for entry in sorted(known):
            click.echo(entry)
        return
    fitting = [entry for entry in known if name in (entry, entry.split(".")[-2 if "." in entry else -1])]
    if not fitting:
        raise NotFound(f"there is no message {name!r}: `brim schema` lists all")
    for entry in fitting:
        echo_as(output, known[entry])
