"""Leases: one holder at a time, an epoch that only grows, lost before somebody else gets it."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from shared.bus import Bus, BusSettings
from shared.errors import LeaseLost, Misconfigured
from shared.nats_server import NatsServer

HOLDER = "brim.lease.scheduler.holder"


@asynccontextmanager
async def crashed_holder(server: str, ttl: float) -> AsyncIterator[None]:
    """Somebody took the lease and then neither renews nor releases it: his connection is cut."""
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(Bus.connect(BusSettings(url=server), name="other"))
        async with anyio.create_task_group() as group:
            taken = anyio.Event()

            async def hold() -> None:
                with suppress(LeaseLost):  # it notices, too: before its successor can know
                    async with other.lease("scheduler", ttl=ttl).held():
                        taken.set()
                        await anyio.sleep_forever()

            group.start_soon(hold)
            await taken.wait()
            await renewed_once(other)
            await other._connection.close()
            yield
            group.cancel_scope.cancel()


async def renewed_once(bus: Bus) -> None:
    """A renewal must keep the expiry: `kv.update` drops it, and such a lease never ends."""
    first = await bus.last("LEASE", HOLDER)
    assert first is not None
    with anyio.fail_after(5):
        while (last := await bus.last("LEASE", HOLDER)) is None or last.sequence == first.sequence:
            await anyio.lowlevel.checkpoint()


class TestEpoch:
    async def test_grows_by_one_with_each_holder(self, bus: Bus) -> None:
        epochs = []
        for _ in range(5):
            async with bus.lease("scheduler").held() as epoch:
                epochs.append(epoch)
        assert epochs == [1, 2, 3, 4, 5]

    async def test_who_was_overtaken_while_taking_it_does_not_lead(self, bus: Bus) -> None:
        """He wrote the holder, slept until it expired, and another led meanwhile: his epoch must not be 1, too."""
        lease = bus.lease("scheduler")
        write = lease._write_holder

        async def overtaken(epoch: int, expected: int) -> object:
            held = await write(epoch, expected)
            lease._write_holder = write
            await bus.remove(HOLDER)
            async with bus.lease("scheduler").held() as others:
                assert others == 1
            return held

        lease._write_holder = overtaken
        with anyio.fail_after(5):
            async with lease.held() as epoch:
                assert epoch == 2

    async def test_names_are_apart(self, bus: Bus) -> None:
        async with bus.lease("scheduler").held() as one, bus.lease("executor").held() as two:
            assert (one, two) == (1, 1)

    async def test_goes_on_after_an_expiry(self, bus: Bus, nats_server: str) -> None:
        """In a bucket with limit markers an expired key reads as empty and still blocks its successor."""
        async with crashed_holder(nats_server, ttl=1):
            with anyio.fail_after(4):
                async with bus.lease("scheduler", ttl=1).held() as epoch:
                    assert epoch == 2

    async def test_goes_on_after_a_restart_of_the_server(self, own_server: Callable[[], NatsServer]) -> None:
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            for wanted in (1, 2):
                async with bus.lease("scheduler").held() as epoch:
                    assert epoch == wanted
            await server.restart(kill=True)
            with anyio.fail_after(15):
                async with bus.lease("scheduler").held() as epoch:
                    assert epoch == 3

    async def test_is_beyond_what_the_streams_have_seen(self, bus: Bus) -> None:
        """The stream of the leases may be lost, and what was written under its epochs not."""
        lease = bus.lease("scheduler")
        lease.exceed(41)
        async with lease.held() as epoch:
            assert epoch == 42
        async with bus.lease("scheduler").held() as epoch:
            assert epoch == 43

    async def test_rubbish_in_its_place_stops_nobody(self, bus: Bus) -> None:
        await bus.publish("brim.lease.scheduler.epoch", b"rubbish")
        with anyio.fail_after(5):
            async with bus.lease("scheduler").held() as epoch:
                assert epoch == 1


class TestRubbish:
    @pytest.mark.parametrize("rubbish", [b"", b"me", b"{}", b"[]", b"\xff"])
    async def test_a_holder_that_cannot_be_read_holds_nothing(self, bus: Bus, rubbish: bytes) -> None:
        await bus.publish(HOLDER, rubbish)
        with anyio.fail_after(5):
            async with bus.lease("scheduler").held() as epoch:
                assert epoch == 1


class TestHolding:
    async def test_one_at_a_time_and_the_next_at_once(self, bus: Bus) -> None:
        inside, most, epochs = 0, 0, []

        async def contend() -> None:
            nonlocal inside, most
            async with bus.lease("scheduler", ttl=30).held() as epoch:
                inside += 1
                most = max(most, inside)
                epochs.append(epoch)
                await anyio.sleep(0.01)
                inside -= 1

        with anyio.fail_after(10):  # a third of one ttl
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(contend)
        assert most == 1
        assert epochs == [1, 2, 3, 4, 5, 6]

    async def test_who_waits_for_a_holder_stands_by(self, bus: Bus, eventually: Callable) -> None:
        first, second = bus.lease("scheduler"), bus.lease("scheduler")
        assert not second.standing_by
        leads = anyio.Event()

        async def lead() -> None:
            async with second.held():
                leads.set()

        async with anyio.create_task_group() as group:
            async with first.held():
                group.start_soon(lead)
                await eventually(lambda: second.standing_by)
                assert not first.standing_by
            await leads.wait()
            assert not second.standing_by

    async def test_it_is_renewed_for_as_long_as_the_block_runs(self, bus: Bus, eventually: Callable) -> None:
        """Renewals come every third of the ttl: after eight of them it would have expired twice."""
        async with bus.lease("scheduler", ttl=1).held():
            first = await bus.last("LEASE", HOLDER)
            assert first is not None

            async def renewed() -> bool:
                last = await bus.last("LEASE", HOLDER)
                assert last is not None, "the lease expired under its holder"
                return last.sequence >= first.sequence + 8

            await eventually(renewed)

    async def test_an_exception_of_the_block_passes_through_and_releases(self, bus: Bus) -> None:
        with pytest.raises(ZeroDivisionError):
            async with bus.lease("scheduler", ttl=30).held():
                raise ZeroDivisionError
        with anyio.fail_after(2):
            async with bus.lease("scheduler", ttl=30).held() as epoch:
                assert epoch == 2

    async def test_cancelling_the_block_releases(self, bus: Bus) -> None:
        with anyio.CancelScope() as scope:
            async with bus.lease("scheduler", ttl=30).held():
                scope.cancel()
                await anyio.sleep_forever()
        with anyio.fail_after(2):
            async with bus.lease("scheduler", ttl=30).held() as epoch:
                assert epoch == 2

    async def test_a_renewal_whose_acknowledgement_got_lost_is_still_ours(self, bus: Bus, eventually: Callable) -> None:
        async with bus.lease("scheduler", ttl=1).held():
            mine = await bus.last("LEASE", HOLDER)
            assert mine is not None
            again = await bus.publish(HOLDER, mine.data, headers={"Nats-TTL": "1"})

            async def renewed() -> bool:
                last = await bus.last("LEASE", HOLDER)
                return last is not None and last.sequence > again

            await eventually(renewed)


class TestLoss:
    async def test_a_server_that_is_away_cancels_the_block_within_the_ttl(
        self, own_server: Callable[[], NatsServer]
    ) -> None:
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            stopped_at = []

            async def lead() -> None:
                async with bus.lease("scheduler", ttl=1).held():
                    await server.stop()
                    stopped_at.append(anyio.current_time())
                    with anyio.fail_after(10):
                        await anyio.sleep_forever()

            with pytest.raises(LeaseLost, match="no longer holds lease 'scheduler'"):
                await lead()
            assert anyio.current_time() - stopped_at[0] < 1.5  # the ttl, and no waiting for anything else

    async def test_a_process_that_was_paused_learns_it_before_anything_else(
        self, bus: Bus, nats_server: str, eventually: Callable, tmp_path: Path
    ) -> None:
        """Stopped for longer than the ttl (a machine that swaps, a debugger): somebody else leads by then."""
        program = (
            "import anyio, sys\n"
            "from shared.bus import Bus, BusSettings\n"
            "from shared.errors import LeaseLost\n"
            "async def main():\n"
            "    async with Bus.connect(BusSettings(url=sys.argv[1]), name='paused') as bus:\n"
            "        try:\n"
            "            async with bus.lease('scheduler', ttl=1).held() as epoch:\n"
            "                print('leads', epoch, flush=True)\n"
            "                await anyio.sleep_forever()\n"
            "        except LeaseLost:\n"
            "            print('lost', flush=True)\n"
            "anyio.run(main)\n"
        )
        told = tmp_path / "told"
        with told.open("w") as output:
            process = subprocess.Popen([sys.executable, "-c", program, nats_server], stdout=output)
        try:
            await eventually(lambda: told.read_text() == "leads 1\n")
            process.send_signal(signal.SIGSTOP)
            async with bus.lease("scheduler", ttl=30).held() as epoch:
                assert epoch == 2
                process.send_signal(signal.SIGCONT)
                await eventually(lambda: told.read_text() == "leads 1\nlost\n")
                holder = await bus.last("LEASE", HOLDER)
                assert holder is not None
                assert b'"epoch": 2' in holder.data
        finally:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("other", [b'{"holder": "somebody", "epoch": 9}', b"rubbish"])
    async def test_somebody_elses_write_ends_it(self, bus: Bus, other: bytes) -> None:
        async def lead() -> None:
            async with bus.lease("scheduler", ttl=1).held():
                await bus.publish(HOLDER, other, headers={"Nats-TTL": "1"})
                with anyio.fail_after(5):
                    await anyio.sleep_forever()

        with pytest.raises(LeaseLost):
            await lead()

    @pytest.mark.parametrize("ttl", [0, 0.5, 1.5, -1])
    async def test_a_ttl_is_whole_seconds(self, bus: Bus, ttl: float) -> None:
        with pytest.raises(Misconfigured, match="whole number of seconds"):
            bus.lease("scheduler", ttl=ttl)
