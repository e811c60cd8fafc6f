"""Members that refuse, fail, hang, lie and go away."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.executor import executor
from services.executor.member import Member
from shared.backoff import Backoff
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_of
from shared.fleet import Kubeconfig
from shared.settings import ExecutorSettings
from simulator.faults import Fault, Faults
from tests.executor.samples import WEB, deployment, share

Trouble = Callable[..., Fault]  # called with the method, path and number of the requests that it is to hit

TROUBLES: dict[str, Callable[[Faults], Trouble]] = {
    **{
        str(status): lambda faults, status=status: partial(faults.answer, status)  # type: ignore[misc]
        for status in (409, 410, 429, 500, 502, 503, 504)
    },
    "no answer": lambda faults: faults.hang,
    "cut off": lambda faults: faults.reset,
    "rubbish": lambda faults: faults.rubbish,
    "an empty object": lambda faults: partial(faults.rubbish, body=b"{}"),
    "a success of nothing": lambda faults: partial(faults.rubbish, body=b'{"kind": "Status", "status": "Success"}'),
}


def begin(w: Any, trouble: str, method: str, path: str) -> Fault:
    """The next requests of this kind fail; a single one where each waits for its timeout."""
    times = 1 if trouble == "no answer" else 2
    return TROUBLES[trouble](w.members["idc"].faults)(method=method, path=path, times=times)


class TestAMemberThat:
    @pytest.mark.parametrize("trouble", TROUBLES)
    @pytest.mark.parametrize("verb", ["PATCH", "GET"])
    async def test_fails_for_a_moment_is_tried_again(self, world: Any, trouble: str, verb: str) -> None:
        async with world() as w, w.executor():
            fault = begin(w, trouble, verb, "/deployments/web")
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            assert fault.hits == fault.times
            assert w.live("idc", WEB)["spec"]["replicas"] == 2

    @pytest.mark.parametrize("trouble", [name for name in TROUBLES if name != "a success of nothing"])
    @pytest.mark.parametrize("verb", ["DELETE", "GET"])
    async def test_fails_when_an_object_is_to_go_is_not_believed_to_have_deleted_it(
        self, world: Any, trouble: str, verb: str
    ) -> None:
        async with world() as w:
            async with w.executor():
                await w.desire(WEB)
                await w.settled("idc", await w.place(WEB, share()))
            async with w.executor():  # which remembers nothing, and has to look
                fault = begin(w, trouble, verb, "/deployments/web")
                await w.said("idc", await w.place(WEB, share(present=False)), "deleted")
                assert w.live("idc", WEB) is None
                assert fault.hits == fault.times

    @pytest.mark.parametrize("trouble", [name for name in TROUBLES if name not in ("409", "410")])
    async def test_fails_to_say_what_it_serves_is_asked_again(self, world: Any, trouble: str) -> None:
        async with world() as w, w.executor():
            fault = begin(w, trouble, "GET", "^/apis/apps/v1$")
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            assert fault.hits == fault.times

    @pytest.mark.parametrize("trouble", TROUBLES)
    async def test_fails_to_make_the_namespace_is_tried_again(self, world: Any, trouble: str) -> None:
        async with world() as w, w.executor():
            fault = begin(w, trouble, "POST", "/namespaces")
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            assert fault.hits == fault.times
            assert w.members["idc"].store.get("namespaces", "", "test") is not None

    async def test_refuses_is_reported_and_tried_slowly(self, world: Any) -> None:
        async with world() as w, w.executor():
            rule = w.members["idc"].faults.answer(403, method="PATCH", path="/deployments/web")
            await w.desire(WEB)
            outcome = await w.said("idc", await w.place(WEB, share()), "failed")
            assert outcome.code == "Forbidden"
            assert "Deployment test/web" in outcome.message
            assert rule.hits == 1
            w.members["idc"].faults.clear()
            await w.settled("idc", await w.place(WEB, share()))

    async def test_is_deleting_the_namespace_gets_it_when_it_is_gone(self, world: Any) -> None:
        stays = {"metadata": {"name": "stays", "namespace": "test", "finalizers": ["somebody.test/else"]}}
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            store = w.members["idc"].store
            store.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", **stays})
            held = store.get("namespaces", "", "test")
            marked = {**held["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            store.update("namespaces", {**held, "metadata": marked})
            await w.eventually(lambda: w.live("idc", WEB) is None)
            placed = await w.place(WEB, share(replicas=3))
            outcome = await w.said("idc", placed, "retrying")
            assert outcome.code == "NamespaceTerminating"
            store.remove("configmaps", "test", "stays")
            await w.settled("idc", placed)
            assert w.live("idc", WEB)["spec"]["replicas"] == 3

    async def test_quotes_a_secret_is_not_quoted(self, world: Any) -> None:
        secret: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "key", "namespace": "test"},
            "data": {"password": "not base64: hunter2"},
        }
        async with world() as w, w.executor():
            w.members["idc"].faults.answer(422, method="PATCH", path="/secrets/")
            await w.desire(secret, revision=0)
            outcome = await w.said("idc", await w.place(secret, share(revision=0), whole=True), "failed")
            assert "hunter2" not in outcome.encode().decode()
            assert "withheld" in outcome.message

    async def test_does_not_know_the_kind_is_reported(self, world: Any) -> None:
        rocket: JsonObject = {
            "apiVersion": "space.test/v1",
            "kind": "Rocket",
            "metadata": {"name": "r", "namespace": "test"},
        }
        async with world() as w, w.executor():
            await w.desire(rocket, revision=0)
            outcome = await w.said("idc", await w.place(rocket, share(revision=0), whole=True), "failed")
            assert outcome.code == "NoKindMatch"

    async def test_does_not_know_the_kind_any_more_holds_nothing_of_it(self, world: Any) -> None:
        rocket: JsonObject = {
            "apiVersion": "space.test/v1",
            "kind": "Rocket",
            "metadata": {"name": "r", "namespace": "test"},
        }
        async with world() as w, w.executor():
            await w.desire(rocket, revision=0)
            await w.said("idc", await w.place(rocket, share(revision=0, present=False), whole=True), "deleted")

    async def test_cannot_be_reached_as_its_kubeconfig_says_stops_no_other(self, world: Any, tmp_path: Path) -> None:
        async with world("idc", "cloud") as w:
            document = yaml.safe_load(w.settings.kubeconfig.read_text())
            for entry in document["clusters"]:
                entry["cluster"] |= {"server": "https://127.0.0.1:1", "certificate-authority-data": "cnViYmlzaA=="}
            broken = tmp_path / "broken"
            broken.write_text(yaml.safe_dump(document))
            async with w.executor():
                reached = Kubeconfig(context="cloud", path=str(broken))
                await w.desire(cluster_of(w.members["cloud"].member, reached).to_manifest(), uid="cluster-cloud")
                await w.desire(WEB)
                placed = await w.place(WEB, share("idc"), share("cloud"))
                await w.settled("idc", placed)
                outcome = await w.said("cloud", placed, "retrying")
                assert "certificates cannot be used" in outcome.message
                await w.join("cloud")
                await w.settled("cloud", placed)

    async def test_meets_a_defect_of_brims_begins_again_and_stops_no_other(
        self, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executor, "RETRY", Backoff(base=0.01, maximum=0.01))
        serve, failed = Member._serve, []

        async def fails_once(member: Member, reconciler: Any) -> None:
            if member.name == "cloud" and not failed:
                failed.append(True)
                raise ZeroDivisionError
            await serve(member, reconciler)

        monkeypatch.setattr(Member, "_serve", fails_once)
        async with world("idc", "cloud") as w, w.executor():
            await w.desire(WEB)
            placed = await w.place(WEB, share("idc"), share("cloud"))
            await w.settled("idc", placed)
            await w.settled("cloud", placed)
        assert failed

    async def test_is_away_is_only_probed_and_gets_everything_when_it_is_back(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.members["idc"].pause()
            placed = []
            for number in range(8):
                manifest = deployment(f"web-{number}")
                await w.desire(manifest)
                placed.append((manifest, await w.place(manifest, share("idc"), share("cloud"))))
            for _, placement in placed:
                outcome = await w.said("idc", placement, "retrying")
                assert outcome.code == "MemberUnavailable"
                await w.said("cloud", placement, "applied")  # the others are not held up
            await w.eventually(lambda: w.metric("breaker_open", member="idc") == 1)
            await w.members["idc"].resume()
            for manifest, placement in placed:
                await w.said("idc", placement, "applied")
                assert w.live("idc", manifest)["spec"]["replicas"] == 2
            assert w.metric("breaker_open", member="idc") == 0

    async def test_lost_the_object_gets_it_again(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            w.members["idc"].store.remove("deployments.apps", "test", "web")
            await w.settled("idc", await w.place(WEB, share(replicas=3)))
            assert w.live("idc", WEB)["spec"]["replicas"] == 3

    async def test_has_another_object_of_that_name_by_now_keeps_it(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            store = w.members["idc"].store
            store.remove("deployments.apps", "test", "web")
            theirs = {**WEB, "metadata": {"name": "web", "namespace": "test", "uid": "theirs", "generation": 1}}
            kept = store.create("deployments.apps", theirs)
            await w.said("idc", await w.place(WEB, share(present=False)), "deleted")
            assert w.live("idc", WEB) == kept

    async def test_is_no_member_yet_gets_its_share_when_it_joins(self, world: Any) -> None:
        async with world("idc", "cloud") as w:
            await w.leave("cloud")
            async with w.executor():
                await w.desire(WEB)
                placed = await w.place(WEB, share("cloud"))
                outcome = await w.said("cloud", placed, "retrying")
                assert outcome.code == "UnknownMember"
                await w.join("cloud")
                await w.said("cloud", placed, "applied")

    async def test_left_the_fleet_is_measured_no_more(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.desire(WEB)
            await w.settled("cloud", await w.place(WEB, share("idc"), share("cloud")))
            assert w.metric("writes_total", member="cloud") > 0
            await w.leave("cloud")
            await w.place(WEB, share("idc"))
            await w.eventually(lambda: w.metric("writes_total", member="cloud") == 0)
            assert w.metric("writes_total", member="idc") > 0

    async def test_left_the_fleet_keeps_what_it_has(self, world: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            await w.desire(WEB)
            await w.settled("cloud", await w.place(WEB, share("cloud")))
            await w.leave("cloud")
            gone = await w.place(WEB, share("idc"), share("cloud", present=False))
            await w.said("idc", gone, "applied")
            await w.said("cloud", gone, "released")
            assert w.live("cloud", WEB)["spec"]["replicas"] == 2

    async def test_leaves_in_the_middle_of_a_write_is_written_no_more(self, world: Any) -> None:
        async with world("idc", "cloud", settings=ExecutorSettings(request_timeout=30.0)) as w, w.executor():
            await w.desire(WEB)
            hanging = w.members["cloud"].faults.hang(method="PATCH", path="/deployments/web")
            placed = await w.place(WEB, share("idc"), share("cloud"))
            await w.eventually(lambda: hanging.hits)
            await w.leave("cloud")
            outcome = await w.said("cloud", placed, "retrying")  # once the request had its grace
            assert outcome.code == "UnknownMember"
            w.members["cloud"].faults.clear()
            with w.requests("cloud") as requests:
                await w.settled("idc", await w.place(WEB, share("idc", 3), share("cloud", 3)))
                assert requests.seen == []
            await w.join("cloud")
            await w.eventually(lambda: (w.live("cloud", WEB) or {"spec": {}})["spec"].get("replicas") == 3)
