"""Members join, change and leave by message, while everything runs: nobody is restarted for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import yaml

from shared.errors import BusUnavailable
from tests.cli.test_commands import until
from tests.e2e.command_line import CommandLine
from tests.e2e.harness import WAIT, Play, playing, reference, web

WEB = reference("web")


def fleet(play: Play, folder: Path, *, context: str) -> str:
    """A fleet file whose one member is ack, reached by a context of the simulator's kubeconfig."""
    member = {
        "id": "ack",
        "alias": "cluster-bj-demo",
        "kubeconfig": {"context": context, "path": str(play.stage.brim.kubeconfig)},
        "stock": {"source": "nodepool-inventory"},
    }
    file = folder / "fleet.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "brim.dev/v1alpha1", "kind": "Fleet", "members": [member]}))
    return str(file)


async def has_room_in(play: Play, member: str) -> None:
    """Wait until the scheduler would use a member."""
    with anyio.fail_after(WAIT):
        while True:
            with suppress(BusUnavailable):
                if member in await play.would_place(WEB, 12):
                    return
            await anyio.sleep(0.05)


async def test_a_member_leaves_joins_with_a_fault_and_is_mended(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        await play.submit(*web("web"))
        await play.eventually(lambda: play.ready("default", "web") == 4 and play.held("default", "web", "ack") > 0)
        kept = play.held("default", "web", "ack")

        left = await brim("delete", "cluster", "ack")
        assert (left.status, left.lines) == (0, ["cluster/ack deleted"])
        assert "nothing is drained: its copies of 1 object stay as they are" in left.err
        assert "`brim drain ack` first" in left.err
        await play.eventually(lambda: play.ready("default", "web", "idc") == 4)
        assert play.held("default", "web", "ack") == kept, "nobody writes to what is no member"
        again = await brim("delete", "cluster", "ack")
        assert (again.status, "not found" in again.err) == (1, True)

        joined = await brim("apply", "-f", fleet(play, tmp_path, context="nobody"))
        assert joined.lines == ["cluster/ack created"]
        assert "Not in this fleet file, but known from before: idc." in joined.err
        await until(brim, "get", "clusters", shows="Unreachable")
        await play.scale(WEB, 6)
        await play.eventually(lambda: play.ready("default", "web", "idc") == 6)  # idc is none the worse for it

        await play.stage.brim.stop("inventory")
        await play.stage.brim.stop("executor")
        mended = await brim("apply", "-f", fleet(play, tmp_path, context="ack"))
        assert mended.lines == ["cluster/ack configured"]
        assert (await brim("apply", "-f", fleet(play, tmp_path, context="ack"))).lines == ["cluster/ack unchanged"]
        play.stage.brim.start("inventory")  # what they missed they find
        play.stage.brim.start("executor")
        await has_room_in(play, "ack")
        await play.scale(WEB, 12)
        await play.eventually(lambda: sum(play.asked(WEB).values()) == 12 and play.asked(WEB).get("ack", 0) > 0)
        await play.eventually(lambda: play.ready("default", "web") == 12)


async def test_what_a_person_may_overlook_is_said(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        twin = yaml.safe_load(Path(fleet(play, tmp_path, context="ack")).read_text())
        twin["members"][0] |= {"id": "twin", "stock": {"source": "karpenter"}}
        answer = await brim("apply", "-f", "-", given=yaml.safe_dump(twin))
        assert answer.status == 0
        assert "it is reached just as ack is: the room of one cluster would count twice" in answer.err
        assert "ack is called cluster-bj-demo too: commands will need the id" in answer.err
        assert "stock from karpenter promises nothing without `pools`" in answer.err
        twin["members"][0]["kubeconfig"] = {"context": "ack", "token": "hunter2"}
        refused = await brim("apply", "-f", "-", given=yaml.safe_dump(twin))
        assert refused.status == 1
        assert "members[0].kubeconfig.token" in refused.err
        assert "hunter2" not in refused.err
