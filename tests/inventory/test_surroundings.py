"""What is told beside the nodes: namespaces' labels, ECI's profiles, stock and prices; bad input changes nothing."""

from __future__ import annotations

import json

import pytest

from services.inventory.core.facts import NodeFacts
from services.inventory.projections import ConfigMap
from services.inventory.surroundings import ROOM, SurroundingsCache, profiles_of, supplies_of
from shared.contracts.capacity import EciProfile
from shared.contracts.selectors import LabelSelector
from shared.errors import Invalid
from shared.fleet import Stock, VirtualPrices
from shared.kube import KubeObject, Metadata

PROFILE, STOCK = ("kube-system", "eci-profile"), ("kube-system", "eci-inventory-status")


class Around:
    """A SurroundingsCache, with what it called back."""

    def __init__(self, *nodes: NodeFacts, stock: Stock | None = None) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.changes = 0
        self.malformed: list[str] = []
        self.cache = SurroundingsCache("idc", stock or Stock(), self.nodes, self._changed, self.malformed.append)

    def _changed(self) -> None:
        self.changes += 1

    def namespace(self, name: str, **labels: str) -> None:
        labels = {"kubernetes.io/metadata.name": name, **{k.replace("_", "/"): v for k, v in labels.items()}}
        self.cache.namespaces.put(KubeObject(metadata=Metadata(name=name, labels=labels)))

    def tell(self, key: tuple[str, str], **data: object) -> None:
        text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in data.items()}
        self.cache.config_map_changed(key, ConfigMap(metadata=Metadata(name=key[1]), data=text))


def selectors(*more: dict[str, object]) -> list[dict[str, object]]:
    return [
        {
            "name": "web",
            "namespaceSelector": {"matchLabels": {"team": "a"}},
            "objectSelector": {"matchLabels": {"app": "web"}},
            "effect": {"annotations": {"k8s.aliyun.com/eci-use-specs": "2-4Gi"}, "labels": {"x": "y"}},
        },
        *more,
    ]


def test_namespaces_are_told_by_their_own_labels_only() -> None:
    around = Around()
    around.namespace("plain")
    assert (around.changes, around.cache.value.namespaces) == (0, {})
    around.namespace("burst", alibabacloud_eci="true")
    assert around.cache.value.namespaces == {"burst": {"alibabacloud/eci": "true"}}
    assert around.cache.value.labels_of("plain") == {"kubernetes.io/metadata.name": "plain"}
    around.namespace("burst")
    assert (around.changes, around.cache.value.namespaces) == (2, {})
    around.cache.namespaces.drop(("", "burst"))
    assert around.changes == 2


