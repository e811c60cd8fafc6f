"""New versions over a fleet as people steer them: what they type, what they are told, and what the members then do."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from cli.up import example
from shared import telemetry
from tests.e2e.harness import playing
from tests.e2e.rollouts import (
    FILES,
    QWEN,
    QWEN_ROLLOUT,
    REGIONS,
    V1,
    V2,
    V3,
    Show,
    changed,
    fleet,
    shipped,
)

ROOT = Path(__file__).parents[2]
NAME = f"rollout/{QWEN_ROLLOUT}"
NOT_PAUSED = "does not allow to approve, because current canary state is not 'StepPaused'"
ME = getpass.getuser()


def says(member: str, what: str) -> str:
    return f"cluster({member}): rollout.rollouts.kruise.io/{QWEN_ROLLOUT} {what}"


def manifest(**spec: Any) -> dict[str, Any]:
    return changed(shipped(FILES[QWEN], "Rollout"), **spec)


@asynccontextmanager
async def serving(folder: Path, *members: str, cpu: int = 16) -> AsyncIterator[Show]:
    """Version 1 of the packaged example in every member, ten replicas in each, and its Rollout."""
    async with playing(folder, fleet(*(members or REGIONS), cpu=cpu)) as play:
        show = Show.of(play, QWEN)
        result = await show.brim("apply", "-f", "-", given=example(FILES[QWEN]))
        assert result.status == 0, result.err
        await show.sees(lambda: set(show.serving(V1).values()) == {10} and show.at_rest())
        yield show


async def paused_at_first_step(show: Show) -> None:
    await show.release(V2)
    await show.sees(lambda: set(show.steps().values()) == {"1 StepPaused"})


SEED = """
apiVersion: rollouts.kruise.io/v1beta1
kind: Rollout
metadata:
  name: qwen-inference-rollout
spec:
  workloadRef:
    apiVersion: apps/v1
    kind: Deployment
    name: qwen-inference
  strategy:
    canary:
      enableExtraWorkloadForCanary: false
      steps:
      - replicas: 10%
      - replicas: 50%
      - replicas: 100%
---
apiVersion: policy.one.alibabacloud.com/v1alpha1
kind: PropagationPolicy
metadata:
  name: qwen-inference-rollout-pp
  namespace: demo
spec:
  preserveResourcesOnDeletion: false
  resourceSelectors:
  - apiVersion: rollouts.kruise.io/v1beta1
    kind: Rollout
    name: qwen-inference-rollout
  placement:
    replicaScheduling:
      replicaSchedulingType: Duplicated
