"""`brim delete`: out of the fleet, and out of the members."""

from __future__ import annotations

import click

from cli import manifests
from cli.commands.apply import report
from cli.naming import DEFAULT_NAMESPACE, find_desired, namespace_option, split
from cli.session import Session, connected, output_option
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Delete
from shared.errors import Fault, Invalid


@click.command()
@click.argument("words", metavar="[TYPE NAME...]", nargs=-1)
@click.option("-f", "--filename", "files", multiple=True, help="Delete what these manifests name.")
@namespace_option
@click.option(
    "--preserve/--no-preserve",
    default=None,
    help="Keep the members' objects, or remove them, whatever the policy's preserveResourcesOnDeletion says.",
)
@output_option("json", "yaml", "name")
@connected
async def delete(
    session: Session,
    words: tuple[str, ...],
    files: tuple[str, ...],
    namespace: str,
    preserve: bool | None,
    output: str | None,
) -> None:
    """Delete objects from the fleet; the members' copies go with them.

    \b
    Examples:
      brim delete deploy qwen3 -n test
      brim delete -f qwen3.yaml --preserve
    """
    if bool(words) == bool(files):
        raise click.UsageError("name what is to be deleted, as TYPE NAME or with -f FILE, one of the two")
    if files:
        refs = [_ref(manifest) for manifest in manifests.read_all(files, namespace=namespace or DEFAULT_NAMESPACE)]
    else:
        refs = [await find_desired(session.bus, kind, name, namespace) for kind, name in split(words)]
    answer = await session.submit(subjects.DELETE, Delete(refs=tuple(refs), preserve=preserve).encode())
    report(answer, output)


def _ref(manifest: JsonObject) -> ObjectRef:
    try:
        return ObjectRef.of(manifest)
    except (KeyError, AssertionError):
        raise Invalid([Fault("manifest", "", "it has no apiVersion, kind and metadata.name")]) from None
