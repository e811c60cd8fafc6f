"""The row about deciding inside a member: many pods at once, straight into a large simulated one, until all are bound.

All four services work as processes of their own, and the member's own API says when a pod has its node.
"""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp

from benchmarks.generate import GIB
from benchmarks.report import Figure
from benchmarks.scenarios import NAMESPACE, WITHIN, bound, excess, member, world
from benchmarks.stage import Process
from shared.contracts.base import JsonObject
from shared.fleet import Fleet
from shared.units import DEFAULT_SCHEDULER

HISTOGRAM = "brim_scheduler_pod_decision_seconds_bucket"
SLOTS = 4


async def binding(folder: Path, quick: bool) -> list[Figure]:
    """As many pods as there are nodes, each of which could take four."""
    count = 50 if quick else 1000
    fleet = Fleet(members=(member("idc", count, SLOTS),))
    async with world(folder, fleet) as it:
        client, pods = it.members.clients["idc"], it.members.pods
        await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        begun = time.time()
        await client.create(burst(count))
        await pods.until(lambda: bound(pods.of(NAMESPACE)) >= count, f"{count} pods are bound", within=WITHIN)
        seconds = max(seen.bound_at or 0.0 for seen in pods.of(NAMESPACE)) - begun
        over = excess(pods.of(NAMESPACE), SLOTS)
        most = await percentile_of(it.stage.processes["scheduler"], 0.99)
    note = (
        f"{count} pods into {count} nodes, created at once; {seconds:.1f} s from the Deployment to the last pod bound"
    )
    return [
        Figure("binding", "pods bound", "/s", (count / seconds,), 300.0, at_least=True, note=note),
        Figure("binding", "decision, P99", "ms", (1000 * most,), 20.0, note=f"{note}; not more than this"),
        Figure("binding", "pods beyond a node's room", "", (float(over),), 0.0, note=note),
    ]


def burst(replicas: int) -> JsonObject:
    labels: JsonObject = {"app": "burst"}
    container: JsonObject = {
        "name": "main",
        "image": "main",
        "resources": {"requests": {"cpu": "1", "memory": str(GIB)}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "burst", "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"schedulerName": DEFAULT_SCHEDULER, "containers": [container]},
            },
        },
    }


async def percentile_of(scheduler: Process, share: float) -> float:
    """Seconds that so many of its decisions about pods did not exceed, rounded up to the histogram's next bound."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session,
        session.get(f"{scheduler.url}/metrics") as answer,
    ):
        lines = [line for line in (await answer.text()).splitlines() if line.startswith(HISTOGRAM)]
    counts = {line.split('le="', 1)[1].split('"', 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
    total = counts["+Inf"]
    return min(float(bound) for bound, below in counts.items() if below >= share * total)
