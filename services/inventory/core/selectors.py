"""Label selectors as kubectl takes them: `app=web,tier!=db,zone in (a,b),!legacy`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import Fault, Invalid

_SET = re.compile(r"(?P<key>[^\s=!,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(r"(?P<key>[^\s=!,()]+)\s*(?P<operator>==|=|!=)\s*(?P<values>[^\s=!,()]*)")
_THERE = re.compile(r"(?P<operator>!?)\s*(?P<key>[^\s=!,()]+)")
_COMMA = re.compile(r",(?![^()]*\))")


@dataclass(frozen=True, slots=True)
class Requirement:
    """values None: the key must be there (or, negated, must not). A missing key fits every negated one."""

    key: str
    values: frozenset[str] | None
    negated: bool = False

    def fits(self, labels: Mapping[str, str]) -> bool:
        found = self.key in labels if self.values is None else labels.get(self.key) in self.values
        return found is not self.negated


def parse(text: str) -> tuple[Requirement, ...]:
    """All must fit. Raises Invalid for what is no selector."""
    return tuple(_requirement(part.strip(), text) for part in _COMMA.split(text) if part.strip())


def _requirement(part: str, text: str) -> Requirement:
    if match := _SET.fullmatch(part):
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], values, match["operator"] == "notin")
    if match := _EQUAL.fullmatch(part):
        return Requirement(match["key"], frozenset({match["values"]}), match["operator"] == "!=")
    if match := _THERE.fullmatch(part):
        return Requirement(match["key"], None, match["operator"] == "!")
    raise Invalid([Fault("label selector", "selector", f"{part!r} in {text!r} is no requirement such as app=web")])
