"""A real Prometheus scrapes the four services, takes the alert rules, and answers all that the dashboard asks."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import yaml

from shared.contracts import subjects
from tests.docs.test_dashboard import DASHBOARD
from tests.e2e.harness import QWEN3, WEB_DEMO, Play, web
from tests.e2e.processes import in_processes
from tests.prometheus.cases import RULES
from tests.prometheus.running import find, prometheus
from tests.real.golang import Missing

pytestmark = pytest.mark.prometheus

WAIT = 120.0  # seconds; a starved machine is scraped late
OFTEN = "1s"
RATE = "30s"  # for $__rate_interval
SINCE = 1800.0  # seconds that graphs show: all of a play

# What this play has no occasion for. A series with labels is there from its first time on.
UNUSED = {
    "brim_inventory_cost_per_hour",
    "brim_inventory_watch_disconnects_total",
    "brim_scheduler_pod_decisions_total",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A Prometheus, through its HTTP API."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Any:
        """What it answers. Fails the test where that is an error."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{query}: {answer.get('error')}"
        return answer["data"]

    async def drawn(self, expression: str) -> bool:
        """Whether a graph since the beginning shows any value of it."""
        now = time.time()
        steps = {"start": f"{now - SINCE:.3f}", "end": f"{now:.3f}", "step": "1"}
        found = (await self.get("query_range", query=expression, **steps))["result"]
        return any(not math.isnan(float(value)) for series in found for _, value in series["values"])

    async def eventually(self, expression: str) -> None:
        """Wait until it has a value."""
        with anyio.move_on_after(WAIT):
            while True:
                if await self.drawn(expression):
                    return
                await anyio.sleep(0.2)
        pytest.fail(f"Prometheus never had anything to say about {expression}")


def config(addresses: Mapping[str, str]) -> dict[str, Any]:
    """That of deploy/prometheus, with the services where they are, and quicker."""
    known: dict[str, Any] = yaml.safe_load(RULES.with_name("prometheus.yaml").read_text(encoding="utf-8"))
    for entry in known["scrape_configs"][0]["static_configs"]:
        entry["targets"] = [addresses[entry["labels"]["service"]].removeprefix("http://")]
    return known | {
        "global": {"scrape_interval": OFTEN, "evaluation_interval": OFTEN},
        "rule_files": [str(RULES)],
    }


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Play, Asked]]:
    """A fleet, its services as processes, and a Prometheus that scrapes them. Skips where there is none."""
    try:
        program = find()
    except Missing as missing:
        pytest.skip(str(missing))
    async with in_processes(folder) as (play, processes), aiohttp.ClientSession() as session:
        addresses = await processes.ready()
        with prometheus(program, config(addresses), folder) as url:
            asked = Asked(url, session)
            await asked.eventually(f'count(up{{job="brim"}} == 1) == {len(addresses)}')  # what comes is seen to grow
            yield play, asked


async def scenario(play: Play) -> None:
    """Something of everything: replicas that burst, replicas that get stuck and move, and messages that are refused."""
    await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml", "web-demo.yaml")
    await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
    await play.scale(QWEN3, 4)
    await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
    await play.stage.taint_nodes("idc", "foo", "bar")
    await play.stage.restart("idc", WEB_DEMO)
    await play.eventually(lambda: play.ready("default", "web-demo", "ack") == 5)
    await play.publish(subjects.submit("apply"), b"kind: nonsense")
    nobody = WEB_DEMO.model_copy(update={"name": "nobody"})
    for subject in (subjects.placement(nobody), subjects.status("idc", nobody)):
        await play.publish(subject, b"{")


def expressions() -> list[str]:
    """Those of the dashboard."""
    targets = (target for panel in DASHBOARD["panels"] for target in panel.get("targets", []))
    return [target["expr"].replace("$__rate_interval", RATE) for target in targets]


def series_in(expression: str) -> set[str]:
    return set(re.findall(r"brim_\w+", expression))


async def test_all_that_is_asked_of_it_has_an_answer(tmp_path: Path) -> None:
    async with watched(tmp_path) as (play, asked):
        await play.submit(*web("stays", replicas=2, members=("idc",)))
        await play.eventually(lambda: play.ready("default", "stays", "idc") == 2)
        await scenario(play)
        await play.stage.restart("idc", WEB_DEMO.model_copy(update={"name": "stays"}))
        await play.eventually(lambda: play.waiting("default", "stays", "idc") > 0)
        rules = [rule for group in (await asked.get("rules"))["groups"] for rule in group["rules"]]
        assert rules
        for name in {name for rule in rules for name in series_in(rule["query"])} - UNUSED:
            await asked.eventually(name)
        for expression in expressions():
            if series_in(expression) & UNUSED:
                await asked.drawn(expression)
            else:
                await asked.eventually(expression)


async def test_rules_are_evaluated_and_fire_on_what_happens(tmp_path: Path) -> None:
    async with watched(tmp_path) as (play, asked):
        await asked.eventually("brim:messages_rejected:sum == 0")
        await scenario(play)
        for service in ("intake", "scheduler", "executor", "descheduler"):
            await asked.eventually(
                f'ALERTS{{alertname="BrimMessagesRejected", service="{service}", alertstate="firing"}}'
            )
        rules = [rule for group in (await asked.get("rules"))["groups"] for rule in group["rules"]]
        ill = {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"}
        assert not ill
        firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
        assert firing == {"BrimMessagesRejected"}, json.dumps(rules, indent=1)
