"""`brim explain`: why replicas are where they are."""

from __future__ import annotations

import json

import click

from cli import colours, reading
from cli.completion import complete_workloads
from cli.explain import explanation
from cli.fleet_tables import Workload
from cli.naming import find_desired, split
from cli.options import namespace_option
from cli.session import Session, connected, echo_as, output_option
from shared.bus import Bus
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement
from shared.contracts.pod import Pod
from shared.contracts.refs import ObjectRef
from shared.units import SCHEDULERS


@click.command()
@click.argument("words", metavar="WORKLOAD", nargs=-1, required=True, shell_complete=complete_workloads)
@namespace_option
@output_option("json", "yaml")
@connected
async def explain(session: Session, words: tuple[str, ...], namespace: str, output: str | None) -> None:
    """Say why: the room seen in each member, the replicas given, the reasons, and the history of placements.

    \b
    Examples:
      brim explain qwen3 -n test
      brim explain deploy/qwen3 -n test -o json
    """
    for number, (kind, name) in enumerate(split(words)):
        ref = await find_desired(session.bus, kind, name, namespace)
        workload = await reading.workload(session.bus, ref)
        history = await placement_history(session.bus, ref)
        if output:
            echo_as(output, _as_json(workload, history))
        else:
            pods = await own_pods(session.bus, workload)
            page = explanation(workload, history, session.now, pods=pods, paint=colours.cell)
            click.echo(("\n" if number else "") + page)


async def own_pods(bus: Bus, workload: Workload) -> list[Pod]:
    """The workload's pods that brim binds itself."""
    found = await reading.newest(bus, Pod, "PODS", [subjects.pods_everywhere(workload.desired.ref.namespace)])
    return [pod for pod in found if pod.workload == workload.desired.uid and pod.scheduler in SCHEDULERS]


async def placement_history(bus: Bus, ref: ObjectRef) -> list[Placement]:
    """The placements that the stream still holds, oldest first."""
    messages = await bus.history("PLACEMENT", subjects.placement(ref))
    return [Placement.decode(message.data) for message in messages if not message.removed]


def _as_json(workload: Workload, history: list[Placement]) -> JsonObject:
    return {
        "desired": json.loads(workload.desired.encode()),
        "placement": json.loads(workload.placement.encode()) if workload.placement else None,
        "statuses": [json.loads(status.encode()) for status in workload.statuses],
        "outcomes": [json.loads(outcome.encode()) for outcome in workload.outcomes],
        "history": [json.loads(placement.encode()) for placement in history],
    }
