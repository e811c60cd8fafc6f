"""How long room has been held: a reservation's age says that its pods do not come."""

from __future__ import annotations

from collections.abc import Iterable


class Ages:
    """Since when a workload has had room reserved in a member, without a break. Times: Unix seconds of the fleet.

    Which of several replicas has waited longest is not told: as long as some wait, the first of them counts.
    """

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], float] = {}  # by uid and member number; few: those whose pods are to come

    def note(self, uid: str, member: int, waits: bool, at: float) -> None:
        """Whether some of its replicas are reserved there from then on."""
        if waits:
            self._since.setdefault((uid, member), at)
        else:
            self._since.pop((uid, member), None)

    def oldest(self) -> Iterable[tuple[int, float]]:
        """(member number, since when), of the oldest reservation in each member that has any."""
        oldest: dict[int, float] = {}
        for (_, member), since in self._since.items():
            oldest[member] = min(since, oldest.get(member, since))
        return oldest.items()
