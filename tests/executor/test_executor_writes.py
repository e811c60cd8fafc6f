"""The executor against simulated members, over a real bus: what arrives in the members' own APIs."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from shared import telemetry
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.placement import Share
from shared.contracts.refs import ObjectRef, Order
from shared.settings import ExecutorSettings
from simulator.faults import Fault


def deployment(image: str = "web:1", **spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "test", "labels": {"app": "web"}},
        "spec": {
            "replicas": 9,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
            **spec,
        },
    }


def job(completions: int = 4, **spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "sum", "namespace": "test"},
        "spec": {
            "parallelism": 2,
            "completions": completions,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "sum", "image": "sum:1"}]}},
            **spec,
        },
    }


WEB = deployment()
CONFIG: JsonObject = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "config", "namespace": "test"},
    "data": {"a": "1"},
}


def share(member: str = "idc", replicas: int = 2, **fields: Any) -> Share:
    return Share(**{"member": member, "replicas": replicas, "revision": 1, **fields})


def owners_of(obj: Any, *path: str) -> set[str]:
    """Which managers own a field."""
    found = set()
    for entry in obj["metadata"].get("managedFields", ()):
        node = entry.get("fieldsV1", {})
        for step in path:
            node = node.get(f"f:{step}") if isinstance(node, dict) else None
        if node is not None:
            found.add(entry["manager"])
    return found


async def test_a_placement_becomes_objects_whose_pods_say_whose_they_are(world: Any) -> None:
    async with world("idc", "cloud") as w, w.executor():
        await w.desire(WEB)
        placed = await w.place(WEB, share("idc", 2), share("cloud", 3))
        for member, replicas in (("idc", 2), ("cloud", 3)):
            await w.said(member, placed, "applied")
            obj = w.live(member, WEB)
            assert obj["spec"]["replicas"] == replicas
            assert obj["metadata"]["labels"]["brim.dev/managed"] == "true"
            assert obj["metadata"]["annotations"]["brim.dev/order"] == "1.1"
            assert obj["metadata"]["annotations"]["brim.dev/revision"] == "1"
        pods = w.members["cloud"].store
        await w.eventually(
            lambda: [p["metadata"]["labels"]["brim.dev/workload"] for p in pods.every("pods")] == ["workload-1"] * 3
        )


class TestReplicas:
    async def test_the_count_is_never_wrong_on_the_way_and_has_a_manager_of_its_own(self, world: Any) -> None:
        async with world() as w, w.executor():
            counts: list[int] = []
            w.members["idc"].store.subscribe(
                lambda change: counts.append(change.object["spec"]["replicas"]), "deployments.apps"
            )
            await w.desire(WEB)
            with w.requests("idc") as requests:
                await w.settled("idc", await w.place(WEB, share()))
                assert owners_of(w.live("idc", WEB), "spec", "replicas") == {"brim-replicas"}
                assert requests.of("web") == ["GET", "PATCH", "PATCH", "PATCH", "PATCH"]  # once for want of a namespace
            assert set(counts) == {2}
            obj = w.live("idc", WEB)
            assert owners_of(obj, "spec", "selector") == {"brim"}

    async def test_a_scale_is_one_request_and_no_change_is_none(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            with w.requests("idc") as requests:
                scaled = await w.place(WEB, share(replicas=5))
                await w.said("idc", scaled, "applied")
                assert requests.of("web") == ["PATCH"]
                await w.publish(scaled)
                other = await w.place(WEB, share(replicas=6))
                await w.said("idc", other, "applied")
                assert requests.of("web") == ["PATCH", "PATCH"]
            assert w.live("idc", WEB)["spec"]["replicas"] == 6

    async def test_a_new_template_leaves_the_count_alone(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share(replicas=4)))
            counts: list[int] = []
            w.members["idc"].store.subscribe(
                lambda change: counts.append(change.object["spec"]["replicas"]), "deployments.apps"
            )
            newer = deployment("web:2")
            await w.desire(newer, revision=2, generation=2)
            await w.settled("idc", await w.place(WEB, share(replicas=4, revision=2), generation=2))
            obj = w.live("idc", WEB)
            assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
            assert set(counts) == {4}
            assert owners_of(obj, "spec", "replicas") == {"brim-replicas"}

    async def test_an_autoscalers_count_is_not_written(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            idc = w.members["idc"]
            live = w.live("idc", WEB)
            idc.store.update("deployments.apps", {**live, "spec": {**live["spec"], "replicas": 7}})
            await w.said("idc", await w.place(WEB, share(replicas=2, autoscaled=True)), "applied")
            assert w.live("idc", WEB)["spec"]["replicas"] == 7
            assert w.live("idc", WEB)["metadata"]["annotations"]["brim.dev/order"] == "1.2"


class TestRevisions:
    async def test_a_share_at_an_older_revision_gets_the_older_template(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.supersede(WEB, 1)
            await w.desire(deployment("web:2"), revision=2, generation=2)
            placed = await w.place(WEB, share("idc", revision=1), share("cloud", revision=2), generation=2)
            images = {}
            for member in ("idc", "cloud"):
                await w.said(member, placed, "applied")
                images[member] = w.live(member, WEB)["spec"]["template"]["spec"]["containers"][0]["image"]
            assert images == {"idc": "web:1", "cloud": "web:2"}

    async def test_a_placement_seen_before_its_manifest_waits_for_it(self, world: Any) -> None:
        async with world() as w, w.executor():
            placed = await w.place(WEB, share())
            outcome = await w.said("idc", placed, "retrying")
            assert outcome.code == "Behind"
            await w.desire(WEB)
            await w.said("idc", placed, "applied")


class TestGoing:
    async def test_a_share_that_is_not_present_is_deleted_with_its_pods(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            with w.requests("idc") as requests:
                await w.said("idc", await w.place(WEB, share(present=False)), "deleted")
                assert requests.of("web") == ["DELETE"]
            await w.eventually(lambda: not list(w.members["idc"].store.every("pods")))
            assert w.live("idc", WEB) is None

    async def test_a_move_deletes_here_and_creates_there(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share("idc")))
            moved = await w.place(WEB, share("idc", present=False), share("cloud"))
            await w.said("idc", moved, "deleted")
            await w.said("cloud", moved, "applied")
            assert (w.live("idc", WEB), w.live("cloud", WEB)["spec"]["replicas"]) == (None, 2)

    async def test_preserve_takes_only_brims_marks_off(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            pods = {p["metadata"]["uid"] for p in w.members["idc"].store.every("pods")}
            gone = await w.place(WEB, share(present=False), deleted=True, preserve=True)
            await w.said("idc", gone, "released")
            obj = w.live("idc", WEB)
            assert obj["spec"]["replicas"] == 2
            assert obj["metadata"]["labels"] == {"app": "web"}
            assert not [key for key in obj["metadata"].get("annotations", {}) if key.startswith("brim.dev/")]
            assert not {"brim", "brim-replicas"} & owners_of(obj, "spec")
            assert {p["metadata"]["uid"] for p in w.members["idc"].store.every("pods")} == pods

    async def test_preserve_is_about_deletions_and_a_move_leaves_nothing_behind(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share("idc"), preserve=True))
            moved = await w.place(WEB, share("idc", present=False), share("cloud"), preserve=True)
            await w.said("idc", moved, "deleted")
            assert w.live("idc", WEB) is None

    async def test_a_member_that_no_share_names_is_left_alone(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.desire(WEB)
            placed = await w.place(WEB, share("idc"), share("cloud"))
            await w.settled("idc", placed)
            await w.settled("cloud", placed)
            await w.settled("cloud", await w.place(WEB, share("cloud", 3)))
            assert w.live("idc", WEB)["spec"]["replicas"] == 2

            async def forgotten() -> bool:
                return await w.outcome("idc", WEB) is None

            await w.eventually(forgotten)

    async def test_a_namespace_is_created_where_it_is_missing_and_never_removed(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            await w.said("idc", await w.place(WEB, share(present=False)), "deleted")
            namespace = w.members["idc"].store.get("namespaces", "", "test")
            assert "deletionTimestamp" not in namespace["metadata"]
            assert "brim.dev/managed" not in namespace["metadata"].get("labels", {})


class TestWhatIsThereAlready:
    async def test_is_a_conflict_and_stays_untouched(self, world: Any) -> None:
        async with world() as w, w.executor():
            theirs = create(w, deployment("theirs:1"))
            await w.desire(WEB)
            outcome = await w.said("idc", await w.place(WEB, share()), "conflict")
            assert (outcome.code, w.live("idc", WEB)) == ("AlreadyOwned", theirs)

    async def test_is_taken_over_where_the_policy_says_so(self, world: Any) -> None:
        async with world() as w, w.executor():
            create(w, deployment("theirs:1"))
            await w.desire(WEB)
            await w.said("idc", await w.place(WEB, share(replicas=3), overwrite=True), "applied")
            obj = w.live("idc", WEB)
            assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
            assert obj["spec"]["replicas"] == 3

    async def test_is_not_deleted_where_it_is_not_brims(self, world: Any) -> None:
        async with world() as w, w.executor():
            theirs = create(w, deployment("theirs:1"))
            await w.said("idc", await w.place(WEB, share(present=False)), "deleted")
            assert w.live("idc", WEB) == theirs

    async def test_fields_that_others_add_stay(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            live = w.live("idc", WEB)
            annotations = {**live["metadata"]["annotations"], "rollouts.kruise.io/in-progressing": "{}"}
            changed = {
                **live,
                "metadata": {**live["metadata"], "annotations": annotations},
                "spec": {**live["spec"], "paused": True},
            }
            w.members["idc"].store.update("deployments.apps", changed)
            await w.desire(deployment("web:2"), revision=2, generation=2)
            await w.settled("idc", await w.place(WEB, share(replicas=3, revision=2), generation=2))
            obj = w.live("idc", WEB)
            assert obj["spec"]["paused"] is True
            assert obj["metadata"]["annotations"]["rollouts.kruise.io/in-progressing"] == "{}"


class TestOrder:
    async def test_an_older_placement_is_dropped(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            old = w.placement(WEB, share(replicas=1))
            new = await w.place(WEB, share(replicas=4))
            await w.said("idc", new, "applied")
            await w.publish(old)
            other = {**CONFIG, "metadata": {"name": "marker", "namespace": "test"}}
            await w.desire(other, revision=0)
            await w.said("idc", await w.place(other, share(revision=0), whole=True), "applied")  # it was seen by now
            assert w.live("idc", WEB)["spec"]["replicas"] == 4
            outcome = await w.outcome("idc", WEB)
            assert outcome.order == new.order

    async def test_an_older_placement_is_dropped_by_a_process_that_never_saw_the_newer(self, world: Any) -> None:
        async with world() as w:
            await w.desire(WEB)
            old = w.placement(WEB, share(replicas=1))
            async with w.executor():
                await w.settled("idc", await w.place(WEB, share(replicas=4)))
            await w.bus.remove(subjects.outcome("idc", old.ref))
            await w.publish(old)
            async with w.executor():
                with w.requests("idc") as requests:
                    await w.eventually(lambda: requests.of("web") == ["GET"] or w.metric("looks_total"))
                    marker = {**CONFIG, "metadata": {"name": "marker", "namespace": "test"}}
                    await w.desire(marker, revision=0)
                    await w.said("idc", await w.place(marker, share(revision=0), whole=True), "applied")
            assert w.live("idc", WEB)["spec"]["replicas"] == 4

    async def test_a_new_epoch_counts_for_more_than_any_counter(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            high = await w.place(WEB, share(replicas=4), order=Order(epoch=1, counter=99))
            await w.settled("idc", high)
            await w.settled("idc", await w.place(WEB, share(replicas=2), order=Order(epoch=2, counter=1)))
            assert w.live("idc", WEB)["spec"]["replicas"] == 2


class TestOtherKinds:
    async def test_a_config_map_is_propagated_whole(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(CONFIG, revision=0)
            await w.said("idc", await w.place(CONFIG, share(revision=0), whole=True), "applied")
            assert w.live("idc", CONFIG)["data"] == {"a": "1"}
            await w.desire({**CONFIG, "data": {"b": "2"}}, revision=0, generation=2)
            await w.said("idc", await w.place(CONFIG, share(revision=0), whole=True, generation=2), "applied")
            assert w.live("idc", CONFIG)["data"] == {"b": "2"}

    async def test_a_placement_that_is_seen_before_its_manifest_waits_for_it(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(CONFIG, revision=0)
            await w.said("idc", await w.place(CONFIG, share(revision=0), whole=True), "applied")
            newer = await w.place(CONFIG, share(revision=0), whole=True, generation=2)
            await w.said("idc", newer, "retrying")
            await w.desire({**CONFIG, "data": {"b": "2"}}, revision=0, generation=2)
            await w.said("idc", newer, "applied")
            assert w.live("idc", CONFIG)["data"] == {"b": "2"}

    async def test_a_services_cluster_ip_stays(self, world: Any) -> None:
        service: JsonObject = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "test"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }
        async with world() as w, w.executor():
            await w.desire(service, revision=0)
            await w.said("idc", await w.place(service, share(revision=0), whole=True), "applied")
            before = w.live("idc", service)["spec"].get("clusterIP")
            newer: JsonObject = {**service, "spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}}
            await w.desire(newer, revision=0, generation=2)
            await w.said("idc", await w.place(service, share(revision=0), whole=True, generation=2), "applied")
            spec = w.live("idc", service)["spec"]
            assert (spec["selector"], spec.get("clusterIP")) == ({"app": "api"}, before)

    async def test_a_cluster_scoped_namespace_is_shared_with_what_is_there_and_released(self, world: Any) -> None:
        namespace: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        async with world() as w, w.executor():
            await w.desire(namespace, revision=0)
            await w.said("idc", await w.place(namespace, share(revision=0), whole=True), "applied")
            await w.said("idc", await w.place(namespace, share(revision=0, present=False), whole=True), "released")
            obj = w.members["idc"].store.get("namespaces", "", "default")
            assert "deletionTimestamp" not in obj["metadata"]
            assert "brim.dev/managed" not in obj["metadata"].get("labels", {})

    async def test_a_suspended_share_is_not_written(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.said("idc", await w.place(WEB, share(suspended=True)), "suspended")
            assert w.live("idc", WEB) is None
            await w.settled("idc", await w.place(WEB, share()))

    async def test_an_immutable_field_fails_in_the_members_own_words(self, world: Any) -> None:
        stateful: JsonObject = {**deployment(serviceName="web"), "kind": "StatefulSet"}
        async with world() as w, w.executor():
            await w.desire(stateful)
            await w.said("idc", await w.place(stateful, share()), "applied")
            await w.desire({**deployment(serviceName="other"), "kind": "StatefulSet"}, generation=2)
            outcome = await w.said("idc", await w.place(stateful, share(), generation=2), "failed")
            assert outcome.code == "Invalid"
            assert "StatefulSet" in outcome.message


class TestJobs:
    async def test_a_job_gets_its_share_of_the_completions(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(job(8))
            await w.settled("idc", await w.place(job(8), share(replicas=2, completions=4)))
            spec = w.live("idc", job())["spec"]
            assert (spec["parallelism"], spec["completions"]) == (2, 4)
            with w.requests("idc") as requests:
                await w.settled("idc", await w.place(job(8), share(replicas=3, completions=4)))
                assert requests.of("sum") == ["PATCH"]
            assert w.live("idc", job())["spec"]["parallelism"] == 3

    async def test_other_completions_before_the_first_success_make_it_anew(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(job(8))
            await w.settled("idc", await w.place(job(8), share(replicas=2, completions=4)))
            uid = w.live("idc", job())["metadata"]["uid"]
            await w.settled("idc", await w.place(job(8), share(replicas=2, completions=6)))
            obj = w.live("idc", job())
            assert obj["spec"]["completions"] == 6
            assert obj["metadata"]["uid"] != uid

    async def test_a_success_right_before_it_would_be_made_anew_is_not_lost(self, world: Any) -> None:
        """It comes between the executor's look and its deletion."""

        class Succeeds(Fault):
            def takes(self, method: str, path: str) -> bool:
                if method == "DELETE" and "/jobs/sum" in path and not self.hits:
                    self.hits += 1
                    live = w.live("idc", job())
                    store.update("jobs.batch", {**live, "status": {**live.get("status", {}), "succeeded": 1}})
                return False

        async with world() as w, w.executor():
            store = w.members["idc"].store
            await w.desire(job(8))
            await w.settled("idc", await w.place(job(8), share(replicas=2, completions=4)))
            uid = w.live("idc", job())["metadata"]["uid"]
            succeeds = w.members["idc"].faults._add(Succeeds("status"))
            outcome = await w.said("idc", await w.place(job(8), share(replicas=2, completions=6)), "failed")
            assert (succeeds.hits, outcome.code) == (1, "Immutable")
            assert w.live("idc", job())["metadata"]["uid"] == uid


