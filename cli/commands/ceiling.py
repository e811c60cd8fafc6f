"""`brim ceiling`: what a workload may cost per hour on elastic and virtual room."""

from __future__ import annotations

import json

import click

from cli import reading
from cli.commands.apply import report
from cli.completion import complete_words
from cli.json_values import table_of
from cli.naming import find_desired, split
from cli.options import namespace_option
from cli.session import Session, connected
from shared.contracts import subjects
from shared.contracts.annotations import CEILING_ANNOTATION
from shared.contracts.base import JsonObject


@click.command()
@click.argument("words", metavar="OBJECT", nargs=-1, required=True, shell_complete=complete_words)
@click.option("--per-hour", type=click.FloatRange(0), metavar="AMOUNT", help="In the currency of the fleet's prices.")
@click.option("--none", "lifted", is_flag=True, help="Lift the ceiling.")
@namespace_option
@connected
async def ceiling(
    session: Session, words: tuple[str, ...], per_hour: float | None, lifted: bool, namespace: str
) -> None:
    """Bound what a workload may cost per hour on nodes that are added and on serverless instances.

    What would cost more stays pending, with that reason. What runs already stays. A policy takes a ceiling too: it
    then holds for each workload that the policy places. The lowest one counts.

    \b
    Examples:
      brim ceiling deploy/nginx --per-hour 2.50
      brim ceiling pp/nginx --per-hour 10
      brim ceiling deploy/nginx --none
    """
    if (per_hour is None) != lifted:
        raise click.UsageError("give either --per-hour AMOUNT or --none")
    refs = [await find_desired(session.bus, kind, name, namespace) for kind, name in split(words)]
    wanted = [_with_ceiling((await reading.workload(session.bus, ref)).desired.manifest, per_hour) for ref in refs]
    report(await session.submit(subjects.APPLY, json.dumps(wanted).encode()), None)


def _with_ceiling(manifest: JsonObject, per_hour: float | None) -> JsonObject:
    metadata = manifest.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    annotations = {k: v for k, v in table_of(known, "annotations").items() if k != CEILING_ANNOTATION}
    if per_hour is not None:
        annotations[CEILING_ANNOTATION] = f"{per_hour:g}"
    return {**manifest, "metadata": {**known, "annotations": dict(annotations)}}
