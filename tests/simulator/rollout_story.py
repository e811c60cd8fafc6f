"""A workload of any kind with a Rollout in a simulated member, and its two templates."""

from __future__ import annotations

from typing import Any

from simulator import objects
from simulator.kruise import marks
from simulator.objects import Object
from tests.simulator.harness import Driver, deployment, template

ROLLOUTS = marks.SHELF
SEED: tuple[dict[str, Any], ...] = ({"replicas": "10%"}, {"replicas": "50%"}, {"replicas": "100%"})
KINDS = {shelf: kind for kind, shelf in marks.WORKLOADS.items()}
VERSIONS = {"apps": "apps/v1", "apps.kruise.io": "apps.kruise.io/v1alpha1"}
DAEMONS = (marks.DAEMONSETS, marks.ADVANCED_DAEMONSETS)


def rollout(*steps: dict[str, Any], shelf: str = marks.DEPLOYMENTS, style: str = "canary", **more: Any) -> Object:
    """more: fields of the style; `paused` is the strategy's."""
    kind, group = KINDS[shelf]
    paused = {"paused": more.pop("paused")} if "paused" in more else {}
    return {
        "metadata": {"name": "rollout"},
        "spec": {
            "workloadRef": {"apiVersion": VERSIONS[group], "kind": kind, "name": "web"},
            "strategy": {style: {"steps": list(steps), **more}, **paused},
        },
    }


def workload(shelf: str, replicas: int, **spec: Any) -> Object:
    """Named web, with image:1; spec: beside what every such workload has."""
    body = deployment(replicas=replicas, cpu="100m")
    if shelf == marks.STATEFULSETS:
        spec = {"serviceName": "web", "podManagementPolicy": "Parallel", **spec}
    if shelf in DAEMONS:
        del body["spec"]["replicas"]
        spec = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 3}}, **spec}
    return {**body, "spec": {**body["spec"], **spec}}


class Story:
    """total: pods that the workload has; a DaemonSet has one on each node."""

    def __init__(self, driver: Driver, shelf: str = marks.DEPLOYMENTS) -> None:
        self.driver = driver
        self.shelf = shelf
        self.total = 10

    async def start(self, *steps: dict[str, Any], spec: dict[str, Any] | None = None, **strategy: Any) -> None:
        """spec: of the workload."""
        self.driver.create(self.shelf, workload(self.shelf, self.total, **(spec or {})))
        self.driver.create(ROLLOUTS, rollout(*(steps or SEED), shelf=self.shelf, **strategy))
        await self.driver.until(lambda: len(self.driver.ready_pods(app="web")) == self.total)
        await self.driver.until(lambda: self.status.get("phase") == "Healthy", "healthy")
        await self.driver.settled()

    def image(self, image: str, *, ready: bool = True) -> None:
        marks = {"simulator.brim.dev/ready": None if ready else "false"}
        new = template({"app": "web"}, image=image, cpu="100m", annotations=marks)
        self.driver.patch(self.shelf, "web", {"spec": {"template": new}})

    @property
    def live(self) -> Object:
        found = self.driver.get(self.shelf, "web")
        assert found is not None
        return found

    @property
    def status(self) -> Any:
        found = self.driver.get(ROLLOUTS, "rollout")
        return objects.status(found) if found is not None else {}

    @property
    def told(self) -> Any:
        """canaryStatus or blueGreenStatus."""
        return self.status.get("blueGreenStatus") or self.status.get("canaryStatus") or {}

    @property
    def at(self) -> tuple[int, str]:
        return self.told.get("currentStepIndex", 0), self.told.get("currentStepState", "")

    def ready_of(self, image: str) -> int:
        return sum(pod["spec"]["containers"][0]["image"] == image for pod in self.driver.ready_pods(app="web"))

    async def paused_at(self, step: int, new: int, old: int | None = None) -> None:
        """old: pods of the old version beside the new ones; by default all have their place in the workload's size."""
        await self.driver.until(lambda: self.at == (step, "StepPaused"), f"paused at {step}: {self.status}")
        await self.driver.settled()
        old = self.total - new if old is None else old
        assert (self.ready_of("new"), self.ready_of("image:1")) == (new, old)

    def tell(self, **changes: Any) -> None:
        """Changes fields of the status, as those do who approve or jump."""
        live = self.driver.get(ROLLOUTS, "rollout")
        assert live is not None
        holder = "blueGreenStatus" if "blueGreenStatus" in live["status"] else "canaryStatus"
        status = {**live["status"], holder: {**live["status"][holder], **changes}}
        self.driver.store.update(ROLLOUTS, {**live, "status": status})

    def approve(self) -> None:
        self.tell(currentStepState="StepReady")

    async def completed(self, image: str = "new") -> None:
        """Only pods of that image are left, and nothing of Kruise's on the workload."""
        await self.driver.until(
            lambda: self.status.get("phase") == "Healthy" and self.ready_of(image) == self.total, f"{self.status}"
        )
        await self.driver.until(lambda: len(self.driver.pods(app="web")) == self.total)
        assert not marks.MARKS & objects.annotations(self.live).keys()
        assert marks.STABLE not in objects.labels(self.live)
        assert "paused" not in self.live["spec"]

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(one for one in self.status["conditions"] if one["type"] == kind)
        return found["status"], found.get("reason", "")
