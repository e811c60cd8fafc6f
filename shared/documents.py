"""Text → documents: YAML of many documents, a JSON object, a List, or an array, as people send manifests.

YAML is read as Kubernetes reads it: keys become strings, dates stay text, there are no base-60 numbers, and a key
that is given twice is a fault.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from pydantic import JsonValue

from shared.errors import Fault

MAX_DEPTH = 100
MAX_NODES = 1_000_000  # values in one submission, aliases unfolded
SURELY_SAFE = 1000  # levels that libyaml reads on any stack
LEAST, MOST = -(2**63), 2**64 - 1  # whole numbers that Kubernetes' own decoders take

_BASE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is there in every wheel, but need not be
_INT = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


_INDICATOR = re.compile(r"[-?:](?=\s|$)")
_BRACKET = re.compile(r"[\[\]{}]")


@dataclass(frozen=True, slots=True)
class Document:
    """One object as it was sent. place: "document 2" or "document 2, item 5", counted from 1."""

    place: str
    manifest: dict[str, JsonValue]


@dataclass(slots=True)
class _Budget:
    nodes: int = MAX_NODES


class _NotJson(ValueError):
    """A value that JSON, and so Kubernetes, cannot hold."""


def read(data: bytes) -> tuple[list[Document], list[Fault]]:
    """All documents of a text, or what is wrong with it. Empty documents (between two ---) do not count."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [], [Fault("the message", "", f"it is not UTF-8 text (byte {error.start})", "Malformed")]
    plain = _plain_json(text)
    values, fault = (plain, None) if plain is not None else parse(text)
    if fault is not None:
        return [], [fault]
    documents: list[Document] = []
    faults: list[Fault] = []
    budget = _Budget() if plain is None else None
    for number, value in enumerate((v for v in values if v is not None), start=1):
        for place, item in _items(f"document {number}", value):
            _take(place, item, budget, documents, faults)
    if not documents and not faults:
        faults.append(Fault("the message", "", "it holds no document; send at least one manifest", "Malformed"))
    return documents, faults


def _take(place: str, item: object, budget: _Budget | None, documents: list[Document], faults: list[Fault]) -> None:
    """budget: None for what is known to be JSON values as they are to be."""
    if not isinstance(item, dict):
        faults.append(Fault(place, "", f"it is {_what(item)}, not an object with apiVersion and kind", "Malformed"))
        return
    if budget is None:
        documents.append(Document(place, item))
        return
    try:
        documents.append(Document(place, {_key(k): _json(v, 1, budget) for k, v in item.items() if v is not None}))
    except _NotJson as error:
        faults.append(Fault(place, "", str(error), "Malformed"))


def _items(place: str, value: object) -> Iterator[tuple[str, object]]:
    """The members of an array or a List, one by one; anything else by itself."""
    if isinstance(value, dict) and isinstance(items := value.get("items"), list):
        kind = value.get("kind")
        value = items if isinstance(kind, str) and kind.endswith("List") else value
    if not isinstance(value, list):
        yield place, value
        return
    for number, item in enumerate(value, start=1):
        yield f"{place}, item {number}", item


# -- parsing -------------------------------------------------------------------------------------------------


def _plain_json(text: str) -> list[object] | None:
    """JSON in which no value needs a second look, as most is that programs send: looking is not cheap. None for
    anything else, whatever it is."""
    if text[:1] not in ("{", "[") or "\\u" in text or "null" in text or text.count("{") + text.count("[") > MAX_DEPTH:
        return None
    try:
        return [_PLAIN.decode(text)]
    except (ValueError, RecursionError):
        return None


def _small_whole(text: str) -> int:
    if len(text) > 18:
        raise _NotJson
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise _NotJson
    return found


