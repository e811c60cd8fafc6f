"""Cost, ceilings, units and revisions, as people see and steer them."""

from __future__ import annotations

import json
from pathlib import Path

from cli.up import example
from tests.cli.test_commands import files, until
from tests.e2e.command_line import CommandLine
from tests.e2e.harness import playing


async def test_what_a_burst_costs_and_how_it_is_bounded(tmp_path: Path) -> None:
    async with playing(tmp_path, "burst.yaml") as play:
        brim = CommandLine.of(play)
        assert (await brim("apply", *files(tmp_path, "nginx-burst.yaml"))).status == 0
        assert (await brim("scale", "nginx", "--replicas", "4", "--wait")).status == 0

        cost = await until(brim, "get", "cost", shows="eci")
        assert cost.lines[0].split() == ["NAME", "CLUSTER", "UNIT", "PODS", "PER-HOUR", "POD-HOURS", "SO-FAR"]
        (row,) = [row for row in cost.rows if row[2] == "eci"]
        assert row[:2] == ["deployment/nginx", "idc"]
        assert float(row[4]) > 0

        page = await until(brim, "explain", "nginx", shows="eci")
        units = {tuple(line.split()) for line in page.lines if line.startswith("idc ") and len(line.split()) == 3}
        assert units == {("idc", "idc", "2"), ("idc", "eci", "2")}
        assert "per hour" in page.out

        bounded = await brim("ceiling", "deploy/nginx", "--per-hour", "0.25")
        assert bounded.lines == ["deployment/nginx configured"]
        await brim("scale", "nginx", "--replicas", "6")
        pending = await until(brim, "explain", "nginx", shows="CostCeiling")
        assert "2 pending" in pending.out
        await brim("ceiling", "deploy/nginx", "--none")
        assert (await brim("scale", "nginx", "--replicas", "5", "--wait")).status == 0
        assert (await brim("ceiling", "deploy/nginx")).status == 2


async def test_revisions_are_listed_undone_in_one_member_and_restarted(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        (tmp_path / "web.yaml").write_text(example("web-demo.yaml"), encoding="utf-8")
        assert (await brim("apply", "-f", str(tmp_path / "web.yaml"), "--wait")).status == 0
        refused = await brim("rollout", "undo", "web-demo")
        assert refused.status == 1
        assert "there is no older revision" in refused.err

        newer = example("web-demo.yaml").replace("image: ", "image: new-")
        (tmp_path / "web.yaml").write_text(newer, encoding="utf-8")
        assert (await brim("apply", "-f", str(tmp_path / "web.yaml"), "--wait")).status == 0
        history = await brim("rollout", "history", "web-demo")
        assert [row[0] for row in history.rows] == ["2", "1"]

        undone = await brim("rollout", "undo", "web-demo", "-m", "ack")
        assert undone.lines == ["cluster(ack): deployment/web-demo undone to revision 1"]
        status = await until(brim, "rollout", "status", "web-demo", shows="held back")
        assert {row[0]: row[1] for row in status.rows[1:]} == {"idc": "2", "ack": "1"}
        refused = await brim("rollout", "restart", "web-demo")
        assert refused.status == 1
        assert "ack was taken back to revision 1 and would go forward to revision 2 again" in refused.err
        assert (await brim("rollout", "restart", "web-demo", "-m", "idc")).lines == [
            "cluster(idc): deployment/web-demo restarted"
        ]
        found = json.loads((await brim("get", "deploy", "web-demo", "-o", "json")).out)
        annotations = found["spec"]["template"]["metadata"]["annotations"]
        assert "kubectl.kubernetes.io/restartedAt" in annotations

        wrong = await brim("rollout", "pause", "deploy/web-demo")
        assert (wrong.status, "name its Rollout" in wrong.err) == (1, True)
        assert (await brim("rollout", "get")).status == 1
        assert (await brim("rollout", "undo", "web-demo", "-m", "moon")).status == 1