async def test_the_trace_of_the_placement_goes_on_in_the_member(world: Any) -> None:
    async with world() as w, w.executor():
        await w.desire(WEB)
        with telemetry.recorded() as spans:
            with telemetry.span("decide"):
                placed = await w.place(WEB, share())
                trace = telemetry.trace_id()
            await w.said("idc", placed, "applied")
            written = w.live("idc", WEB)["metadata"]["annotations"]["brim.dev/traceparent"]
            assert written.split("-")[1] == trace
            assert {s.trace_id for s in spans.finished() if s.name == "apply Deployment"} == {trace}


async def test_looking_again_and_again_is_no_part_of_the_trace(world: Any) -> None:
    """A trace ends with its change; what brim mends long afterwards still says by which change it came to be."""
    async with world(settings=ExecutorSettings(resync=0.1, backoff_base=0.02)) as w, w.executor():
        await w.desire(WEB)
        with telemetry.recorded() as spans:
            with telemetry.span("decide"):
                placed = await w.place(WEB, share())
                trace = telemetry.trace_id()
            await w.settled("idc", placed)
            live = w.live("idc", WEB)
            w.members["idc"].store.update("deployments.apps", {**live, "spec": {**live["spec"], "replicas": 7}})
            await w.eventually(lambda: w.live("idc", WEB)["spec"]["replicas"] == 2)
            looks = w.metric("looks_total", member="idc")
            await w.eventually(lambda: w.metric("looks_total", member="idc") > looks + 3)
            assert [s.name for s in spans.finished() if s.name == "apply Deployment"] == ["apply Deployment"]
        written = w.live("idc", WEB)["metadata"]["annotations"]["brim.dev/traceparent"]
        assert written.split("-")[1] == trace


def create(w: Any, manifest: JsonObject, member: str = "idc") -> Any:
    """As somebody else did before brim came."""
    ref = ObjectRef.of(manifest)
    store = w.members[member].store
    if store.get("namespaces", "", ref.namespace) is None:
        metadata = {"name": ref.namespace, "uid": "ns"}
        store.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    metadata = {**manifest["metadata"], "uid": "theirs", "generation": 1}  # type: ignore[dict-item]
    return store.create("deployments.apps", {**manifest, "metadata": metadata})
