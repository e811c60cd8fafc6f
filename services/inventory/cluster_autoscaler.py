"""What cluster-autoscaler says of itself: ConfigMap kube-system/cluster-autoscaler-status, under `status`.

Until Kubernetes 1.29 it is text for people, since 1.30 YAML. Both name the node groups with their target, minimum and
maximum, and whether scaling up failed lately (backoff). Source of both forms: cluster-autoscaler's clusterstate.

It changes every few seconds and may tell of hundreds of groups, so that both are read line by line: a YAML reader takes
a second for that, or, where it is quick, ends the process for a text that is nested too deeply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared.numbers import whole

STATUS = "cluster-autoscaler-status"
TEXT = "Cluster-autoscaler status"  # how the text begins
HEALTHY = ("Healthy", "")

_NAME = re.compile(r"^\s*Name:\s+(\S+)\s*$")
_HEALTH = re.compile(r"^\s*Health:\s+(\w+)")
_SCALE_UP = re.compile(r"^\s*ScaleUp:\s+(\w+)")
_COUNTS = re.compile(r"cloudProviderTarget=(\d+)\s*\(minSize=(\d+), maxSize=(\d+)\)")

_LINE = re.compile(r"^(?P<indent> *(?:- +)*)(?P<key>[A-Za-z]+):(?:\s+(?P<value>.*?))?\s*$")


@dataclass(frozen=True, slots=True)
class Group:
    """A node group. target: nodes that it is to have, those on their way included. grows: whether more may be added."""

    name: str
    target: int
    minimum: int
    maximum: int
    grows: bool


def groups_of(text: str) -> list[Group]:
    """The node groups of either form. A cluster that is not healthy as a whole is not scaled up at all.

    What cannot be read tells of no group: a promise that nobody stands behind is none.
    """
    return list(_of_text(text) if text.lstrip().startswith(TEXT) else _of_yaml(text))


# -- for people ------------------------------------------------------------------------------------------------


def _of_text(text: str) -> Iterator[Group]:
    head, _, rest = text.partition("NodeGroups:")
    works = _first(_HEALTH, head) in HEALTHY
    lines = rest.splitlines()
    starts = [place for place, line in enumerate(lines) if _NAME.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        block = "\n".join(lines[start:end])
        counts = _COUNTS.search(block)
        if counts is None:
            continue
        target, minimum, maximum = (whole(number) or 0 for number in counts.groups())
        grows = works and _first(_HEALTH, block) in HEALTHY and _first(_SCALE_UP, block) != "Backoff"
        yield Group(_first(_NAME, block), target, minimum, maximum, grows)


def _first(pattern: re.Pattern[str], text: str) -> str:
    return next((match.group(1) for line in text.splitlines() if (match := pattern.match(line))), "")


# -- YAML, as Kubernetes' own writer lays it out: block style, one key a line ----------------------------------


def _of_yaml(text: str) -> Iterator[Group]:
    head, *items = _items(text, "nodeGroups")
    works = head.get("clusterWide.health.status", "") in HEALTHY
    for told in items:
        name, target = told.get("name", ""), whole(told.get("health.cloudProviderTarget", ""))
        minimum, maximum = whole(told.get("health.minSize", "0")), whole(told.get("health.maxSize", ""))
        if name and target is not None and minimum is not None and maximum is not None:
            healthy = told.get("health.status", "") in HEALTHY
            yield Group(name, target, minimum, maximum, works and healthy and told.get("scaleUp.status") != "Backoff")


def _items(text: str, listed: str) -> list[dict[str, str]]:
    """Scalars by their path: first those outside of the list, then those of each of its items."""
    found: list[dict[str, str]] = [{}]
    path: list[tuple[int, str]] = []
    items_at: int | None = None  # how far the list's own items are indented
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        indent, key, value = len(match["indent"]), match["key"], match["value"] or ""
        if items_at is not None and "-" not in match["indent"] and indent < items_at:
            items_at = None  # the list is over
        while path and path[-1][0] >= indent:
            path.pop()
        if not path and key == listed and items_at is None:
            items_at, path = indent + 1, [(indent, key)]
            continue
        if items_at is not None and "-" in match["indent"] and len(path) <= 1:
            items_at = indent
            path = [(indent - 1, listed)]
            found.append({})
        path.append((indent, key))
        names = [name for _, name in path]
        inside = names[:1] == [listed]
        if value:
            found[-1 if inside else 0][".".join(names[1:] if inside else names)] = value.strip("\"'")
    return found
