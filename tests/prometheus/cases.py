"""When alerts fire, as alerts.yaml beside this tells, and as promtool wants to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"


@dataclass(frozen=True, slots=True)
class Case:
    alert: str
    when: str
    series: dict[str, str]
    silent: list[str]
    fires: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.alert}: {self.when}"


def cases() -> list[Case]:
    text = Path(__file__).with_name("alerts.yaml").read_text("utf-8")
    return [Case(**entry) for entry in yaml.load(text, yaml.BaseLoader)]  # where 0x20 is no number


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def unit_test(case: Case) -> dict[str, Any]:
    """A file for `promtool test rules`."""
    rule = alerts()[case.alert]
    times = dict.fromkeys([*case.silent, *(entry["at"] for entry in case.fires)])
    expected = {at: [_firing(rule, entry) for entry in case.fires if entry["at"] == at] for at in times}
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [
                    {"eval_time": at, "alertname": case.alert, "exp_alerts": firing} for at, firing in expected.items()
                ],
            }
        ],
    }


def _firing(rule: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "exp_labels": {**rule["labels"], **entry["labels"]},
        "exp_annotations": {**rule["annotations"], "summary": entry["summary"]},
    }
