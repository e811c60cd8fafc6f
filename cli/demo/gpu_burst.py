"""GPU inference inside one member: its own GPU, a node that is added, a serverless GPU; and all the way back."""

from __future__ import annotations

from cli.demo.observer import is_ready, names, node_of
from cli.demo.stage import Stage
from cli.json_values import text
from shared.contracts.refs import ObjectRef

LLM = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="ai", name="llm")
MEMBER, OWN, VIRTUAL, POOL = "inference", "gpu-0", "virtual-kubelet-cn-hangzhou-i", "gpu-a10"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    stage.step("One replica with a GPU, and the order: own GPU, a pool's node, a serverless instance")
    await stage.apply("gpu-burst.yaml")
    await stage.see("it runs on the member's own GPU", lambda: _units(stage) == ["idc"])
    first = names(stage.observer.pods("ai", "llm", MEMBER))
    stage.step("Scale to 3: a node is added for the second, an instance is created for the third")
    await stage.scale(LLM, 3)
    await stage.see("one replica runs in each unit", lambda: _units(stage) == ["eci", "ecs", "idc"])
    stage.show_nodes()
    stage.show_pods("ai", wide=True)
    stage.show_instances("ai")
    stage.step("Scale to 2: the serverless one goes first")
    await stage.scale(LLM, 2)
    await stage.see("the instance is gone", lambda: _units(stage) == ["ecs", "idc"])
    stage.step("Scale to 1: then the one on the added node")
    await stage.scale(LLM, 1)
    await stage.see(
        "the same pod as at the start is left",
        lambda: _units(stage) == ["idc"] and names(stage.observer.pods("ai", "llm", MEMBER)) == first,
    )
    stage.show_pods("ai", wide=True)


def _units(stage: Stage) -> list[str]:
    """The unit of each Ready replica, sorted."""
    return sorted(
        _unit(stage, node_of(entry.manifest))
        for entry in stage.observer.pods("ai", "llm", MEMBER)
        if is_ready(entry.manifest)
    )


def _unit(stage: Stage, node: str) -> str:
    added = {text(entry, "metadata", "name") for entry in stage.observer.nodes(MEMBER, pool=POOL)}
    return "ecs" if node in added else {OWN: "idc", VIRTUAL: "eci"}.get(node, node)
