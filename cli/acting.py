"""Publishing an action, and hearing what came of it in each member."""

from __future__ import annotations

import anyio

from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.action import Acted, Action

ANSWER = 30.0  # seconds until all members that can answer have


async def act(bus: Bus, action: Action, *, timeout: float = ANSWER) -> tuple[list[Acted], bool]:
    """What was said of it, by member, and whether all was said in time."""
    said: list[Acted] = []
    ended, serving = anyio.Event(), anyio.Event()
    action = action.model_copy(update={"reply": subjects.acted(action.id)})

    async def hear(message: Message) -> bytes:
        said.append(Acted.decode(message.data))
        if said[-1].last:
            ended.set()
        return b""

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bus.serve(action.reply, hear, on_serving=serving.set))
        await serving.wait()
        await bus.publish(subjects.action("executor", action.verb), action.encode(), event=Action.TYPE)
        with anyio.move_on_after(timeout):
            await ended.wait()
        group.cancel_scope.cancel()
    return sorted((one for one in said if not one.last), key=lambda one: one.member), ended.is_set()
