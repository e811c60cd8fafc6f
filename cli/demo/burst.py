"""Bursting inside a member: its own machine first, serverless instances behind it, and those given back first."""

from __future__ import annotations

from cli.demo.observer import is_ready, names, node_of
from cli.demo.stage import Stage
from cli.json_values import text
from cli.tables import MemberObject
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef

NGINX = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="nginx")
MEMBER, MACHINE, VIRTUAL = "idc", "iz8vb1xtnuu0ne6b58hvx0z", "virtual-kubelet-cn-zhangjiakou-a"
ECI = "alibabacloud.com/eci"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    await overflow_and_back(stage)
    await _gpu_pod(stage)
    await _namespace(stage)


async def overflow_and_back(stage: Stage) -> None:
    """What a ResourcePolicy does, which needs no cloud behind the virtual node."""
    await _two_at_home(stage)
    kept = names(stage.observer.pods("default", "nginx", MEMBER))
    await _overflow(stage)
    await _give_back(stage, kept)


def on(stage: Stage, node: str, app: str = "nginx", namespace: str = "default") -> list[MemberObject]:
    """Pods of the app that are Ready on a node."""
    found = stage.observer.pods(namespace, app, MEMBER)
    return [entry for entry in found if node_of(entry.manifest) == node and is_ready(entry.manifest)]


async def _two_at_home(stage: Stage) -> None:
    stage.step("Two replicas of 2 CPUs, and a ResourcePolicy: the machine first, then serverless instances")
    await stage.apply("nginx-burst.yaml")
    await stage.see("both run on the machine", lambda: len(on(stage, MACHINE)) == 2)
    stage.show_nodes()
    stage.show_pods("default", wide=True)


async def _overflow(stage: Stage) -> None:
    stage.step("Scale to 4: a third does not fit the machine")
    await stage.scale(NGINX, 4)
    await stage.see(
        "2 run on the machine, 2 on serverless instances",
        lambda: len(on(stage, MACHINE)) == 2 and len(on(stage, VIRTUAL)) == 2,
    )
    stage.show_pods("default", wide=True)
    stage.show_instances("default")


async def _give_back(stage: Stage, kept: frozenset[str]) -> None:
    observer = stage.observer
    stage.step("Scale to 2: what is paid by the second goes first")
    await stage.scale(NGINX, 2)
    await stage.see(
        "the 2 on serverless instances are gone, the machine runs the same 2 pods as at the start",
        lambda: names(observer.pods("default", "nginx", MEMBER)) == kept == names(on(stage, MACHINE)),
    )
    await stage.see("no instance is left to be paid for", lambda: not observer.instances("default", MEMBER))
    stage.show_pods("default", wide=True)


async def _gpu_pod(stage: Stage) -> None:
    stage.step("A pod that somebody creates straight in the member asks for ECI by its label, with a GPU type")
    pod: JsonObject = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "gpu-pod",
            "namespace": "default",
            "labels": {"app": "gpu-pod", ECI: "true"},
            "annotations": {"k8s.aliyun.com/eci-use-specs": "ecs.gn5-c4g1.xlarge"},
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "cuda-container",
                    "image": "example.com/cuda10.2-vectoradd",
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }
            ],
        },
    }
    await stage.create(MEMBER, pod)
    await stage.see(
        "it ran on the virtual node and is Completed",
        lambda: (
            [
                (node_of(entry.manifest), text(entry.manifest, "status", "phase"))
                for entry in stage.observer.pods("default", "gpu-pod", MEMBER)
            ]
            == [(VIRTUAL, "Succeeded")]
        ),
    )
    stage.show_pods("default", wide=True)
    log = await stage.logs(MEMBER, "default", "gpu-pod")
    await stage.see("its log says that the test passed", lambda: "Test PASSED" in log)


async def _namespace(stage: Stage) -> None:
    stage.step("A namespace that asks for ECI: all of its new pods run there")
    metadata: JsonObject = {"name": "burst", "labels": {ECI: "true"}}
    await stage.create(MEMBER, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    pod: JsonObject = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "job", "namespace": "burst", "labels": {"app": "job"}},
        "spec": {"containers": [{"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "500m"}}}]},
    }
    await stage.create(MEMBER, pod)
    await stage.see("its pod runs on the virtual node", lambda: len(on(stage, VIRTUAL, "job", "burst")) == 1)
    stage.show_pods("burst", wide=True)
