"""Versions of an example's Deployment, and how many pods of each run where."""

from __future__ import annotations

from cli import manifests
from cli.demo.observer import is_ready
from cli.demo.stage import Stage
from cli.json_values import object_of, objects_of, text
from cli.up import example
from shared.contracts.base import JsonObject

NAMESPACE = "demo"


def version(file: str, image: str, *, ready: bool = True) -> JsonObject:
    """The Deployment of an example file with another image. ready: whether its pods get ready in a simulated member."""
    found = [document.manifest for document in manifests.parse(example(file).encode(), source=file)]
    deployment = next(one for one in found if one["kind"] == "Deployment")
    spec = object_of(deployment, "spec")
    template = object_of(spec, "template")
    container = {**objects_of(template, "spec", "containers")[0], "image": image}
    metadata = object_of(template, "metadata")
    if not ready:
        metadata = {**metadata, "annotations": {"simulator.brim.dev/ready": "false"}}
    template = {**template, "metadata": metadata, "spec": {"containers": [container]}}
    return {**deployment, "spec": {**spec, "template": template}}


def started(stage: Stage, app: str, member: str, image: str) -> list[JsonObject]:
    """The pods that run an image, ready or not."""
    return [
        entry.manifest
        for entry in stage.observer.pods(NAMESPACE, app, member)
        if any(text(one, "image") == image for one in objects_of(entry.manifest, "spec", "containers"))
    ]


def serving(stage: Stage, app: str, member: str, image: str) -> int:
    return sum(is_ready(pod) for pod in started(stage, app, member, image))
