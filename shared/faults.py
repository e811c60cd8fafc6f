"""pydantic's complaints as faults: a field's path as Kubernetes writes it, and a sentence that says what to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from shared.errors import Fault

# By pydantic's type of error. {…} is what its context holds.
_SENTENCES: Final[Mapping[str, str]] = {
    "extra_forbidden": "this field is not known here; remove it or check its spelling",
    "missing": "this field is required",
    "literal_error": "give {expected}",
    "enum": "give {expected}",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "finite_number": "give a finite number",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "string_type": "give a text",
    "dict_type": "give an object",
    "model_type": "give an object",
    "model_attributes_type": "give an object",
    "tuple_type": "give a list",
    "list_type": "give a list",
    "too_short": "give at least {min_length}",
    "too_long": "give at most {max_length}",
    "greater_than": "give more than {gt}",
    "greater_than_equal": "give {ge} or more",
    "less_than": "give less than {lt}",
    "less_than_equal": "give {le} or less",
    "string_too_short": "give at least {min_length} characters",
    "string_too_long": "give at most {max_length} characters",
    "string_pattern_mismatch": "give a text of the form {pattern}",
    "json_invalid": "this is no JSON: {error}",
}


def faults_of(error: ValidationError, subject: str, prefix: str = "") -> list[Fault]:
    """Faults about the object `subject`. prefix: the field in which the validated part stands."""
    return [
        Fault(subject, field_path((prefix, *entry["loc"]) if prefix else entry["loc"]), _sentence(entry))
        for entry in error.errors(include_url=False, include_input=False)
    ]


def field_path(location: tuple[int | str, ...]) -> str:
    """("spec", "units", 0, "max") → "spec.units[0].max"."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _sentence(entry: Mapping[str, Any]) -> str:
    known = _SENTENCES.get(entry["type"])
    if known is None:
        return str(entry["msg"]).removeprefix("Value error, ")
    return known.format_map(entry.get("ctx") or {})
