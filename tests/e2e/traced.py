"""Traces as trees: the same questions of spans in memory and of spans that a Jaeger gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

SLACK = 0.005  # seconds by which clocks that differ in their resolution may disagree


class Span(Protocol):
    """begin, end: Unix seconds. links: trace ids."""

    @property
    def service(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def parent_id(self) -> str: ...
    @property
    def begin(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def links(self) -> Sequence[str]: ...
    @property
    def attributes(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of one trace id."""

    spans: tuple[Span, ...]

    def __str__(self) -> str:
        by_id = {span.span_id: span for span in self.spans}
        return "\n".join(
            f"{span.begin:.3f} {span.service:<11} {span.name} <- "
            f"{by_id[span.parent_id].name if span.parent_id in by_id else span.parent_id or 'root'} {span.attributes}"
            for span in sorted(self.spans, key=lambda span: span.begin)
        )

    @property
    def services(self) -> set[str]:
        return {span.service for span in self.spans}

    @property
    def roots(self) -> list[Span]:
        return [span for span in self.spans if not span.parent_id]

    @property
    def orphans(self) -> list[str]:
        """Spans whose parent is not in the trace."""
        known = {span.span_id for span in self.spans}
        return [span.name for span in self.spans if span.parent_id and span.parent_id not in known]

    def ancestors(self, span: Span) -> Iterator[Span]:
        """From its parent up to the root."""
        by_id = {one.span_id: one for one in self.spans}
        while span.parent_id:
            span = by_id[span.parent_id]
            yield span

    def find(self, name: str, **attributes: object) -> list[Span]:
        """Spans with these attributes, `brim.` left out."""
        wanted = {f"brim.{key}": value for key, value in attributes.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= dict(_of(span)).items()]

    def has_path(self, *path: tuple[str, dict[str, object]]) -> bool:
        """Whether some span of the last step has, among its ancestors, one of each step before, in their order."""
        name, attributes = path[-1]
        return any(self._descends(span, list(path[:-1])) for span in self.find(name, **attributes))

    def _descends(self, span: Span, path: list[tuple[str, dict[str, object]]]) -> bool:
        for ancestor in self.ancestors(span):
            if path and ancestor in self.find(path[-1][0], **path[-1][1]):
                path.pop()
        return not path

    def implausible(self, begun: float, ended: float) -> list[str]:
        """Spans that end before they begin, begin before what caused them, or lie outside of the time of the test."""
        by_id = {span.span_id: span for span in self.spans}
        found = []
        for span in self.spans:
            parent = by_id.get(span.parent_id)
            if not begun - SLACK <= span.begin <= span.end <= ended + SLACK:
                found.append(f"{span.name}: {span.begin} to {span.end}")
            if parent is not None and span.begin < parent.begin - SLACK:
                found.append(f"{span.name} begins {parent.begin - span.begin:.3f} s before {parent.name}")
        return found


def _of(span: Span) -> dict[str, object]:
    assert isinstance(span.attributes, dict)
    return span.attributes