"""


class TestTheUsualWay:
    async def test_a_manifest_without_a_namespace_takes_the_one_of_the_command(self, tmp_path: Path) -> None:
        """As kubectl would: the Rollout names no namespace, its policy does."""
        async with playing(tmp_path, fleet(*REGIONS, cpu=16)) as play:
            show = Show.of(play, QWEN)
            applied = await show.brim("apply", "-n", "demo", "-f", "-", given=SEED)
            assert applied.lines == [f"{NAME} created", "propagationpolicy/qwen-inference-rollout-pp created"]
            assert "is not there yet" in applied.err
            await show.release(V1)
            policy = next(
                one
                for one in yaml.safe_load_all(example(FILES[QWEN]))
                if one["metadata"]["name"] == "qwen-inference-pp"
            )
            await show.apply(policy)
            await show.sees(lambda: show.serving(V1) == dict.fromkeys(REGIONS, 10) and show.at_rest())
            await paused_at_first_step(show)

    async def test_the_tour_of_the_readme(self, tmp_path: Path) -> None:
        tour = (ROOT / "README.md").read_text(encoding="utf-8").partition("For rollouts,")[2].split("```")[1]
        lines = [line.partition("#")[0] for line in tour.splitlines()[1:]]
        async with playing(tmp_path, fleet(*REGIONS, cpu=16)) as play:
            show = Show.of(play, QWEN)
            for line in lines:
                text = example(FILES[QWEN])
                if line.startswith("sed s/"):
                    old, new = line.split()[1].split("/")[1:3]
                    text = text.replace(old, new)
                words = line.rpartition("brim ")[2].replace(f"examples/{FILES[QWEN]}", "-").split()
                told = await show.brim(*words, given=text if "-f" in words else "")
                assert told.status == 0, f"{line}: {told.err}"
                if line.startswith("sed"):
                    await show.sees(lambda: set(show.steps().values()) == {"1 StepPaused"})
            await show.sees(lambda: show.serving(V1) == dict.fromkeys(REGIONS, 10) and not show.started(V2))

    async def test_approved_everywhere_then_in_one_then_in_the_others(self, tmp_path: Path) -> None:
        async with serving(tmp_path, *REGIONS, "shenzhen") as show:
            await paused_at_first_step(show)
            table = await show.says("rollout", "get", "-n", "demo", shows="and you need manually confirm")
            heading = table.lines[0].split()
            assert heading == ["NAME", "CLUSTER", "STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE", "AGE"]
            approved = await show.rollout("approve", NAME, "-M")
            assert approved.lines == [says(m, "step 1 of 3 approved") for m in ("beijing", "shanghai", "shenzhen")]
            await show.sees(lambda: set(show.steps().values()) == {"2 StepPaused"})
            await show.rollout("approve", NAME, "-m", "beijing")
            await show.sees(lambda: show.steps()["beijing"] == "Healthy")
            assert show.serving(V2) == {"beijing": 10, "shanghai": 5, "shenzhen": 5}
            two = await show.rollout("approve", NAME, "-m", "shanghai", "-m", "shenzhen")
            assert two.lines == [says(m, "step 2 of 3 approved") for m in ("shanghai", "shenzhen")]
            await show.sees(lambda: show.at_rest() and set(show.serving(V2).values()) == {10})

    async def test_paused_in_one_member_and_resumed(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            told = await show.rollout("pause", NAME, "-m", "beijing")
            assert told.lines == [f"cluster(beijing): {NAME} paused"]
            await show.says("rollout", "get", "-n", "demo", "-m", "beijing", shows="Progressing (paused)")
            await show.rollout("approve", NAME)
            await show.sees(lambda: show.steps()["shanghai"] == "2 StepPaused")
            assert show.serving(V2)["beijing"] == 1
            told = await show.rollout("pause", NAME)
            assert told.lines == [f"cluster({member}): {NAME} paused" for member in REGIONS]
            await show.rollout("resume", NAME)
            await show.sees(lambda: show.steps()["beijing"] in ("1 StepPaused", "2 StepPaused"))

    async def test_undone_in_several_members_to_a_revision(self, tmp_path: Path) -> None:
        async with serving(tmp_path, *REGIONS, "shenzhen") as show:
            await show.apply(manifest(disabled=True))
            for version in (V2, V3):
                await show.release(version)
                await show.sees(lambda version=version: set(show.serving(version).values()) == {10})
            history = await show.rollout("history", NAME)
            assert [line.split()[0] for line in history.lines if line[:1].isdecimal()] == ["3", "2", "1"]
            told = await show.rollout("undo", NAME, "--to-revision", "1", "-m", "beijing", "-m", "shanghai")
            assert told.lines == [f"cluster({member}): deployment/{QWEN} undone to revision 1" for member in REGIONS]
            await show.sees(
                lambda: show.serving(V1) == dict.fromkeys(REGIONS, 10) and show.serving(V3) == {"shenzhen": 10}
            )
            await show.rollout("undo", NAME)
            await show.sees(lambda: len(show.serving(V2)) == 3 and not show.started(V3))
            refused = await show.rollout("restart", f"deploy/{QWEN}", expect=1)
            assert "every member was taken back to revision 2" in refused.err

    async def test_aborted_everywhere(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            told = await show.rollout("abort", NAME)
            assert told.lines == [
                f"cluster({m}): {what}"
                for what in (f"{NAME} paused", f"deployment/{QWEN} undone to revision 1")
                for m in REGIONS
            ]
            await show.sees(lambda: set(show.serving(V1).values()) == {10} and not show.started(V2))
            await show.says("rollout", "get", "-n", "demo", shows="Healthy (paused)")

    async def test_undone_where_it_is_paused_and_paused_still(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            await show.rollout("pause", NAME, "-m", "beijing")
            await show.says("rollout", "get", "-n", "demo", "-m", "beijing", shows="Progressing (paused)")
            told = await show.rollout("undo", NAME, "-m", "beijing")
            assert told.lines == [
                f"cluster(beijing): {NAME} undone",
                f"cluster(beijing): deployment/{QWEN} undone to revision 1",
            ]
            await show.sees(lambda: show.serving(V1) == {"beijing": 10, "shanghai": 9})
            await show.says("rollout", "get", "-n", "demo", "-m", "beijing", shows="Healthy (paused)")
            assert show.steps()["shanghai"] == "1 StepPaused"

    async def test_undo_goes_to_what_members_had_before_not_to_what_none_of_them_finished(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            await show.release(V3, ready=False)
            await show.sees(lambda: show.started(V3) == set(REGIONS))
            await show.rollout("undo", NAME)
            await show.sees(lambda: set(show.serving(V1).values()) == {10} and not show.started(V3) | show.started(V2))

    async def test_restarted_in_one_member_then_in_all(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await show.apply(manifest(disabled=True))
            pods = {member: show.pods(member) for member in REGIONS}
            told = await show.rollout("restart", f"deploy/{QWEN}", "-m", "beijing")
            assert told.lines == [f"cluster(beijing): deployment/{QWEN} restarted"]
            await show.sees(lambda: show.serving(V1)["beijing"] == 10 and not show.pods("beijing") & pods["beijing"])
            assert show.pods("shanghai") == pods["shanghai"]
            await show.rollout("restart", f"deploy/{QWEN}")
            await show.sees(lambda: not show.pods("shanghai") & pods["shanghai"] and show.serving(V1)["shanghai"] == 10)


class TestBadInput:
    """What people are told, word for word, and that nothing comes of it."""

    async def test_at_rest(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            refused = await show.rollout("approve", NAME, "-M", expect=1)
            assert refused.err.splitlines() == [says(member, NOT_PAUSED) for member in REGIONS]
            refused = await show.rollout("approve", NAME, "-m", "moon", expect=1)
            assert refused.err == "Error: the fleet has no member 'moon': its members are beijing, shanghai\n"
            refused = await show.rollout("approve", "rollout/nothing", "-M", expect=1)
            assert "rollout 'nothing' not found in namespace 'demo' of the fleet" in refused.err
            refused = await show.rollout("approve", f"deploy/{QWEN}", expect=1)
            assert f"Deployment demo/{QWEN} has no steps to approve: name its Rollout" in refused.err
            refused = await show.rollout("undo", NAME, expect=1)
            assert "there is no older revision; see `brim rollout history`" in refused.err
            await self._manifests(show)
            await self._lonely(show)

    async def _manifests(self, show: Show) -> None:
        second = manifest()
        second["metadata"]["name"] = "second"
        steps = [{"replicas": f"{percent}%"} for percent in range(1, 52)]
        wrong: list[tuple[dict[str, Any], str]] = [
            (second, f"Deployment demo/{QWEN} is rolled out by Rollout demo/{QWEN_ROLLOUT} already"),
            (manifest(strategy__canary__steps=[{"replicas": "50%"}, {"replicas": "10%"}]), "steps may not decrease"),
            (manifest(strategy__canary__steps=steps), "51 steps are given: give 1 to 50"),
            (manifest(strategy__canary__steps=[]), "give 1 to 50"),
            (manifest(workloadRef=None), "spec.workloadRef: this field is required"),
        ]
        for one, words in wrong:
            refused = await show.apply(one, expect=1)
            assert words in refused.err, refused.err
        listed = await show.brim("get", "rollouts", "-n", "demo")
        assert "second" not in listed.out

    async def _lonely(self, show: Show) -> None:
        """A Rollout without a workload may be right tomorrow."""
        lonely, policy = manifest(workloadRef__name="absent"), shipped_policy("lonely")
        lonely["metadata"]["name"] = "lonely"
        applied = await show.apply(lonely, policy)
        assert (
            "its workload, Deployment demo/absent, is not there yet; it takes effect once that is applied"
            in applied.err
        )
        await show.says("rollout", "get", "lonely", "-n", "demo", shows="Workload Not Found")
        refused = await show.rollout("undo", "rollout/lonely", expect=1)
        assert "Deployment demo/absent: there is no such object" in refused.err
        refused = await show.rollout("status", "rollout/lonely", expect=1)
        assert "the fleet has no Deployment demo/absent" in refused.err

    async def test_in_the_middle_of_it(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            await show.says("rollout", "get", "-n", "demo", shows="StepPaused")
            steps = manifest()["spec"]["strategy"]["canary"]["steps"]
            frozen: list[tuple[dict[str, Any], str]] = [
                (manifest(strategy__canary__steps=steps[1:]), "spec.strategy.canary.steps"),
                (manifest(strategy={"blueGreen": {"steps": steps}}), "spec.strategy"),
                (manifest(workloadRef__name="other"), "spec.workloadRef"),
            ]
            for one, field in frozen:
                refused = await show.apply(one, expect=1)
                assert (
                    f"{field}: a member is in the middle of this rollout: wait for its end, or undo it" in refused.err
                )
            await show.apply(manifest(strategy__canary__steps=[{"replicas": "20%"}, *steps[1:]]))
            refused = await show.rollout("pause", f"deploy/{QWEN}", expect=1)
            assert "a Deployment cannot be paused; name its Rollout or FleetRollout" in refused.err
            refused = await show.rollout("undo", NAME, "--to-revision", "2", expect=1)
            assert "revision 2 is not older than the newest, 2" in refused.err
            refused = await show.rollout("approve", NAME, "-M", "-m", "beijing", expect=2)
            assert "give either -M or -m MEMBER" in refused.err


def shipped_policy(name: str) -> dict[str, Any]:
    """The Rollout's own policy, for a Rollout of another name."""
    found = next(
        one
        for one in yaml.safe_load_all(example(FILES[QWEN]))
        if one["metadata"]["name"] == "qwen-inference-rollout-pp"
    )
    found["metadata"]["name"] = found["spec"]["resourceSelectors"][0]["name"] = name
    return dict(found)


