"""The descheduling scenario: a member's nodes become unusable, and its stuck replicas are moved."""

from __future__ import annotations

from cli.demo.observer import is_unscheduled
from cli.demo.stage import NotSeen, Stage
from shared.contracts.refs import ObjectRef

WEB_DEMO = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web-demo")
WANTED = 5
TAINTED, OTHER = "idc", "ack"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen, or when too few replicas serve on the way."""
    observer = stage.observer
    stage.step(f"{WANTED} replicas of web-demo, divided over two members by the room they have")
    await stage.apply("web-demo.yaml")
    await stage.see(
        f"{WANTED} replicas run, some in each member",
        lambda: (
            observer.ready("default", "web-demo") == observer.told_ready("default", "web-demo") == WANTED
            and all(observer.ready("default", "web-demo", member) > 0 for member in (TAINTED, OTHER))
        ),
    )
    stage.show_deployments("default")

    lowest = [WANTED]
    observer.gauges.append(lambda: lowest.append(observer.ready("default", "web-demo")))
    stage.step(f"All nodes of {TAINTED} are tainted, and the workload there is restarted")
    await stage.taint_nodes(TAINTED, "foo", "bar")
    await stage.restart(TAINTED, WEB_DEMO)
    await stage.see(
        f"a new pod is Pending in {TAINTED}: no node takes it",
        lambda: any(is_unscheduled(entry.manifest) for entry in observer.pods("default", "web-demo", TAINTED)),
    )
    stage.show_pods("default")

    stage.step("The descheduler moves what is stuck: first a replacement, then the old replica goes")
    await stage.see(f"no replica is left in {TAINTED}", lambda: observer.gone("default", "web-demo", TAINTED), 60.0)
    await stage.see(
        f"all {WANTED} replicas run in {OTHER}",
        lambda: observer.ready("default", "web-demo", OTHER) == observer.told_ready("default", "web-demo") == WANTED,
    )
    observer.gauges.pop()
    if min(lowest) < WANTED:
        raise NotSeen(f"only {min(lowest)} of {WANTED} replicas were Ready at one moment on the way")
    await stage.see(f"never fewer than {WANTED} were Ready, in {len(lowest)} looks on the way", lambda: True)
    stage.show_deployments("default")
    stage.show_pods("default")
