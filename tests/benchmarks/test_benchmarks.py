"""The benchmarks' generators and arithmetic. Nothing is timed here."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path

import pytest

from benchmarks import generate
from benchmarks.decisions import QUICK
from benchmarks.generate import Size
from benchmarks.report import Figure, percentile, write
from benchmarks.scenarios import tiles
from services.inventory.core.deltas import Ledger
from shared.contracts.capacity import Snapshot, decode_capacity


def test_one_seed_is_one_fleet() -> None:
    size = Size(2, 50)
    assert generate.rows(size, "member-000", 1) == generate.rows(size, "member-000", 1)
    assert generate.rows(size, "member-000", 1) != generate.rows(size, "member-001", 1)
    assert generate.rows(size, "member-000", 1) != generate.rows(size, "member-000", 2)


def test_a_member_travels_as_inventory_sends_it() -> None:
    size = Size(1, 5_000)
    chunks = Ledger("member-000", 1).snapshot(generate.whole(size, "member-000", 1), (), time.time())
    assert max(map(len, chunks)) <= 512 * 1024
    read = [decode_capacity(chunk) for chunk in chunks]
    assert all(isinstance(part, Snapshot) for part in read)
    names = [name for part in read if isinstance(part, Snapshot) for name in part.nodes.names]
    assert len(set(names)) == size.nodes


def test_no_node_is_fuller_than_it_can_be() -> None:
    for row in generate.rows(Size(1, 500), "member-000", 3):
        assert all(0 <= row.free[name] <= amount for name, amount in row.allocatable.items())


def test_churn_names_nodes_that_exist_and_keeps_the_newest() -> None:
    size = Size(3, 20)
    known = {row.name for row in generate.rows(size, "member-000", 1)}
    changes = list(itertools.islice(generate.churn(size, 1), 500))
    assert {row.name for _, row in changes} <= known
    merged = generate.coalesced(changes)
    newest = {(member, row.name): row for member, row in changes}
    assert {(member, row.name): row for member, part in merged.items() for row in part.rows} == newest


@pytest.mark.parametrize("distinct", [False, True], ids=["50 shapes", "every shape distinct"])
def test_batches_are_ten_workloads_that_their_policy_selects(distinct: bool) -> None:
    choices = generate.shapes(205 if distinct else 50, 1)
    assert len(set(choices)) == len(choices)
    made = list(generate.batches(205, choices, "run-0", 1, distinct=distinct))
    assert [len(batch.workloads) for batch in made] == [10] * 20 + [5]
    requests = []
    for batch in made:
        document = json.loads(json.dumps([batch.policy, *batch.workloads]))
        selected = document[0]["spec"]["resourceSelectors"][0]["labelSelector"]["matchLabels"]
        for workload in document[1:]:
            assert selected.items() <= workload["metadata"]["labels"].items()
            assert 1 <= workload["spec"]["replicas"] <= 50
            pod = workload["spec"]["template"]["spec"]
            requests.append(json.dumps([pod["containers"][0]["resources"], pod.get("nodeSelector")]))
    assert len(set(requests)) == (205 if distinct else len(set(requests)))
    assert len(set(requests)) <= len(choices)


@pytest.mark.parametrize("total", [1, 50, 96, 1600])
def test_tiles_ask_for_exactly_the_whole_fleet(total: int) -> None:
    counts = [
        workload["spec"]["replicas"]
        for batch in tiles(total, random.Random(1))
        for workload in json.loads(json.dumps(batch.workloads))
    ]
    assert sum(counts) == total
    assert all(1 <= count <= 50 for count in counts)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (0.9, 90), (1.0, 100), (0.001, 1)], ids=lambda value: str(value)
)
def test_percentiles_are_values_that_were_measured(share: float, expected: float) -> None:
    values = [float(number) for number in range(1, 101)]
    random.Random(1).shuffle(values)
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    ("values", "bar", "at_least", "met", "ratio"),
    [
        ((2.0, 4.0, 9.0), 8.0, False, True, 2.0),
        ((16.0,), 8.0, False, False, 0.5),
        ((1500.0,), 1000.0, True, True, 1.5),
        ((500.0,), 1000.0, True, False, 0.5),
        ((0.0,), 0.0, False, True, None),
        ((3.0,), 0.0, False, False, None),
    ],
)
def test_a_figure_knows_its_bar(
    values: tuple[float, ...], bar: float, at_least: bool, met: bool, ratio: float | None
) -> None:
    figure = Figure("row", "name", "ms", values, bar, at_least=at_least)
    assert (figure.met, figure.ratio) == (met, ratio)


def test_the_results_name_the_machine(tmp_path: Path) -> None:
    write(tmp_path / "out" / "results.json", [Figure("row", "P50", "ms", (1.0,), 4.0)], {"stuck": "why"}, {})
    document = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert {"date", "cpu", "cores", "memoryGiB", "python", "natsServer"} <= document["machine"].keys()
    assert document["figures"][0]["ratio"] == 4.0
    assert document["notMeasured"] == {"stuck": "why"}


def test_quick_is_small() -> None:
    assert QUICK.size.members * QUICK.size.nodes <= 5_000
    assert QUICK.repetitions == 1
