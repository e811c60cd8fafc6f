"""Kubernetes' rules for names (RFC 1123), and the sentences that say which one was broken."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def require_dns_label(name: str) -> None:
    """At most 63 of a-z, 0-9 and '-', starting and ending alphanumeric. Raises ValueError."""
    if len(name) > 63 or not _LABEL.fullmatch(name):
        raise ValueError(
            f"{name!r} is no DNS label: at most 63 lower-case letters, digits and '-', "
            "starting and ending with a letter or digit"
        )


def require_dns_subdomain(name: str) -> None:
    """At most 253 characters, dot-separated DNS labels. Raises ValueError."""
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise ValueError(
            f"{name!r} is no DNS name: at most 253 lower-case letters, digits, '-' and '.', "
            "starting and ending with a letter or digit"
        )
