"""Reading manifests: files, folders, standard input; everything is checked before anything is sent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cli import manifests
from cli.manifests import located
from shared.contracts.base import JsonObject
from shared.contracts.outcome import FieldFault
from shared.errors import Invalid, Misconfigured

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content, encoding="utf-8")
    return folder


def read_all(paths: list[str], *, namespace: str | None) -> list[JsonObject]:
    return [document.manifest for document in manifests.read_all(paths, namespace=namespace)]


def names(paths: list[Path], namespace: str | None = None) -> list[object]:
    return [manifest["metadata"]["name"] for manifest in read_all([str(p) for p in paths], namespace=namespace)]  # type: ignore[index,call-overload]


def test_many_documents_in_one_file(tmp_path: Path) -> None:
    write(tmp_path, all=CONFIG % "a" + "---\n" + CONFIG % "b" + "---\n")
    assert names([tmp_path / "all.yaml"]) == ["a", "b"]


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    write(tmp_path, b=CONFIG % "second", a=CONFIG % "first")
    (tmp_path / "README.md").write_text("not a manifest", encoding="utf-8")
    assert names([tmp_path]) == ["first", "second"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.TextIOWrapper(io.BytesIO(b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}'))
    monkeypatch.setattr("sys.stdin", text)
    assert read_all(["-"], namespace=None) == [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}]


def test_the_namespace_is_filled_in_where_there_is_none(tmp_path: Path) -> None:
    node = "apiVersion: policy.karmada.io/v1alpha1\nkind: ClusterPropagationPolicy\nmetadata: {name: p}\n"
    own = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: own}\n"
    write(tmp_path, a=CONFIG % "a", b=own, c=node)
    found = [manifest["metadata"] for manifest in read_all([str(tmp_path)], namespace="test")]
    assert found == [{"name": "a", "namespace": "test"}, {"name": "c", "namespace": "own"}, {"name": "p"}]


def test_a_fault_names_its_file_and_nothing_else_is_returned(tmp_path: Path) -> None:
    write(tmp_path, a=CONFIG % "good", b="kind: [unclosed")
    with pytest.raises(Invalid) as raised:
        read_all([str(tmp_path)], namespace=None)
    assert str(tmp_path / "b.yaml") in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [("just text", "not an object"), ("a: 1\na: 2\n", "twice"), ("{", "b.yaml")],
    ids=["no object", "a key twice", "unfinished"],
)
def test_what_is_no_manifest_is_said(tmp_path: Path, content: str, words: str) -> None:
    write(tmp_path, b=content)
    with pytest.raises(Invalid, match=words):
        read_all([str(tmp_path / "b.yaml")], namespace=None)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file or directory; give a file, a folder, or - for standard"):
        read_all([str(tmp_path / "none.yaml")], namespace=None)


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"holds no \.yaml"):
        read_all([str(tmp_path)], namespace=None)


def test_a_fleet_file_gives_its_members(tmp_path: Path) -> None:
    fleet = "apiVersion: brim.dev/v1alpha1\nkind: Fleet\nmembers:\n- {id: prod, kubeconfig: {context: prod-admin}}\n"
    (manifest,) = read_all([str(write(tmp_path, fleet=fleet) / "fleet.yaml")], namespace="test")
    assert manifest["kind"] == "Cluster"
    assert manifest["metadata"] == {"name": "prod"}


def test_simulated_members_need_the_simulator(tmp_path: Path) -> None:
    fleet = "apiVersion: brim.dev/v1alpha1\nkind: Fleet\nmembers:\n- {id: sim, simulated: {}}\n"
    with pytest.raises(Invalid, match="`brim up --fleet FILE` runs it"):
        read_all([str(write(tmp_path, fleet=fleet) / "fleet.yaml")], namespace=None)


def test_faults_of_the_intake_are_told_by_file(tmp_path: Path) -> None:
    folder = write(tmp_path, a="{kind: A}\n---\n{kind: B}", b="{kind: C}")
    documents = manifests.read_all([str(folder / "a.yaml"), str(folder / "b.yaml")], namespace=None)
    told = [
        FieldFault(object="document 1, item 3", field="apiVersion", message="give one"),
        FieldFault(object="Pod x", message="document 1, item 2 is about the same object as document 1, item 1"),
    ]
    assert [(fault.object, fault.message) for fault in located(told, documents)] == [
        (f"{folder}/b.yaml, document 1", "give one"),
        ("Pod x", f"{folder}/a.yaml, document 2 is about the same object as {folder}/a.yaml, document 1"),
    ]
