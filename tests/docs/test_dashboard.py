"""deploy/grafana/brim.json shows metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.metrics_page import exposed

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "brim.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
SHOWN: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])
def test_a_panel_shows_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["targets"], "it shows nothing"
    for target in panel["targets"]:
        series = re.findall(r"brim_\w+", target["expr"])
        assert series
        assert set(series) <= exposed().keys()
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in labels.split(", ")}
        assert grouped <= {label for name in series for label in exposed()[name].labels} | {"le"}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped
        assert target["datasource"]["uid"] == "${datasource}"


def test_it_loads_beside_others() -> None:
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    assert "id" not in DASHBOARD, "Grafana gives that itself"
    assert DASHBOARD["uid"]
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource"]
    spans = sorted((p["gridPos"]["y"], p["gridPos"]["x"], p["gridPos"]["w"]) for p in DASHBOARD["panels"])
    assert len({place[:2] for place in spans}) == len(spans), "two panels lie on one another"
    assert all(x + width <= 24 for _, x, width in spans)
