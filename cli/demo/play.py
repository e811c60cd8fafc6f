"""Playing scenarios, one after the other, and the summary at the end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cli.colours import cell, style
from cli.demo import burst, descheduling, gpu_burst, hybrid, max_burst, multi_region, rollout, waves
from cli.demo.stage import NotSeen, Stage, staged
from cli.tables import Table, render
from cli.up import example
from shared import fleet as fleet_file
from shared.clock import Clock
from shared.errors import BrimError
from shared.settings import Settings

SPEED = 30.0  # fleet seconds per second: ten idle minutes pass in twenty seconds


@dataclass(frozen=True, slots=True)
class Scenario:
    """fleet: the packaged fleet file. acts: what is played on it, in order."""

    fleet: str
    acts: tuple[tuple[str, Callable[[Stage], Awaitable[None]]], ...]


SCENARIOS = {
    "default": Scenario("hybrid.yaml", (("hybrid", hybrid.play), ("descheduling", descheduling.play))),
    "hybrid": Scenario("hybrid.yaml", (("hybrid", hybrid.play),)),
    "descheduling": Scenario("hybrid.yaml", (("descheduling", descheduling.play),)),
    "burst": Scenario(
        "burst.yaml", (("burst", burst.play), ("max-burst", max_burst.play), ("gpu-burst", gpu_burst.play))
    ),
    "rollout": Scenario("rollout-fleet.yaml", (("rollout", rollout.play),)),
    "waves": Scenario("waves-fleet.yaml", (("waves", waves.play),)),
    "multi-region": Scenario("multi-region.yaml", (("multi-region", multi_region.play),)),
}


async def play(settings: Settings, scenario: str, speed: float, say: Callable[[str], None]) -> bool:
    """Play a scenario in a folder that is removed afterwards. Returns whether every step was seen."""
    chosen = SCENARIOS[scenario]
    fleet = fleet_file.parse(example(chosen.fleet), source=f"examples/{chosen.fleet}")
    begun = time.monotonic()
    rows: list[tuple[str, ...]] = []
    complete = True
    with tempfile.TemporaryDirectory(prefix="brim-demo-", ignore_cleanup_errors=True) as folder:
        clock = Clock(speed=speed)
        say(f"A NATS server, {len(fleet.members)} simulated members and brim's four services start in this process.")
        say(f"Time runs {speed:g} times as fast: a minute of the fleet takes {60 / speed:g} s.")
        async with staged(settings, fleet, Path(folder), clock, say) as stage:
            for title, act in chosen.acts:
                complete = complete and await _act(stage, title, act, rows)
    say("")
    say(style("== Summary", bold=True))
    say(render(Table(("SCENARIO", "STEP", "SEEN", "FLEET-TIME"), tuple(rows)), paint=cell))
    say("")
    verdict = "Every step was seen in the members' own APIs" if complete else "Not every step was seen"
    say(style(f"{verdict}; the demo took {time.monotonic() - begun:.0f} s.", fg="green" if complete else "red"))
    return complete


async def _act(stage: Stage, title: str, act: Callable[[Stage], Awaitable[None]], rows: list[tuple[str, ...]]) -> bool:
    stage.seen.clear()
    failed: BrimError | None = None
    try:
        await act(stage)
    except BrimError as error:
        failed = error
        stage.say(style(f"  ✗ {error}", fg="red"))
        for namespace in ("test", "default"):
            stage.show_pods(namespace)
        stage.show_nodes()
    rows += [(title, what, "yes", f"{took:.0f}s") for what, took in stage.seen]
    if failed is not None:
        rows.append((title, str(failed) if isinstance(failed, NotSeen) else f"failed: {failed}", "NO", "-"))
    return failed is None
