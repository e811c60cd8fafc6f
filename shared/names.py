"""Kubernetes' rules for names (RFC 1123), and the sentences that say which one was broken."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
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


def require_label(key: str, value: str) -> None:
    """A label as Kubernetes takes it: `name` or `domain/name`, and a value of at most 63 characters, or none.

    Raises ValueError.
    """
    domain, separator, name = key.rpartition("/")
    if len(name) > 63 or not _QUALIFIED.fullmatch(name):
        raise ValueError(
            f"{key!r} is no label: at most 63 letters, digits, '-', '_' and '.', after an optional domain/"
        )
    if separator:
        require_dns_subdomain(domain)
    if value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
        raise ValueError(f"{key} is {value!r}, which is no label's value: at most 63 letters, digits, '-', '_' and '.'")
