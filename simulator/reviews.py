"""Who am I, and what may I do: everything, as whoever holds the kubeconfig is the member's administrator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.objects import Object

_EVERYTHING: Object = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}
_ADMIN: Object = {"userInfo": {"username": "simulator-admin", "groups": ["system:masters", "system:authenticated"]}}


@dataclass(frozen=True, slots=True)
class Review:
    kind: str
    status: Object


REVIEWS: Mapping[str, Mapping[str, Review]] = {
    "authorization.k8s.io": {
        "selfsubjectaccessreviews": Review("SelfSubjectAccessReview", {"allowed": True}),
        "selfsubjectrulesreviews": Review("SelfSubjectRulesReview", _EVERYTHING),
    },
    "authentication.k8s.io": {"selfsubjectreviews": Review("SelfSubjectReview", _ADMIN)},
}
VERSION = "v1"


def answer(group: str, version: str, plural: str) -> Object | None:
    """What a POST there is answered with; None where there is no such review."""
    review = REVIEWS.get(group, {}).get(plural) if version == VERSION else None
    if review is None:
        return None
    return {
        "kind": review.kind,
        "apiVersion": f"{group}/{VERSION}",
        "metadata": {"creationTimestamp": None},
        "spec": {},
        "status": review.status,
    }


def resources(group: str, version: str) -> Object | None:
    """The APIResourceList of a group of reviews."""
    if group not in REVIEWS or version != VERSION:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{VERSION}",
        "resources": [
            {
                "name": plural,
                "singularName": review.kind.lower(),
                "namespaced": False,
                "kind": review.kind,
                "verbs": ["create"],
            }
            for plural, review in REVIEWS[group].items()
        ],
    }
