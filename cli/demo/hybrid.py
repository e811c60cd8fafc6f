"""The hybrid scenario: the data centre first; the cloud takes what overflows, and gives it back first."""

from __future__ import annotations

from cli.demo.observer import is_ready, is_unscheduled, names
from cli.demo.stage import Stage
from shared.contracts.refs import ObjectRef

QWEN3 = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="qwen3")
HOME, CLOUD, POOL = "idc", "ack", "gpu-a10"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    await _two_at_home(stage)
    kept = names(stage.observer.pods("test", "qwen3", HOME))
    await _overflow(stage)
    await _scale_in(stage, kept)
    await _nodes_go(stage, kept)


async def _two_at_home(stage: Stage) -> None:
    observer = stage.observer
    stage.step("Two replicas, and a policy: the data centre first, then the cloud")
    await stage.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
    await stage.see(
        "2 replicas run in the data centre, none in the cloud",
        lambda: observer.ready("test", "qwen3", HOME) == 2 and not observer.pods("test", "qwen3", CLOUD),
    )
    stage.show_pods("test")
    stage.show_nodes()


async def _overflow(stage: Stage) -> None:
    observer = stage.observer
    stage.step("Scale to 4: the data centre is full, so two land in the cloud, which has no GPU node yet")
    await stage.scale(QWEN3, 4)
    await stage.see(
        "2 replicas are Pending in the cloud member",
        lambda: sum(is_unscheduled(entry.manifest) for entry in observer.pods("test", "qwen3", CLOUD)) == 2,
    )
    stage.show_pods("test")
    await stage.see(
        "2 nodes are being provisioned there (NotReady)",
        lambda: sum(not is_ready(node) for node in observer.nodes(CLOUD, pool=POOL)) == 2,
    )
    stage.show_nodes()
    await stage.see(
        "both nodes are Ready", lambda: sum(is_ready(node) for node in observer.nodes(CLOUD, pool=POOL)) == 2
    )
    await stage.see(
        "4 replicas run: 2 in the data centre, 2 in the cloud",
        lambda: observer.ready("test", "qwen3", HOME) == 2 and observer.ready("test", "qwen3", CLOUD) == 2,
    )
    stage.show_pods("test")
    stage.show_nodes()


async def _scale_in(stage: Stage, kept: frozenset[str]) -> None:
    observer = stage.observer
    stage.step("Scale to 2: the cloud's replicas go first, those of the data centre are not touched")
    await stage.scale(QWEN3, 2)
    await stage.see("the 2 replicas in the cloud are gone", lambda: observer.gone("test", "qwen3", CLOUD))
    await stage.see(
        "the data centre runs the same 2 pods as at the start",
        lambda: names(observer.pods("test", "qwen3", HOME)) == kept and observer.ready("test", "qwen3", HOME) == 2,
    )
    stage.show_pods("test")


async def _nodes_go(stage: Stage, kept: frozenset[str]) -> None:
    observer = stage.observer
    stage.step("The added nodes are idle now: after 10 minutes they are removed")
    await stage.see("the elastic nodes are removed", lambda: not observer.nodes(CLOUD, pool=POOL), timeout=60.0)
    await stage.see(
        "and still the same 2 pods run in the data centre",
        lambda: names(observer.pods("test", "qwen3", HOME)) == kept and observer.ready("test", "qwen3", HOME) == 2,
    )
    stage.show_pods("test")
    stage.show_nodes()
