"""The multi-region scenario: the primary region first, with all it can add; then the backup region."""

from __future__ import annotations

from cli.demo.observer import is_unscheduled, names
from cli.demo.stage import Stage
from shared.contracts.refs import ObjectRef

QWEN3 = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="qwen3")
PRIMARY, BACKUP, POOL = "shanghai", "beijing", "gpu-sh"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    observer = stage.observer

    def ready(primary: int, backup: int) -> bool:
        found = tuple(observer.ready("test", "qwen3", member) for member in (PRIMARY, BACKUP))
        held = tuple(len(observer.pods("test", "qwen3", member)) for member in (PRIMARY, BACKUP))
        return found == held == (primary, backup)

    stage.step("Two replicas: the primary region has room")
    await stage.apply("qwen3.yaml", "qwen3-multi-region-policies.yaml")
    await stage.see("2 replicas run in the primary region, none in the backup region", lambda: ready(2, 0))
    kept = names(observer.pods("test", "qwen3", PRIMARY))
    stage.show_pods("test")

    stage.step("Scale to 5: the primary region is full, adds the one node it can, and the rest goes to the backup")
    await stage.scale(QWEN3, 5)
    await stage.see(
        "1 replica waits for a new node of the primary region",
        lambda: sum(is_unscheduled(entry.manifest) for entry in observer.pods("test", "qwen3", PRIMARY)) == 1,
    )
    await stage.see("5 replicas run: 3 in the primary region, 2 in the backup region", lambda: ready(3, 2))
    stage.show_pods("test")
    stage.show_nodes()

    stage.step("Scale to 3: the backup region's replicas go first")
    await stage.scale(QWEN3, 3)
    await stage.see("3 replicas run in the primary region, none in the backup region", lambda: ready(3, 0))

    stage.step("Scale to 2: the primary region keeps what it had at the start, and its added node goes when idle")
    await stage.scale(QWEN3, 2)
    await stage.see(
        "the same 2 pods run as at the start",
        lambda: ready(2, 0) and names(observer.pods("test", "qwen3", PRIMARY)) == kept,
    )
    await stage.see("the added node is removed", lambda: not observer.nodes(PRIMARY, pool=POOL), timeout=60.0)
    stage.show_pods("test")
    stage.show_nodes()