def test_labels_beyond_a_messages_room_are_told_where_they_speak_of_eci(caplog: pytest.LogCaptureFixture) -> None:
    around = Around()
    wide = {f"label{number}": "v" * 60 for number in range(40)}
    for number in range(ROOM // 2000):
        around.namespace(f"n-{number}", **wide)
    around.cache.namespaces.put(KubeObject(metadata=Metadata(name="b", labels={"alibabacloud.com/eci": "true"})))
    assert around.cache.value.namespaces == {"b": {"alibabacloud.com/eci": "true"}}
    assert len(caplog.records) == 1
    around.cache.touch()
    assert around.cache.value.namespaces
    assert len(caplog.records) == 1, "said once"


def test_profiles_as_ack_writes_them() -> None:
    only_objects = {"name": "o", "objectSelector": {"matchLabels": {"a": "b"}}, "policy": {"fair": {}}}
    assert profiles_of({"selectors": json.dumps(selectors(only_objects)), "vpcId": "vpc-1"}) == (
        EciProfile(
            name="web",
            namespace_selector=LabelSelector(match_labels={"team": "a"}),
            object_selector=LabelSelector(match_labels={"app": "web"}),
            labels={"x": "y"},
            annotations={"k8s.aliyun.com/eci-use-specs": "2-4Gi"},
        ),
        EciProfile(name="o", object_selector=LabelSelector(match_labels={"a": "b"})),
    )
    assert profiles_of({}) == ()


def test_a_profile_may_select_by_expressions() -> None:
    listed = [{"key": "a", "operator": "In", "values": ["b", "c"]}, {"key": "d", "operator": "DoesNotExist"}]
    (found,) = profiles_of({"selectors": json.dumps([{"name": "x", "objectSelector": {"matchExpressions": listed}}])})
    assert found.object_selector is not None
    assert [(one.key, one.operator, one.values) for one in found.object_selector.match_expressions] == [
        ("a", "In", ("b", "c")),
        ("d", "DoesNotExist", ()),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{", "data.selectors", id="no JSON"),
        pytest.param('{"name": "a"}', "data.selectors", id="no list"),
        pytest.param('[{"objectSelector": {}}]', r"selectors\[0\].name", id="no name"),
        pytest.param('[{"name": "a"}]', "give namespaceSelector", id="selects nothing"),
        pytest.param(
            '[{"name": "a", "objectSelector": {"matchExpressions": [{"key": "a"}]}}]',
            r"matchExpressions\[0\].operator",
            id="no operator",
        ),
        pytest.param(
            '[{"name": "a", "objectSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]',
            "operator In needs values",
            id="no values",
        ),
        pytest.param(
            '[{"name": "a", "objectSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]',
            r"matchExpressions\[0\].operator",
            id="an operator that label selectors do not have",
        ),
        pytest.param('[{"name": "a", "objectSelector": {"matchLabels": {"a": 1}}}]', "matchLabels.a", id="no text"),
    ],
)
def test_a_profile_that_cannot_be_read_is_named(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        profiles_of({"selectors": text})
    assert "kube-system/eci-profile" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"SupplySeqs": [{"State": "WithStock"}]}',
        '{"SupplySeqs": [{"Size": "2-4Gi", "State": "Plenty"}]}',
        '{"SupplySeqs": [{"Size": "2-4Gi", "State": "WithStock", "Stock": -1}]}',
    ],
)
def test_stock_that_cannot_be_read_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(Invalid, match=r"data\.status"):
        supplies_of({"status": text})


VIRTUAL = NodeFacts("virtual-kubelet-cn-a", labels={"type": "virtual-kubelet", "topology.kubernetes.io/zone": "cn-a"})
NAMELESS = NodeFacts("virtual-kubelet-cn-b", labels={"type": "virtual-kubelet"})


def test_stock_and_prices_are_told_per_virtual_node() -> None:
    around = Around(VIRTUAL, NAMELESS, stock=Stock(virtual=(VirtualPrices(vcpu=0.5, types={"ecs.c6.large": 2}),)))
    supplies = [
        {"Size": "2-4", "Zone": "cn-a", "State": "WithStock", "Stock": 3},
        {"Size": "4-8Gi", "Zone": "", "State": "WithoutStock", "Stock": 9},
        {"InstanceType": "ecs.c6.large", "Zone": "cn-b", "State": "ClosedWithStock"},
        {"InstanceType": "ecs.own", "Zone": "cn-b", "State": "WithoutStock"},
    ]
    around.tell(STOCK, status={"SupplySeqs": supplies})
    first, second = around.cache.value.virtual
    assert (first.node, first.stock) == ("virtual-kubelet-cn-a", {"2-4Gi": 3, "4-8Gi": 0})
    assert (second.node, second.stock) == ("virtual-kubelet-cn-b", {"4-8Gi": 0, "ecs.own": 0})
    assert (first.vcpu, first.types) == (0.5, {"ecs.c6.large": 2})


def test_what_cannot_be_read_changes_nothing_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    around = Around(VIRTUAL)
    around.tell(PROFILE, selectors=selectors())
    around.tell(STOCK, status={"SupplySeqs": [{"Size": "2-4Gi", "State": "WithoutStock"}]})
    before = around.cache.value
    assert before.profiles
    assert before.virtual[0].stock
    around.tell(PROFILE, selectors="[{]")
    around.tell(STOCK, status="nonsense")
    assert around.cache.value is before
    assert around.malformed == ["eci-profile", "eci-inventory-status"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "what was known before still holds" in caplog.text
    around.tell(STOCK, status={"SupplySeqs": []})
    assert around.cache.value.virtual[0].stock == {}


def test_a_config_map_that_is_gone_says_nothing_any_more() -> None:
    around = Around(VIRTUAL)
    around.tell(PROFILE, selectors=selectors())
    around.cache.config_map_changed(PROFILE, None)
    assert around.cache.value.profiles == ()
    around.tell(("kube-system", "another"), selectors="[{]")
    assert around.malformed == []
