"""Numbers and chunks of capacity messages."""

from __future__ import annotations

from services.inventory.core.capacity import Capacity
from services.inventory.core.deltas import CHUNK, Ledger
from services.inventory.core.facts import NodeFacts, PodFacts
from shared.contracts.capacity import Delta, DisruptionBudget, Heartbeat, Pool, Snapshot, decode_capacity
from shared.contracts.selectors import LabelSelector

POOLS = (Pool(id="p", instance_type="t", allocatable={"cpu": 4000}, max=3, nodes=1),)


def _capacity(nodes: int, workloads: int = 0) -> Capacity:
    """The workloads' pods are on node-0, which is virtual where there are any."""
    capacity = Capacity()
    for number in range(nodes):
        labels = {"zone": f"zone-{number % 7}", "kubernetes.io/hostname": f"node-{number}"}
        if workloads and number == 0:
            labels["type"] = "virtual-kubelet"
        allocatable = {"cpu": 64_000, "memory": 256 * 2**30, "pods": 110, "nvidia.com/gpu": 8}
        capacity.put_node(NodeFacts(f"node-{number}", labels, allocatable=allocatable), now=0.0)
    for number in range(workloads):
        uid = f"{number:08x}-1234-4321-abcd-0123456789ab"
        capacity.put_pod(PodFacts("default", f"p-{number}", node="node-0", workload=uid, requests={"cpu": 1}))
    return capacity


def _snapshots(messages: list[bytes]) -> list[Snapshot]:
    found = [decode_capacity(message) for message in messages]
    assert all(isinstance(one, Snapshot) for one in found)
    return found  # type: ignore[return-value]


def test_a_small_member_is_one_chunk() -> None:
    (only,) = _snapshots(Ledger("idc", 3).snapshot(_capacity(2).whole(), POOLS, 5.0))
    assert (only.epoch, only.number, only.chunk, only.chunks, only.observed_at) == (3, 0, 0, 1, 5.0)
    assert only.nodes.names == ["node-0", "node-1"]
    assert only.pools == POOLS


def test_an_empty_member_is_one_chunk() -> None:
    (only,) = _snapshots(Ledger("idc", 1).snapshot(Capacity().whole(), (), 0.0))
    assert only.nodes.names == []


def test_a_large_member_is_cut_into_chunks_that_hold_all_of_it() -> None:
    whole = _capacity(nodes=12_000, workloads=12_000).whole()
    selector = LabelSelector(match_labels={"app.kubernetes.io/name": "web"})
    budgets = {f"default/{number}": DisruptionBudget(selector=selector, allowed=number) for number in range(9_000)}
    messages = Ledger("idc", 1).snapshot(whole, POOLS, 0.0, budgets=budgets)
    assert len(messages) > 3
    assert max(map(len, messages)) <= CHUNK
    chunks = _snapshots(messages)
    assert [one.chunk for one in chunks] == list(range(len(chunks)))
    assert {one.chunks for one in chunks} == {len(chunks)}
    assert [name for one in chunks for name in one.nodes.names] == [row.name for row in whole.rows]
    assert {uid: n for one in chunks for uid, n in one.bound.items()} == dict(whole.bound)
    assert {uid: n for one in chunks for uid, n in one.bound_virtual.items()} == dict(whole.bound)
    assert {name: budget for one in chunks for name, budget in one.budgets.items()} == budgets
    first_with_nodes = next(one.chunk for one in chunks if one.nodes.names)
    assert all(one.chunk <= first_with_nodes for one in chunks if one.classes or one.pools or one.bound or one.budgets)


def test_a_delta_tells_of_budgets_that_changed_and_of_those_that_are_no_more() -> None:
    changed = {"default/web": DisruptionBudget(allowed=1), "default/gone": None}
    data = Ledger("idc", 1).delta(_capacity(1).take(), None, 1.0, budgets=changed)
    assert data is not None
    delta = decode_capacity(data)
    assert isinstance(delta, Delta)
    assert delta.budgets == changed


def test_deltas_are_numbered_one_by_one_and_go_on_after_a_snapshot() -> None:
    ledger, capacity = Ledger("idc", 1), _capacity(1)
    ledger.snapshot(capacity.whole(), (), 0.0)
    numbers = []
    for number in range(3):
        capacity.put_pod(PodFacts("default", f"p{number}", node="node-0"))
        if number == 2:
            assert _snapshots(ledger.snapshot(capacity.whole(), (), 0.0))[0].number == 2
            capacity.put_pod(PodFacts("default", "last", node="node-0"))
        data = ledger.delta(capacity.take(), None, 1.0)
        assert data is not None
        delta = decode_capacity(data)
        assert isinstance(delta, Delta)
        numbers.append(delta.number)
    assert numbers == [1, 2, 3]
    assert ledger.since_snapshot == 1
    beat = decode_capacity(ledger.heartbeat(9.0, 8.0, lost=True, silent=True))
    assert beat == Heartbeat(member="idc", epoch=1, number=3, observed_at=9.0, reachable_at=8.0, lost=True, silent=True)


def test_too_much_for_a_delta_asks_for_a_snapshot_and_takes_no_number() -> None:
    ledger = Ledger("idc", 1)
    assert ledger.delta(_capacity(nodes=12_000).take(), None, 0.0) is None
    assert ledger.number == 0
