"""New versions over three real members, each with Kruise Rollout's own controller, under the rights of deploy/rbac."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.demo import rollout
from cli.demo.observer import ROLLOUTS
from cli.json_values import object_of, objects_of, text
from cli.up import example
from shared import fleet as fleet_file
from shared.contracts import subjects
from shared.contracts.submit import Scale
from tests.e2e.rollouts import FILES, QWEN, QWEN_ROLLOUT, V1, V2, V3, Show, deployment_ref, fleet
from tests.real.control_plane import ControlPlane
from tests.real.kruise import Controller
from tests.real.play import really_playing

pytestmark = pytest.mark.real

MEMBERS = ("beijing", "shanghai", "shenzhen")
NAME = f"rollout/{QWEN_ROLLOUT}"


def says(member: str, what: str) -> str:
    return f"cluster({member}): rollout.rollouts.kruise.io/{QWEN_ROLLOUT} {what}"


def everywhere(count: int) -> dict[str, int]:
    return dict.fromkeys(MEMBERS, count)


@asynccontextmanager
async def halted(folder: Path, planes: list[ControlPlane]) -> AsyncIterator[Show]:
    """Version 1 and its Rollout in every member, and version 2 at its first step."""
    async with really_playing(folder, fleet(*MEMBERS, cpu=16), planes) as play:
        show = Show.of(play, QWEN)
        result = await show.brim("apply", "-f", "-", given=example(FILES[QWEN]))
        assert result.status == 0, result.err
        await show.sees(lambda: show.serving(V1) == everywhere(10) and show.at_rest())
        await show.release(V2)
        await all_at(show, "1 StepPaused")
        yield show


def reasons(show: Show) -> set[str]:
    """Why each member's Rollout stands where it does."""
    found = [object_of(entry.manifest, "status") for entry in show.play.observer.objects(ROLLOUTS, "demo")]
    told = [{text(one, "type"): text(one, "reason") for one in objects_of(status, "conditions")} for status in found]
    return {one.get("Progressing", "") for one in told}


async def all_at(show: Show, step: str) -> None:
    await show.sees(lambda: show.steps() == dict.fromkeys(MEMBERS, step), f"all at {step}")


async def test_the_demo(tmp_path: Path, controllers: list[Controller], planes: list[ControlPlane]) -> None:
    described = fleet_file.parse(example("rollout-fleet.yaml"), source="rollout-fleet.yaml")
    async with really_playing(tmp_path, described, planes[: len(described.members)]) as play:
        await rollout.play(play.stage)


async def test_parts_restart_between_the_steps_and_a_bad_version_is_undone(
    tmp_path: Path, controllers: list[Controller], planes: list[ControlPlane]
) -> None:
    async with halted(tmp_path, planes) as show:
        play = show.play
        await show.sees(lambda: (show.serving(V2), show.serving(V1)) == (everywhere(1), everywhere(9)))
        for service in ("scheduler", "executor"):
            await play.restart(service)
        await play.stage.brim.ready()
        approved = await show.rollout("approve", NAME, "-M")
        assert approved.lines == [says(member, "step 1 of 3 approved") for member in MEMBERS]
        await all_at(show, "2 StepPaused")
        await show.sees(lambda: (show.serving(V2), show.serving(V1)) == (everywhere(5), everywhere(5)))
        controllers[0].crash()
        await show.rollout("approve", NAME, "-m", "beijing")
        await play.restart("executor")
        await play.stage.brim.ready()
        await show.sees(lambda: show.serving(V2) == {**everywhere(5), "beijing": 10})
        assert {show.steps()[member] for member in MEMBERS[1:]} == {"2 StepPaused"}
        await show.rollout("approve", NAME, "-m", "shanghai", "-m", "shenzhen")
        await show.sees(lambda: show.serving(V2) == everywhere(10) and show.at_rest() and not show.started(V1))

        await play.stage.at_rest(deployment_ref(QWEN))
        await show.release(V3, ready=False)
        await show.sees(lambda: show.started(V3) == set(MEMBERS))
        refused = await show.rollout("approve", NAME, "-M", expect=1)
        assert "does not allow to approve, because current canary state is not 'StepPaused'" in refused.err
        lowest = [10]
        play.observer.gauges.append(lambda: lowest.append(min(show.serving(V2).get(one, 0) for one in MEMBERS)))
        await play.restart("scheduler")
        await play.stage.brim.ready()
        await show.rollout("undo", NAME)
        await show.sees(lambda: show.serving(V2) == everywhere(10) and not show.started(V3) and show.at_rest())
        play.observer.gauges.pop()
        assert min(lowest) >= 7, "a Deployment may lack a quarter of its pods, and no more"


async def test_scaled_undone_while_paused_aborted_and_without_its_rollout(
    tmp_path: Path, controllers: list[Controller], planes: list[ControlPlane]
) -> None:
    async with halted(tmp_path, planes) as show:
        play = show.play
        before = {member: show.kruise(member) for member in MEMBERS}
        await play.bus.request(subjects.SCALE, Scale(ref=deployment_ref(QWEN), replicas=20).encode(), timeout=10.0)
        await show.sees(lambda: (show.serving(V2), show.serving(V1)) == (everywhere(2), everywhere(18)))
        held = ("rollouts.kruise.io/in-progressing", "paused", "strategy", "template")
        for member in MEMBERS:
            assert {key: show.kruise(member)[key] for key in held} == {key: before[member][key] for key in held}

        await show.rollout("pause", NAME, "-m", "beijing")
        await show.says("rollout", "get", "-n", "demo", "-m", "beijing", shows="Progressing (paused)")
        await show.rollout("undo", NAME, "-m", "beijing")
        await show.says("rollout", "get", "-n", "demo", "-m", "beijing", shows="Healthy (paused)")
        await show.sees(lambda: show.serving(V1) == {**everywhere(18), "beijing": 20})

        await show.rollout("abort", NAME)
        await show.sees(lambda: show.serving(V1) == everywhere(20) and not show.started(V2) and show.at_rest())
        nothing = await show.rollout("approve", NAME, "-M", expect=1)
        assert nothing.err.count("nothing waits for an approval: it is Healthy") == 3, nothing.err

        await show.release(V3, replicas=20)
        await show.sees(lambda: reasons(show) == {"Paused"}, "V3 has not begun: all are paused")
        assert not show.started(V3)
        await show.rollout("resume", NAME)
        await all_at(show, "1 StepPaused")
        deleted = await show.brim("delete", "rollout", QWEN_ROLLOUT, "-n", "demo")
        assert deleted.status == 0, deleted.err
        await show.sees(lambda: show.serving(V3) == everywhere(20) and not show.started(V1) and not show.steps())
        assert all("rollouts.kruise.io/in-progressing" not in show.kruise(member) for member in MEMBERS)
