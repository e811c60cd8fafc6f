"""Kruise in a simulated member: its Rollouts' hand on workloads, and the arithmetic of its own kinds. Pure.

What runs in a loop is in `simulator.controllers`: kruise_rollout and its parts, cloneset, and daemonset.
"""
