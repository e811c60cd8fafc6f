"""A new model version over two regions, step by step; and a bad one that stops at its first batch and is undone."""

from __future__ import annotations

from cli.demo import versions
from cli.demo.observer import ROLLOUTS
from cli.demo.stage import Stage
from cli.json_values import object_of, text
from shared.contracts.refs import ObjectRef

ROLLOUT = ObjectRef(
    group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="demo", name="qwen-inference-rollout"
)
WORKLOAD = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="demo", name="qwen-inference")
REGIONS = ("beijing", "shanghai")
FILE, APP, REPLICAS = "qwen-rollout.yaml", "qwen-inference", 10
V1, V2, V3 = "qwen:v1", "qwen:v2", "qwen:v3"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    await _start(stage)
    await _new_version(stage)
    await _bad_version(stage)


async def _start(stage: Stage) -> None:
    stage.step("A model in two regions, and a Rollout: 10 %, 50 %, 100 %")
    await stage.apply(FILE)
    await stage.see("10 replicas of v1 run in each region", lambda: _serving(stage, V1) == [10, 10])
    await stage.see("both regions' rollouts are Healthy", lambda: _phases(stage) == ["Healthy", "Healthy"])
    stage.show(ROLLOUTS, "demo")


async def _new_version(stage: Stage) -> None:
    stage.step("Version v2: one replica in each region, then everything waits for an approval")
    await stage.submit(versions.version(FILE, V2))
    await stage.see("v2 runs once in each region, v1 nine times", lambda: _both(stage) == [(1, 9)] * 2)
    await stage.see("both wait at step 1", lambda: _at(stage) == [("1", "StepPaused")] * 2)
    stage.show(ROLLOUTS, "demo")
    stage.step("Approved everywhere: half of each region")
    await stage.approve(ROLLOUT)
    await stage.see("v2 runs five times in each region", lambda: _both(stage) == [(5, 5)] * 2)
    await stage.see("both wait at step 2", lambda: _at(stage) == [("2", "StepPaused")] * 2)
    stage.step("Approved in beijing alone: it goes on to the end, shanghai stays")
    await stage.approve(ROLLOUT, "beijing")
    await stage.see("beijing runs v2 alone, shanghai half", lambda: _both(stage) == [(10, 0), (5, 5)])
    await stage.approve(ROLLOUT, "shanghai")
    await stage.see("both regions run v2 alone", lambda: _both(stage) == [(10, 0)] * 2)
    await stage.see("both rollouts are Healthy again", lambda: _phases(stage) == ["Healthy", "Healthy"])
    stage.show(ROLLOUTS, "demo")


async def _bad_version(stage: Stage) -> None:
    await stage.at_rest(WORKLOAD)
    stage.step("Version v3 never gets ready: it stops at its first batch")
    await stage.submit(versions.version(FILE, V3, ready=False))
    await stage.see("v3 was started in each region", lambda: all(_started(stage, V3)))
    lowest = [REPLICAS]
    stage.observer.gauges.append(lambda: lowest.append(min(_serving(stage, V2))))
    stage.step("One command takes it back everywhere")
    await stage.undo(ROLLOUT)
    await stage.see(
        "both regions run v2 alone, and v3 is gone",
        lambda: _serving(stage, V2) == [10, 10] and not any(_started(stage, V3)),
    )
    stage.observer.gauges.pop()
    await stage.see(f"at least {min(lowest)} of {REPLICAS} served on the way", lambda: min(lowest) >= REPLICAS - 3)
    await stage.see("both rollouts are Healthy again", lambda: _phases(stage) == ["Healthy", "Healthy"])
    stage.show(ROLLOUTS, "demo")


def _started(stage: Stage, image: str) -> list[int]:
    return [len(versions.started(stage, APP, region, image)) for region in REGIONS]


def _serving(stage: Stage, image: str) -> list[int]:
    return [versions.serving(stage, APP, region, image) for region in REGIONS]


def _both(stage: Stage) -> list[tuple[int, int]]:
    """Ready pods of v2 and of v1 per region."""
    return list(zip(_serving(stage, V2), _serving(stage, V1), strict=True))


def _phases(stage: Stage) -> list[str]:
    return [text(entry.manifest, "status", "phase") for entry in stage.observer.objects(ROLLOUTS, "demo")]


def _at(stage: Stage) -> list[tuple[str, str]]:
    found = [object_of(entry.manifest, "status", "canaryStatus") for entry in stage.observer.objects(ROLLOUTS, "demo")]
    return [(text(one, "currentStepIndex"), text(one, "currentStepState")) for one in found]
