"""deploy/grafana/brim.json shows metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import prometheus, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from tests.docs.metrics_page import exposed

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "brim.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PROVISIONING = FILE.parent / "provisioning"
SCHEMA = 36, 42  # versions of the form: Grafana 9 had the first, and brings older ones up to date
UNITS = {"short", "s", "ops"}  # of the ids of Grafana's value formats
WIDTH = 24
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
    assert "id" not in DASHBOARD, "Grafana gives that itself"
    assert DASHBOARD["uid"]
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource"]
    assert SCHEMA[0] <= DASHBOARD["schemaVersion"] <= SCHEMA[1]
    used = set(re.findall(r"\$\{?(\w+)", FILE.read_text(encoding="utf-8")))
    assert used == {"datasource", "__rate_interval"}, "a variable that nobody defines"


def test_grafanas_own_model_knows_every_field() -> None:
    """What it does not know is lost on the way through it."""
    register_default_plugins()
    read = Dashboard.from_json(DASHBOARD)
    assert _lost(DASHBOARD, json.loads(JSONEncoder().encode(read))) == []
    shown = [panel for panel in read.panels or [] if isinstance(panel, Panel)]
    assert len(shown) == len(SHOWN)
    for panel in shown:
        assert isinstance(panel.options, timeseries.Options), panel.title
        assert all(isinstance(target, prometheus.Dataquery) for target in panel.targets or []), panel.title


def _lost(given: Any, read: Any, path: str = "") -> list[str]:
    """The paths at which `read` lacks what was given, or has something else."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [one for key, value in given.items() for one in _lost(value, read.get(key), f"{path}.{key}")]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return [one for at, pair in enumerate(zip(given, read, strict=True)) for one in _lost(*pair, f"{path}[{at}]")]
    return [] if given == read else [path]


def test_its_panels_are_of_kinds_that_grafana_knows_and_can_be_told_apart() -> None:
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    assert {panel["type"] for panel in DASHBOARD["panels"]} == {"row", "timeseries"}
    titles = [panel["title"] for panel in SHOWN]
    assert len(set(titles)) == len(titles)
    for panel in SHOWN:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_a_panel_has_the_unit_of_what_it_shows() -> None:
    for panel in SHOWN:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            seconds = {exposed()[name].unit.endswith("seconds") for name in re.findall(r"brim_\w+", target["expr"])}
            assert seconds == {unit == "s"}, panel["title"]
            assert (unit == "ops") == bool(re.search(r"\brate\(", target["expr"])) or unit == "s", panel["title"]


def test_no_panel_lies_on_another_or_out_of_the_page() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_grafana_finds_prometheus_and_the_dashboard_by_itself() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (variable,) = DASHBOARD["templating"]["list"]
    assert source["type"] == variable["query"] == "prometheus"
    assert source["isDefault"], "the dashboard's variable takes the default one"
    scraped = yaml.safe_load((FILE.parents[1] / "prometheus" / "prometheus.yaml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]
    text = (PROVISIONING / "dashboards" / "brim.yaml").read_text()
    (provider,) = yaml.safe_load(text)["providers"]
    assert provider["type"] == "file"
    assert f"{provider['options']['path']}/{FILE.name}" in text, "it says where the dashboard is to be mounted"
