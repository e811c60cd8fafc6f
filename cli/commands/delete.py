"""`brim delete`: out of the fleet, and out of the members."""

from __future__ import annotations

from pathlib import Path

import click

from cli import manifests, reading, waiting
from cli.commands.apply import report
from cli.completion import complete_words
from cli.naming import DEFAULT_NAMESPACE, find_desired, split
from cli.options import namespace_option, timeout_option
from cli.session import Session, output_option, run_connected, target_of, target_options, warn
from shared.contracts import subjects
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Delete
from shared.documents import Document
from shared.errors import Fault, Invalid, NotFound


@click.command()
@click.argument("words", metavar="[TYPE NAME...]", nargs=-1, shell_complete=complete_words)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Delete what the manifests in this file or folder name; - for standard input.",
)
@namespace_option
@click.option(
    "--preserve/--no-preserve",
    default=None,
    help="Keep the members' objects, or remove them, whatever the policy's preserveResourcesOnDeletion says.",
)
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@click.option("--wait", is_flag=True, help="Until the members are rid of it, so that it can be applied anew.")
@timeout_option
@output_option("json", "yaml", "name", otherwise="a line for each object")
@target_options
def delete(
    words: tuple[str, ...],
    files: tuple[str, ...],
    namespace: str,
    preserve: bool | None,
    ignore_not_found: bool,
    wait: bool,
    timeout: float,
    output: str | None,
    server: str | None,
    data: Path | None,
) -> None:
    """Delete objects from the fleet; the members' copies go with them.

    \b
    Examples:
      brim delete deploy qwen3 -n test
      brim delete -f qwen3.yaml --preserve
      brim delete deploy/web --wait && brim apply -f web.yaml
    """
    if bool(words) == bool(files):
        raise click.UsageError("name what is to be deleted, as TYPE NAME or with -f FILE, one of the two")
    if len(words) == 1 and "/" not in words[0]:
        raise click.UsageError(f"name the object too: {words[0]} NAME, or {words[0]}/NAME")
    listed = manifests.read_all(files, namespace=namespace or DEFAULT_NAMESPACE) if files else []

    async def submit(session: Session) -> None:
        if files:
            refs = [_ref(document) for document in listed]
            if ignore_not_found:
                there = {entry.ref.key for entry in await reading.desired_objects(session.bus)}
                refs = [ref for ref in refs if ref.key in there]
        else:
            refs = await _named(session, words, namespace, ignore_not_found)
        if not refs:
            warn("Nothing to delete")
            return
        answer = await session.submit(subjects.DELETE, Delete(refs=tuple(refs), preserve=preserve).encode())
        report(answer, output)
        if wait:
            await waiting.until_gone(session, [entry.ref for entry in answer.accepted], timeout=timeout, say=warn)

    run_connected(target_of(server, data), submit)


async def _named(session: Session, words: tuple[str, ...], namespace: str, ignore: bool) -> list[ObjectRef]:
    found = []
    for kind, name in split(words):
        try:
            found.append(await find_desired(session.bus, kind, name, namespace))
        except NotFound as error:
            if not ignore or error.code == "NoSuchType":
                raise
    return found


def _ref(document: Document) -> ObjectRef:
    try:
        return ObjectRef.of(document.manifest)
    except (KeyError, AssertionError):
        raise Invalid([Fault(document.place, "", "it has no apiVersion, kind and metadata.name")]) from None
