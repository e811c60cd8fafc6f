"""The fleet file, part by part: see `shared.fleet.file`."""

from shared.fleet.file import API_VERSION, Fleet, Kubeconfig, Member, load, parse, schema
from shared.fleet.forms import Taint
from shared.fleet.instances import InstancePrices, InstanceType, VirtualPrices
from shared.fleet.simulated import Delays, NodeGroup, Simulated, VirtualNode
from shared.fleet.stock import NodePool, NodePrice, Stock

__all__ = [
    "API_VERSION",
    "Delays",
    "Fleet",
    "InstancePrices",
    "InstanceType",
    "Kubeconfig",
    "Member",
    "NodeGroup",
    "NodePool",
    "NodePrice",
    "Simulated",
    "Stock",
    "Taint",
    "VirtualNode",
    "VirtualPrices",
    "load",
    "parse",
    "schema",
]
