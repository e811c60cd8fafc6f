"""Deciding inside a member: a unit and a node for each pod that names brim's scheduler. Pure, like all of the core."""
