"""What NATS refuses a user, in words: who is not let in, and who may not publish or subscribe where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from shared.bus.streams import template_of
from shared.settings import BusSettings

_VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE)
_NOT_LET_IN = ("authorization violation", "authorization failed")
_INBOX = "_inbox"


@dataclass(frozen=True, slots=True)
class Violation:
    """subject: in small letters, as nats-py hands it on."""

    verb: Literal["publish", "subscribe"]
    subject: str

    @property
    def about(self) -> tuple[str, str]:
        """The same for all that is refused for one reason: its values are few."""
        return self.verb, _INBOX if self.subject.startswith(_INBOX) else template_of(self.subject)


def violation_of(words: str) -> Violation | None:
    """What the server's words say is not permitted, if that is what they say."""
    found = _VIOLATION.search(words)
    if found is None:
        return None
    return Violation("publish" if found[1].lower() == "publish" else "subscribe", found[2].lower())


def is_not_let_in(words: str) -> bool:
    return any(phrase in words.lower() for phrase in _NOT_LET_IN)


def not_let_in(settings: BusSettings) -> str:
    if not (settings.user_name or settings.token.get_secret_value() or settings.credentials):
        return f"NATS at {settings.shown} lets nobody in without a name: set BRIM_BUS__USER and BRIM_BUS__PASSWORD"
    return f"NATS at {settings.shown} does not let {_who(settings)} in: check {_variables(settings)}"


def not_permitted(settings: BusSettings, verb: str, subject: str) -> str:
    """subject: as it was sent."""
    to = "publish on" if verb == "publish" else "subscribe to"
    remedy = f"connect as a user who may ({_variables(settings)}), or give the right there (docs/nats.md)"
    if subject.startswith("_INBOX"):
        remedy = f"set BRIM_BUS__INBOX_PREFIX to what it may hear, or {remedy}"
    return f"NATS at {settings.shown} does not let {_who(settings)} {to} {subject}: {remedy}"


def _who(settings: BusSettings) -> str:
    if settings.user_name:
        return f"user {settings.user_name!r}"
    return f"the user of {settings.credentials}" if settings.credentials else "this user"


def _variables(settings: BusSettings) -> str:
    if settings.credentials:
        return "BRIM_BUS__CREDENTIALS"
    return "BRIM_BUS__TOKEN" if settings.token.get_secret_value() else "BRIM_BUS__USER and BRIM_BUS__PASSWORD"
