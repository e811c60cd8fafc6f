"""Message headers: JetStream's own, brim's, and CloudEvents' binary mode (ce-…).

Header values are text and case matters: `traceparent` stays lower-case, as W3C writes it.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from shared import errors
from shared.errors import BrimError, Fault, Invalid, Retryable

EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"
ROLLUP = "Nats-Rollup"
TTL = "Nats-TTL"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQUENCE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
STATUS = "Status"
DESCRIPTION = "Description"
PENDING_MESSAGES = "Nats-Pending-Messages"

REMOVED = "Brim-Removed"
ERROR = "Brim-Error"

_ids = itertools.count(1)
_process = secrets.token_hex(6)


def unique_id() -> str:
    """Unique among all processes, cheap: a random part per process and a counter."""
    return f"{_process}-{next(_ids):x}"


def cloud_event(source: str, event: str, *, identifier: str | None = None) -> dict[str, str]:
    """CloudEvents 1.0 metadata in NATS' binary mode. Times are wall-clock time."""
    return {
        "ce-specversion": "1.0",
        "ce-id": identifier or unique_id(),
        "ce-source": f"/brim/{source}",
        "ce-type": event,
        "ce-time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
    }


def error_reply(error: BrimError) -> tuple[bytes, dict[str, str]]:
    """What an endpoint answers where its handler raised: the code in a header, the rest as JSON."""
    body: dict[str, object] = {"class": type(error).__name__, "code": error.code, "message": str(error)}
    if isinstance(error, Invalid):
        body["faults"] = [
            {"object": f.object, "field": f.field, "message": f.message, "code": f.code} for f in error.faults
        ]
    if isinstance(error, Retryable) and error.retry_after is not None:
        body["retry_after"] = error.retry_after
    return json.dumps(body).encode(), {ERROR: error.code}


def error_from_reply(data: bytes, headers: Mapping[str, str]) -> BrimError:
    """The inverse of `error_reply`. A reply that cannot be read still yields an error, never a crash."""
    code = headers.get(ERROR, BrimError.code)
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return BrimError(f"the service answered with an error it did not explain ({code})", code=code)
    message = str(body.get("message", code))
    if body.get("class") == Invalid.__name__:
        return Invalid([_fault(entry) for entry in body.get("faults", ()) if isinstance(entry, dict)])
    kind = getattr(errors, str(body.get("class")), BrimError)
    if not (isinstance(kind, type) and issubclass(kind, BrimError)) or issubclass(kind, Invalid):
        kind = BrimError
    error = kind(message, code=code)
    after = body.get("retry_after")
    if isinstance(error, Retryable) and isinstance(after, int | float):
        error.retry_after = after
    return error


def _fault(entry: dict[str, object]) -> Fault:
    def text(key: str) -> str:
        return str(entry.get(key, ""))

    return Fault(text("object"), text("field"), text("message"), text("code") or Invalid.code)
