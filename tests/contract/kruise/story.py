"""A workload with a Rollout behind an API server, simulated or real, and its templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from services.executor.core import rollouts
from tests.contract.kubernetes.api import Answer, Api, kubernetes_api

LONG = 120.0  # seconds that any wait may take: real controllers look again every three, and machines are busy
READY = "simulator.brim.dev/ready"  # an annotation of pods that simulated kubelets and the tests' KWOK read
PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
V1, V2, V3 = "image:1", "image:2", "image:3"
SEED: tuple[dict[str, Any], ...] = ({"replicas": "10%"}, {"replicas": "50%"}, {"replicas": "100%"})


def rollout(
    *steps: dict[str, Any], kind: str = "Deployment", style: str = "canary", name: str = "rollout", **more: Any
) -> dict[str, Any]:
    """more: fields of the style; `paused` is the strategy's."""
    paused = {"paused": more.pop("paused")} if "paused" in more else {}
    return {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": "web"},
            "strategy": {style: {"steps": list(steps), **more}, **paused},
        },
    }


def template(image: str, *, ready: bool = True) -> dict[str, Any]:
    marks = {READY: None if ready else "false"}
    return {"metadata": {"labels": {"app": "web"}, "annotations": marks}, "spec": {"containers": [_container(image)]}}


def _container(image: str) -> dict[str, Any]:
    return {"name": "main", "image": image}


def workload(kind: str, replicas: int, **spec: Any) -> dict[str, Any]:
    own: dict[str, Any] = {"replicas": replicas}
    if kind == "StatefulSet":
        own |= {"serviceName": "web", "podManagementPolicy": "Parallel"}
    if kind == "DaemonSet":
        own = {}
    pods = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [_container(V1)]}}
    whole = {"selector": {"matchLabels": {"app": "web"}}, "template": pods, **own, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": whole}


class Story:
    """replicas: of the workload; a DaemonSet has one on each of two nodes."""

    def __init__(self, api: Api, kind: str, replicas: int) -> None:
        self.api = api
        self.replicas = 2 if kind == "DaemonSet" else replicas
        self.workload = api.apps(PLURALS[kind], "web")
        self.rollouts = f"/apis/rollouts.kruise.io/v1beta1/namespaces/{api.namespace}/rollouts"
        self.rollout = f"{self.rollouts}/rollout"

    # -- acting

    async def release(self, image: str, *, ready: bool = True) -> None:
        await self.patch(self.workload, {"spec": {"template": template(image, ready=ready)}})

    async def approve(self) -> None:
        """What brim writes, until it is acted on: the controller may write over it what it worked out before."""
        began = rollouts.step_of(await self.get(self.rollout)).index

        async def gone_on() -> bool:
            found = await self.get(self.rollout)
            step = rollouts.step_of(found)
            if step.is_paused and step.index == began:
                answer = await self.api.patch(f"{self.rollout}/status", rollouts.approval(step))
                assert answer.status in (200, 409), answer.body
                return False
            return step.index != began or not step.is_under_way or step.state == "Completed"

        await self.until(gone_on, f"went on from step {began}")

    async def patch(self, path: str, body: Any) -> None:
        answer = await self.api.patch(path, body)
        assert answer.status == 200, answer.body

    # -- asking

    async def get(self, path: str) -> Any:
        """Empty for what is not there."""
        answer = await self.api.get(path)
        return answer.body if answer.status == 200 else {}

    async def status(self) -> Any:
        return (await self.get(self.rollout)).get("status") or {}

    async def told(self) -> Any:
        """canaryStatus or blueGreenStatus."""
        status = await self.status()
        return status.get("canaryStatus") or status.get("blueGreenStatus") or {}

    async def condition(self, kind: str) -> tuple[str, str]:
        """(status, reason)"""
        found = {one["type"]: one for one in (await self.status()).get("conditions") or []}
        return (found[kind]["status"], found[kind].get("reason", "")) if kind in found else ("", "")

    async def serving(self) -> dict[str, int]:
        """Ready pods by image."""
        found = (await self.get(self.api.core("pods")))["items"]
        return dict(Counter(_image(pod) for pod in found if _is_ready(pod)))

    async def started(self) -> set[str]:
        return {_image(pod) for pod in (await self.get(self.api.core("pods")))["items"]}

    async def marks(self) -> dict[str, str]:
        """Kruise's, on the workload; but for those that stay on it."""
        metadata = (await self.get(self.workload))["metadata"]
        found = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
        stay = {"rollouts.kruise.io/workload-type", "rollouts.kruise.io/stable-revision"}
        return {key: value for key, value in found.items() if "kruise.io" in key and key not in stay}

    # -- waiting

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str) -> None:
        try:
            with anyio.fail_after(LONG):
                while True:
                    if await condition():
                        return
                    await anyio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never {what}: {await self.serving()}, {await self.status()}") from None

    async def serves(self, **images: int) -> None:
        """These ready pods and no others; by the last part of the image, as in v1=3."""
        wanted = {f"image:{name.removeprefix('v')}": count for name, count in images.items() if count}

        async def so() -> bool:
            return await self.serving() == wanted

        await self.until(so, f"served {wanted}")

    async def at(self, step: int, state: str = "StepPaused") -> None:
        async def so() -> bool:
            told = await self.told()
            here = told.get("currentStepIndex"), told.get("currentStepState")
            return here == (step, state) and (await self.status()).get("phase") == "Progressing"

        await self.until(so, f"at step {step} in {state}")

    async def says(self, message: str) -> None:
        async def so() -> bool:
            return message in (await self.status()).get("message", "")

        await self.until(so, f"said {message!r}")

    async def is_in(self, phase: str) -> None:
        async def so() -> bool:
            return (await self.status()).get("phase") == phase

        await self.until(so, phase)

    async def reason(self, reason: str) -> None:
        async def so() -> bool:
            return (await self.condition("Progressing"))[1] == reason

        await self.until(so, f"Progressing for {reason}")

    async def over(self, *, canceled: bool = False, **images: int) -> None:
        """It is through, and its workload as if nothing had been."""
        await self.is_in("Healthy")
        assert await self.condition("Progressing") == ("False", "Completed")
        assert (await self.condition("Succeeded"))[0] == str(not canceled)
        end = "canceled" if canceled else "completed"
        assert (await self.status())["message"] == f"Rollout progressing has been {end}"
        await self.serves(**images)
        await self.free()

    async def free(self) -> None:
        async def so() -> bool:
            return not await self.marks()

        await self.until(so, "without Kruise's marks")
        assert "paused" not in (await self.get(self.workload))["spec"]


def _image(pod: Any) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _is_ready(pod: Any) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


@asynccontextmanager
async def telling(
    *steps: dict[str, Any],
    kind: str = "Deployment",
    replicas: int = 10,
    spec: dict[str, Any] | None = None,
    **strategy: Any,
) -> AsyncIterator[Story]:
    """Version 1 serves, and its Rollout is at rest. spec: of the workload."""
    async with kubernetes_api() as api:
        story = Story(api, kind, replicas)
        made = await api.create(story.workload.rpartition("/")[0], workload(kind, replicas, **(spec or {})))
        assert made.status == 201, made.body
        await story.serves(v1=story.replicas)
        await created(story, rollout(*(steps or SEED), kind=kind, **strategy))
        await story.says("workload deployment is completed")
        yield story


async def created(story: Story, body: dict[str, Any]) -> Answer:
    answer = await story.api.create(story.rollouts, body)
    assert answer.status == 201, answer.body
    return answer
