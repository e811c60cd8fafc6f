"""A bound on what runs at home: the machine has room for more, the policy has not."""

from __future__ import annotations

from cli.demo.observer import is_ready, names, node_of
from cli.demo.stage import Stage
from cli.tables import MemberObject
from shared.contracts.refs import ObjectRef

API = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="api")
MEMBER, OWN, VIRTUAL = "inference", "gpu-0", "virtual-kubelet-cn-hangzhou-i"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    observer = stage.observer
    stage.step("Two replicas, and a ResourcePolicy with max: 3 on a machine that could take many more")
    await stage.apply("max-burst.yaml")
    await stage.see("both run on the machine", lambda: _on(stage, OWN, 2) and len(_pods(stage)) == 2)
    stage.step("Scale to 5: the fourth is one too many for the machine, though it has room")
    await stage.scale(API, 5)
    await stage.see(
        "3 run on the machine, 2 on serverless instances", lambda: _on(stage, OWN, 3) and _on(stage, VIRTUAL, 2)
    )
    kept = names([entry for entry in _pods(stage) if node_of(entry.manifest) == OWN])
    stage.show_pods("default", wide=True)
    stage.show_instances("default")
    stage.step("Scale to 3: the instances go first")
    await stage.scale(API, 3)
    await stage.see("the same 3 are left on the machine", lambda: names(_pods(stage)) == kept)
    await stage.see("no instance is left to be paid for", lambda: not observer.instances("default", MEMBER))


def _pods(stage: Stage) -> list[MemberObject]:
    return stage.observer.pods("default", "api", MEMBER)


def _on(stage: Stage, node: str, count: int) -> bool:
    """So many replicas are Ready on a node."""
    return sum(node_of(entry.manifest) == node and is_ready(entry.manifest) for entry in _pods(stage)) == count
