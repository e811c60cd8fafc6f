"""What STATUS says of rollouts: Kruise's own words, and the restarts of the newest template's pods."""

from __future__ import annotations

from typing import Any

import pytest

from services.inventory.core.facts import PodFacts
from services.inventory.core.statuses import ObjectFacts, status_of
from services.inventory.facts import object_facts
from services.inventory.projections import Managed
from services.inventory.rollout_form import rollout_status
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import IN_PROGRESS_ANNOTATION
from shared.kube import Resource

STEPS: list[Any] = [
    {"replicas": "10%", "traffic": "5%"},
    {"replicas": "50%", "pause": {"duration": 60}},
    {"replicas": "100%"},
]
SPEC: dict[str, Any] = {"strategy": {"canary": {"steps": STEPS}}}


def status(**canary: Any) -> dict[str, Any]:
    return {
        "phase": "Progressing",
        "message": "Rollout is in step(1/3), and you need manually confirm to enter the next step",
        "conditions": [{"type": "Progressing", "status": "True", "reason": "InRolling"}],
        "canaryStatus": {
            "currentStepIndex": 1,
            "nextStepIndex": 2,
            "currentStepState": "StepPaused",
            "stableRevision": "old",
            "canaryRevision": "new",
            "canaryReplicas": 1,
            "canaryReadyReplicas": 1,
            **canary,
        },
    }


def test_a_paused_step() -> None:
    found = rollout_status(SPEC, status())
    assert (found.phase, found.step, found.steps, found.state) == ("Progressing", 1, 3, "StepPaused")
    assert (found.reason, found.next_step, found.canary, found.canary_ready) == ("InRolling", 2, 1, 1)
    assert (found.stable_revision, found.new_revision, found.traffic) == ("old", "new", "5%")
    assert found.message.startswith("Rollout is in step(1/3)")
    assert (found.resumes_at, found.succeeded) == (None, None)


def test_a_timed_pause_ends_at_its_time() -> None:
    found = rollout_status(SPEC, status(currentStepIndex=2, lastUpdateTime="1970-01-01T00:01:00Z"))
    assert found.resumes_at == 120.0


@pytest.mark.parametrize(("said", "succeeded"), [("True", True), ("False", False), ("Unknown", None)])
def test_how_the_last_one_ended(said: str, succeeded: bool | None) -> None:
    ended = {"phase": "Healthy", "conditions": [{"type": "Succeeded", "status": said}]}
    assert rollout_status(SPEC, ended).succeeded is succeeded


def test_blue_green() -> None:
    spec = {"strategy": {"paused": True, "blueGreen": {"steps": STEPS}}}
    told = {
        "currentStepIndex": 3,
        "currentStepState": "StepPaused",
        "updatedRevision": "green",
        "updatedReplicas": 4,
        "updatedReadyReplicas": 3,
    }
    found = rollout_status(spec, {"blueGreenStatus": told})
    assert (found.style, found.paused, found.step, found.state) == ("blueGreen", True, 3, "StepPaused")
    assert (found.new_revision, found.canary, found.canary_ready) == ("green", 4, 3)


@pytest.mark.parametrize(
    ("step", "words"), [({"traffic": "20%"}, "20%"), ({"matches": [{"headers": []}]}, "what matches"), ({}, "")]
)
def test_what_a_step_sends_to_the_new_version(step: dict[str, Any], words: str) -> None:
    spec = {"strategy": {"blueGreen": {"steps": [{"replicas": "50%", **step}]}}}
    assert rollout_status(spec, {"blueGreenStatus": {"currentStepIndex": 1}}).traffic == words


PER_NODE = {
    "desiredNumberScheduled": 3,
    "numberReady": 2,
    "updatedNumberScheduled": 1,
    "numberAvailable": 2,
    "observedGeneration": 4,
}


@pytest.mark.parametrize("group", ["apps", "apps.kruise.io"])
def test_a_pod_on_each_node_is_counted_by_the_members_words(group: str) -> None:
    metadata = {"name": "agent", "generation": 4, "annotations": {IN_PROGRESS_ANNOTATION: "{}"}}
    managed = Managed.model_validate({"metadata": metadata, "status": PER_NODE})
    found = object_facts(managed, Resource(group, "v1", "DaemonSet", "daemonsets"))
    assert (found.replicas, found.ready, found.updated, found.available) == (3, 2, 1, 2)
    assert (found.rolling, found.observed_generation) == (True, 4)


@pytest.mark.parametrize(
    "rubbish", [{}, {"canaryStatus": 7}, {"conditions": "x", "canaryStatus": {"currentStepIndex": "1"}}]
)
def test_rubbish_says_nothing(rubbish: Any) -> None:
    found = rollout_status(rubbish, rubbish)
    assert (found.phase, found.step, found.state) == ("", 0, "")


def test_restarts_are_those_of_the_newest_template() -> None:
    pods = [
        PodFacts("test", "old-1", template="old", created_at=1.0, restarts=9),
        PodFacts("test", "new-1", template="new", created_at=2.0, restarts=2),
        PodFacts("test", "new-2", template="new", created_at=3.0, restarts=1),
        PodFacts("test", "new-3", template="new", created_at=4.0, restarts=50, phase="Failed"),
    ]
    facts = ObjectFacts(
        ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web"), rolling=True
    )
    found = status_of("idc", facts, pods, {}, None, 5.0)
    assert (found.restarts, found.rolling) == (3, True)
