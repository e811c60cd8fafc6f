"""The executor: the one service that writes members.

core/ decides (what to write, what a failure means, when a member is cut off); `reconcile` carries one wish out,
`member` runs one member's queue, `executor` spreads placements over members, `outcomes` says what became of them.
"""
