"""Real kubectl on virtual nodes and instances. Skipped where kubectl is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator import write_kubeconfig
from simulator.stock import ANNOTATION as STOCK
from tests.simulator.eci import NODE, SPOT, USE_SPECS, found, instance, start, stock, virtual
from tests.simulator.test_simulated_kubectl import KUBECTL, Kubectl, table

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


async def test_virtual_nodes_and_instances(tmp_path: Path) -> None:
    async with virtual(stock={"2-4Gi": 5}) as driver:
        write_kubeconfig({"idc": driver.member}, tmp_path / "config")
        run = Kubectl(driver, tmp_path / "config")
        header, row = table(await run("get", "nodes"))
        assert dict(zip(header, row, strict=True)) | {"AGE": ""} == {
            "NAME": NODE,
            "STATUS": "Ready",
            "ROLES": "agent",
            "AGE": "",
            "VERSION": "v1.34.1",
        }
        start(driver, annotations={**SPOT, USE_SPECS: "2-4Gi"})
        await driver.until(driver.ready_pods)
        header, row = table(await run("get", "eci"))
        assert header == ["NAME", "POD", "SIZE", "STATUS", "SPOT", "BILLED", "COST", "AGE"]
        assert row[1:5] == ["one", "2-4Gi", "Running", "true"]
        assert NODE in await run("get", "pods", "-o", "wide")
        assert "started on virtual-kubelet-" in await run("logs", "one")
        config_map = ("configmap", "eci-inventory-status", "-n", "kube-system")
        await run("annotate", *config_map, "--overwrite", f"{STOCK}=2-4Gi=9")
        await driver.until(lambda: stock(driver) == {"2-4Gi": 9})
        await run("annotate", "eci", row[0], "simulator.brim.dev/reclaim=true")
        await driver.until(lambda: "releaseAt" in instance(driver)["status"])
        await run("delete", "eci", row[0])
        await driver.until(lambda: "NotFound" in str(found(driver)["status"]))
        assert "NotFound" in await run("get", "pod", "one")