def parse(text: str) -> tuple[list[object], Fault | None]:
    """The values of all documents, or what is wrong with the text."""
    wrong: Fault | None = None
    if text.lstrip()[:1] in ("{", "["):
        try:
            return [_JSON.decode(text)], None
        except json.JSONDecodeError as error:
            wrong = Fault("the message", f"line {error.lineno}", f"malformed JSON: {error.msg}", "Malformed")
        except RecursionError:
            return [], Fault("the message", "", "it is nested too deeply", "Malformed")
        except _NotJson as error:
            return [], Fault("the message", "", str(error), "Malformed")
        except ValueError:  # Python reads no more digits than some thousands
            return [], Fault("the message", "", "it holds a number that is too long", "Malformed")
    if _is_too_deep(text):
        return [], Fault("the message", "", "it is nested too deeply", "Malformed")
    try:
        # What looks like JSON may be YAML in flow form: only if both fail it is malformed.
        return list(yaml.load_all(text, Loader=_Loader)), None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {min(mark.line + 1, len(text.splitlines()))}" if mark else ""  # the end is no line of its own
        return [], wrong or Fault("the message", line, f"malformed YAML: {error.problem or error.context}", "Malformed")
    except yaml.YAMLError as error:  # of the reader: characters that YAML does not allow
        return [], wrong or Fault("the message", "", f"malformed YAML: {' '.join(str(error).split())}", "Malformed")
    except RecursionError:
        return [], Fault("the message", "", "it is nested too deeply", "Malformed")
    except (ValueError, OverflowError):
        looks = "it holds a number that is too long, or a text that looks like one: quote it"
        return [], wrong or Fault("the message", "", looks, "Malformed")


def _is_too_deep(text: str) -> bool:
    """libyaml builds nested values by recursion without a limit: what is nested too deeply ends the whole process.

    Its events come one by one, at any depth; they are asked only where a glance at brackets, and at the indentation
    and the indicators of each line, does not rule it out.
    """
    opened = deepest = 0
    for match in _BRACKET.finditer(text):
        opened = opened + 1 if match.group() in "[{" else max(0, opened - 1)
        deepest = max(deepest, opened)
    left = SURELY_SAFE - deepest
    if all(len(line) < left or _levels(line) < left for line in text.split("\n")):
        return False
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_BASE):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > SURELY_SAFE:
                    return True
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return False  # the reader gets no further than this, and says what is wrong
    return False


def _levels(line: str) -> int:
    """At least as many as the line can add or continue."""
    return len(line) - len(line.lstrip(" ")) + len(_INDICATOR.findall(line))


def _refuse_constant(name: str) -> object:
    raise _NotJson(f"{name} is no JSON value")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotJson(f"key {twice!r} is given twice")
    return found


_JSON = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)
_PLAIN = json.JSONDecoder(
    parse_int=_small_whole, parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_object
)


class _Loader(_BASE):  # type: ignore[misc, valid-type]
    """The safe loader with Kubernetes' idea of scalars."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in _BASE.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[object, object]]:
    """As the safe loader's, but a key given twice is a fault and not an overwriting."""
    result: dict[object, object] = {}
    yield result
    keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    given = [key.value for key in keys]
    if len(set(given)) != len(given):
        twice = next(key for place, key in enumerate(keys) if key.value in given[:place])
        raise yaml.constructor.ConstructorError(None, None, f"key {twice.value!r} is given twice", twice.start_mark)
    result.update(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


# -- JSON values ---------------------------------------------------------------------------------------------


def _json(value: object, depth: int, budget: _Budget) -> JsonValue:
    """The value as JSON. Null fields go: to Kubernetes they are absent ones. Raises _NotJson."""
    budget.nodes -= 1
    if budget.nodes < 0 or depth > MAX_DEPTH:
        raise _NotJson(f"it is nested deeper than {MAX_DEPTH} levels, or its aliases unfold without end")
    if isinstance(value, dict):
        return {_key(key): _json(below, depth + 1, budget) for key, below in value.items() if below is not None}
    if isinstance(value, list):
        return [_json(item, depth + 1, budget) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotJson(f"{value} is no JSON value")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _whole(value)
    if value is None or isinstance(value, float):
        return value
    raise _NotJson(f"a value of type {type(value).__name__} is no JSON value")


def _whole(value: int) -> int:
    if not LEAST <= value <= MOST:
        raise _NotJson("a number is beyond 64 bits, more than Kubernetes can hold")
    return value


def _text(value: str) -> str:
    """JSON's escapes can spell half of a surrogate pair, which is no character and has no bytes."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _NotJson("a text holds half of a surrogate pair, which is no character") from None
    return value


def _key(key: object) -> str:
    if isinstance(key, str):
        return _text(key)
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(_whole(key))
    if isinstance(key, float):
        return str(key)
    raise _NotJson(f"{key!r} cannot be a field's name")


def _what(value: object) -> str:
    if isinstance(value, str):
        return "a text"
    if isinstance(value, int) and not LEAST <= value <= MOST:
        return "a number"  # Python would refuse to print it
    return "a list" if isinstance(value, list) else f"the value {value!r}"[:80]
