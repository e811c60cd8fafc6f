"""A new model version over two regions, step by step; and a bad one that stops at its first batch and is undone."""

from __future__ import annotations

from cli import manifests
from cli.demo.observer import ROLLOUTS, is_ready
from cli.demo.stage import Stage
from cli.json_values import object_of, objects_of, text
from cli.up import example
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef

ROLLOUT = ObjectRef(
    group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="demo", name="qwen-inference-rollout"
)
REGIONS = ("beijing", "shanghai")
APP, REPLICAS = "qwen-inference", 10


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    await _start(stage)
    await _new_version(stage)
    await _bad_version(stage)


async def _start(stage: Stage) -> None:
    stage.step("A model in two regions, and a Rollout: 10 %, 50 %, 100 %")
    await stage.apply("qwen-rollout.yaml")
    await stage.see("10 replicas of v1 run in each region", lambda: _runs(stage, "v1") == [10, 10])
    await stage.see("both regions' rollouts are Healthy", lambda: _phases(stage) == ["Healthy", "Healthy"])
    stage.show(ROLLOUTS, "demo")


async def _new_version(stage: Stage) -> None:
    stage.step("Version v2: one replica in each region, then everything waits for an approval")
    await stage.submit(_version("qwen:v2"))
    await stage.see("v2 runs once in each region, v1 nine times", lambda: _stand(stage, "v2", "v1") == [(1, 9)] * 2)
    await stage.see("both wait at step 1", lambda: _at(stage) == [("1", "StepPaused")] * 2)
    stage.show(ROLLOUTS, "demo")
    stage.step("Approved everywhere: half of each region")
    await stage.approve(ROLLOUT)
    await stage.see("v2 runs five times in each region", lambda: _stand(stage, "v2", "v1") == [(5, 5)] * 2)
    await stage.see("both wait at step 2", lambda: _at(stage) == [("2", "StepPaused")] * 2)
    stage.step("Approved in beijing alone: it goes on to the end, shanghai stays")
    await stage.approve(ROLLOUT, "beijing")
    await stage.see("beijing runs v2 alone, shanghai half", lambda: _stand(stage, "v2", "v1") == [(10, 0), (5, 5)])
    await stage.approve(ROLLOUT, "shanghai")
    await stage.see("both regions run v2 alone", lambda: _stand(stage, "v2", "v1") == [(10, 0)] * 2)
    await stage.see("both rollouts are Healthy again", lambda: _phases(stage) == ["Healthy", "Healthy"])
    stage.show(ROLLOUTS, "demo")


async def _bad_version(stage: Stage) -> None:
    stage.step("Version v3 never gets ready: it stops at its first batch")
    await stage.submit(_version("qwen:v3", ready=False))
    await stage.see("v3 was started in each region", lambda: all(_started(stage, region, "v3") for region in REGIONS))
    lowest = [REPLICAS]
    stage.observer.gauges.append(lambda: lowest.append(min(_runs(stage, "v2"))))
    stage.step("One command takes it back everywhere")
    await stage.undo(ROLLOUT)
    await stage.see(
        "both regions run v2 alone, and v3 is gone",
        lambda: _runs(stage, "v2") == [10, 10] and not any(_started(stage, region, "v3") for region in REGIONS),
    )
    stage.observer.gauges.pop()
    await stage.see(f"at least {min(lowest)} of {REPLICAS} served on the way", lambda: min(lowest) >= REPLICAS - 3)
    stage.show(ROLLOUTS, "demo")


def _version(image: str, *, ready: bool = True) -> JsonObject:
    """The example's Deployment with another image. ready: whether its pods get ready in a simulated member."""
    documents = manifests.parse(example("qwen-rollout.yaml").encode(), source="qwen-rollout.yaml")
    found = [document.manifest for document in documents]
    deployment = next(one for one in found if one["kind"] == "Deployment")
    spec = object_of(deployment, "spec")
    template = object_of(spec, "template")
    container = {**objects_of(template, "spec", "containers")[0], "image": image}
    metadata = object_of(template, "metadata")
    if not ready:
        metadata = {**metadata, "annotations": {"simulator.brim.dev/ready": "false"}}
    template = {**template, "metadata": metadata, "spec": {"containers": [container]}}
    return {**deployment, "spec": {**spec, "template": template}}


def _of(stage: Stage, region: str, version: str) -> list[JsonObject]:
    return [
        entry.manifest
        for entry in stage.observer.pods("demo", APP, region)
        if any(text(one, "image") == f"qwen:{version}" for one in objects_of(entry.manifest, "spec", "containers"))
    ]


def _started(stage: Stage, region: str, version: str) -> int:
    return len(_of(stage, region, version))


def _ready(stage: Stage, region: str, version: str) -> int:
    return sum(is_ready(pod) for pod in _of(stage, region, version))


def _runs(stage: Stage, version: str) -> list[int]:
    return [_ready(stage, region, version) for region in REGIONS]


def _stand(stage: Stage, new: str, old: str) -> list[tuple[int, int]]:
    """Ready pods of the new and of the old version per region."""
    return [(_ready(stage, region, new), _ready(stage, region, old)) for region in REGIONS]


def _phases(stage: Stage) -> list[str]:
    return [text(entry.manifest, "status", "phase") for entry in stage.observer.objects(ROLLOUTS, "demo")]


def _at(stage: Stage) -> list[tuple[str, str]]:
    found = [object_of(entry.manifest, "status", "canaryStatus") for entry in stage.observer.objects(ROLLOUTS, "demo")]
    return [(text(one, "currentStepIndex"), text(one, "currentStepState")) for one in found]