class TestAMemberThatIsAway:
    async def test_it_is_told_of_and_not_caught_up_by_itself(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            shanghai = show.play.stage.brim.members["shanghai"]
            await shanghai.pause()
            told = await show.rollout("approve", NAME, "-M", expect=1)
            assert told.lines == [says("beijing", "step 1 of 3 approved")]
            (line,) = told.err.splitlines()
            assert line.startswith("cluster(shanghai): ")
            await show.sees(lambda: show.steps()["beijing"] == "2 StepPaused")
            await shanghai.resume()
            await show.says("get", "clusters", shows="shanghai")
            await show.play.settles(lambda: show.steps() == {"beijing": "2 StepPaused", "shanghai": "1 StepPaused"})

    async def test_it_is_caught_up_where_that_is_asked_for(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            shanghai = show.play.stage.brim.members["shanghai"]
            await shanghai.pause()
            told = await show.rollout("approve", NAME, "-M", "--catch-up")
            assert told.lines == [says("beijing", "step 1 of 3 approved")]
            assert "it is approved when it is back" in told.err
            await shanghai.resume()
            await show.sees(lambda: set(show.steps().values()) == {"2 StepPaused"})

    async def test_a_wish_reaches_it_when_it_is_back_and_the_command_says_so(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            shanghai = show.play.stage.brim.members["shanghai"]
            await shanghai.pause()
            told = await show.rollout("undo", NAME, expect=1)
            assert told.lines == [f"cluster(beijing): deployment/{QWEN} undone to revision 1"]
            assert f"cluster(shanghai): deployment/{QWEN} undone to revision 1, but not yet there: " in told.err
            await show.sees(lambda: show.serving(V1).get("beijing") == 10)
            await shanghai.resume()
            await show.sees(lambda: show.serving(V1) == dict.fromkeys(REGIONS, 10) and not show.started(V2))


class TestWhoDidIt:
    async def test_it_is_in_the_events(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as show:
            await paused_at_first_step(show)
            await show.rollout("approve", NAME, "-m", "beijing")
            await show.rollout("pause", NAME, "-m", "shanghai")
            await show.rollout("undo", NAME)
            events = (await show.brim("events", "-n", "demo")).out
            lines = [" ".join(line.split()[2:]) for line in events.splitlines()]
            rollout, workload = f"Rollout demo/{QWEN_ROLLOUT}", f"Deployment demo/{QWEN}"
            assert f"approved {rollout} in beijing, by {ME}: step 1 of 3 approved" in lines
            assert f"paused {rollout} in shanghai, by {ME}" in lines
            assert f"undone {workload} everywhere, to revision 1, by {ME}" in lines
            inside = await show.brim("get", "events", "-n", "demo", "-m", "beijing")
            assert f"step 1 of 3 approved by {ME}" in inside.out

    async def test_it_is_in_the_trace_which_goes_from_the_command_into_the_member(self, tmp_path: Path) -> None:
        with telemetry.recorded() as spans:
            async with serving(tmp_path) as show:
                await paused_at_first_step(show)
                await show.rollout("approve", NAME, "-m", "beijing")
                await show.rollout("undo", NAME)
                await show.sees(lambda: not show.started(V2))
        found = spans.finished()
        for command, last in (("rollout approve", "approve rollout"), ("rollout undo", "apply Deployment")):
            (root,) = (span for span in found if span.name.endswith(command))
            assert (root.parent_id, root.attributes["enduser.id"]) == ("", ME)
            of_it = [span for span in found if span.trace_id == root.trace_id]
            assert last in {span.name for span in of_it}, [span.name for span in of_it]
        marked = [span.attributes for span in found if span.attributes.get("brim.action") == "undo"]
        assert [attributes["enduser.id"] for attributes in marked] == [ME]
        (approved,) = (span for span in found if span.name == "approve rollout")
        assert (approved.attributes["enduser.id"], approved.attributes["brim.action"]) == (ME, "approve")
