"""`brim trace`: the story of a workload as a tree."""

from __future__ import annotations

import click
from pydantic import JsonValue

from cli import traces
from cli.completion import complete_workloads
from cli.explain import moment
from cli.naming import find_desired, split
from cli.options import namespace_option
from cli.session import Session, connected, echo_as, output_option, warn
from cli.traces import Step, Told
from shared import jaeger, telemetry
from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.errors import NotFound


@click.command()
@click.argument("words", metavar="WORKLOAD", nargs=-1, required=True, shell_complete=complete_workloads)
@namespace_option
@click.option("--id", "wanted", metavar="TRACE", help="Another trace than that of the newest decision.")
@output_option("json", otherwise="a tree")
@connected
async def trace(
    session: Session, words: tuple[str, ...], namespace: str, wanted: str | None, output: str | None
) -> None:
    """Show how a wish became running pods, or a stuck replica another one: who did what, when, and for how long.

    Where BRIM_TELEMETRY__JAEGER names a Jaeger, the newest decision's trace is read there, in all its steps. Else, and
    where Jaeger does not have it, the steps are those that the streams still hold.

    \b
    Examples:
      brim trace deploy/qwen3 -n test
      BRIM_TELEMETRY__JAEGER=http://127.0.0.1:16686 brim trace qwen3 -n test
    """
    for number, (kind, name) in enumerate(split(words)):
        ref = await find_desired(session.bus, kind, name, namespace)
        told = await messages(session.bus, ref)
        known = traces.ids(told)
        chosen = wanted or (known[-1] if known else "")
        url = session.target.settings.telemetry.jaeger
        steps = await _from_jaeger(url, chosen) or _from_streams(told, wanted)
        if output:
            echo_as(output, _as_json(ref, chosen, url, steps))
            continue
        click.echo(("\n" if number else "") + "\n".join(_heading(ref, chosen, url, steps)))
        click.echo(traces.render(steps))
        if others := [one for one in known if one != chosen]:
            click.echo(f"\nEarlier: {', '.join(others)} (--id TRACE)")


async def messages(bus: Bus, ref: ObjectRef) -> list[Told]:
    """What the streams hold about one object."""
    sources = (
        ("DESIRED", subjects.desired(ref), Desired),
        ("PLACEMENT", subjects.placement(ref), Placement),
        ("OUTCOME", subjects.outcome_everywhere(ref), Outcome),
        ("STATUS", subjects.status_everywhere(ref), Status),
    )
    return [
        Told(contract.decode(message.data), message.published_at, _trace_id(message))
        for stream, subject, contract in sources
        for message in await bus.history(stream, subject)
        if not message.removed
    ]


def _trace_id(message: Message) -> str:
    return telemetry.trace_id(message.headers)


async def _from_jaeger(url: str, trace_id: str) -> list[Step]:
    """Nothing where none is named, where it does not answer, or where it does not have the trace."""
    if not url or not trace_id:
        return []
    try:
        spans = await jaeger.spans_of(url, trace_id)
    except jaeger.JaegerUnavailable as error:
        warn(f"{error}. These are the steps that the streams hold:")
        return []
    if not spans:
        warn(f"Jaeger at {url} does not have trace {trace_id}. These are the steps that the streams hold:")
    return traces.of_spans(spans)


def _from_streams(told: list[Told], wanted: str | None) -> list[Step]:
    """Raises NotFound for a trace that was asked for: its messages alone tell no story."""
    if wanted is not None and wanted not in traces.ids(told):
        raise NotFound(f"trace {wanted} is not known: BRIM_TELEMETRY__JAEGER names a Jaeger that may have it")
    return traces.of_messages(told)


def _heading(ref: ObjectRef, trace_id: str, url: str, steps: list[Step]) -> list[str]:
    begin = min((step.at for step in steps), default=0.0)
    lines = [f"{ref}, from {moment(begin)} UTC"]
    if trace_id:
        lines.append(f"Trace:   {trace_id}")
    if trace_id and url:
        lines.append(f"Jaeger:  {jaeger.page(url, trace_id)}")
    if not trace_id:
        lines.append("Trace:   none: spans are made where BRIM_TELEMETRY__OTLP_ENDPOINT names a collector")
    return [*lines, ""]


def _as_json(ref: ObjectRef, trace_id: str, url: str, steps: list[Step]) -> JsonValue:
    return {
        "object": str(ref),
        "trace": trace_id,
        "jaeger": jaeger.page(url, trace_id) if url and trace_id else "",
        "steps": [traces.as_json(step) for step in steps],
    }
