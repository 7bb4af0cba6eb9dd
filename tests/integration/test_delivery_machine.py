"""A machine that tries to lose, double or disorder a message: real stores, two processes, any order."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from redis.asyncio import Redis
from sqlalchemy import update

from core.delivery.outbox import SETTLED_SECONDS, DeliveryState
from core.errors import DeliveryUnknown, NotDelivered, Undeliverable
from core.messages import IncomingMessage
from core.storage.schema import conversations, deliveries, inbox
from tests.integration.delivery_ledger import Ledger, Letter
from tests.integration.puppet import Halt, Puppet
from tests.integration.store_machine import ANY, PLACES, PROCESS, Place, StoreMachine, try_to_break
from tests.standins.paper import letter

EXAMPLES = 10
DRAIN_ROUNDS = 200
TEXTS = ("I like word{}", "word{}?", "/help word{}")
LETTERS = st.tuples(st.sampled_from(PLACES), st.sampled_from(TEXTS))
FAULTS = ("busy", "busy for long", "lost", "lost unsent", "blocked", "edit", "edit refused")


def one_word(prompt: list[dict[str, Any]]) -> str:
    """An answer that streams in one piece, so that the same steps give the same calls."""
    return "re:" + str(prompt[-1]["content"]).replace("\n", "+").replace(" ", "_")


class DeliveryMachine(StoreMachine):
    """The processes answer; the door only accepts."""

    async def open(self) -> None:
        self.model.answer = one_word
        self.model.piece_seconds = 0.005
        self.settled = datetime.now(UTC)
        """When half a minute last went by."""
        await super().open()
        await self.forget_pauses()
        self.ledger = Ledger(self.door, self.paper, self.steps)

    async def bear(self) -> Puppet:
        puppet = await super().bear()
        await puppet.start(puppet.app.lanes.run(), lasts=True)
        return puppet

    async def lets(self, puppet: Puppet, halt: Halt) -> bool:
        if (
            halt.delivery_id is None
            or halt.what not in ("open", "edit")
            or not await self.ledger.is_late(halt)
        ):
            return True
        if halt.what == "open" and self.paper.tells and halt.since < self.settled:
            # Nothing had come half a minute after it was sent: no request is on its way for so long.
            await self.replace(puppet)
            return False
        self.ledger.late.add(halt.delivery_id)
        return True

    async def look(self) -> None:
        await self.ledger.look()

    @initialize(first=st.lists(LETTERS, min_size=2, max_size=6), tells=st.booleans())
    def begin(self, first: list[tuple[Place, str]], tells: bool) -> None:
        """`tells`: whether the platform can be asked what became of a message."""
        self.note(f"a platform that {'tells' if tells else 'keeps'} what became of a message")
        self.paper.tells = tells
        for place, text in first:
            self.write(place, text)

    @rule(place_and_text=LETTERS)
    def accept(self, place_and_text: tuple[Place, str]) -> None:
        self.write(*place_and_text)

    def write(self, place: Place, text: str) -> None:
        person, conversation, kind = place
        text = text.format(len(self.ledger.letters))
        self.run(self.take_in(letter(text, person=person, conversation=conversation, kind=kind)))

    @rule(which=ANY)
    def edit(self, which: int) -> None:
        originals = [one for one in self.ledger.letters if one.mends is None and not one.is_command]
        if not originals:
            return
        original = originals[which % len(originals)]
        where = original.message.conversation
        given = letter(
            f"I love word{len(self.ledger.letters)}",
            person=original.message.sender.external_id,
            conversation=where.external_id,
            kind=where.kind,
            replaces=original.message.event,
        )
        self.run(self.take_in(given, mends=original.number))

    async def take_in(self, message: IncomingMessage, mends: int | None = None) -> None:
        accepted = await self.door.inbox.accept(message)
        assert not accepted.duplicate
        self.note(f"accepted {message.text!r} as message {accepted.inbox_id}")
        letters = self.ledger.letters
        letters.append(Letter(len(letters), message, accepted.inbox_id, message.text[0] == "/", mends))
        await self.look()

    @rule(which=ANY)
    def accept_again(self, which: int) -> None:
        async def accept_again() -> None:
            known = self.ledger.letters[which % len(self.ledger.letters)]
            accepted = await self.door.inbox.accept(known.message)
            assert (accepted.duplicate, accepted.inbox_id) == (True, known.inbox_id)
            await self.look()

        self.run(accept_again())

    @rule(process=PROCESS)
    def ring(self, process: int) -> None:
        self.run(self.wake(self.processes[process]))

    async def wake(self, puppet: Puppet) -> None:
        self.note(f"{puppet.name} hears the bell")
        for lane in await self.ledger.rows(conversations):
            await puppet.app.lanes.ring(lane.id)
        await puppet.settle()

    @rule(process=PROCESS, halt=st.integers(0, 3))
    def step(self, process: int, halt: int) -> None:
        self.run(self.go(process, 1, halt))

    @rule(process=PROCESS, steps=st.integers(2, 30))
    def go_on(self, process: int, steps: int) -> None:
        self.run(self.go(process, steps))

    async def go(self, process: int, steps: int, halt: int = 0) -> None:
        for _ in range(steps):
            await self.advance(self.processes[process], halt)

    @rule(process=PROCESS, steps=st.integers(1, 40))
    def overtake(self, process: int, steps: int) -> None:
        """The others stalled for longer than a lease."""

        async def overtake() -> None:
            await self.let_leases_end()
            await self.wake(self.processes[process])
            await self.go(process, steps)

        self.run(overtake())

    @rule(process=PROCESS, what=st.sampled_from(("open", "opened", "edit")), steps=st.integers(1, 40))
    def stall(self, process: int, what: str, steps: int) -> None:
        """A process stands still at a call to the platform while another goes on with its lanes."""

        async def stall() -> None:
            puppet, other = self.processes[process], 1 - process
            await self.wake(puppet)
            while puppet.halts and puppet.halts[0].what != what:
                await self.advance(puppet)
            await self.let_leases_end()
            await self.wake(self.processes[other])
            await self.go(other, steps)
            await self.exhaust(puppet)

        self.run(stall())

    @rule(process=PROCESS)
    def kill(self, process: int) -> None:
        self.run(self.replace(self.processes[process]))

    @rule(process=PROCESS)
    def stop(self, process: int) -> None:
        """As on SIGTERM; another is started in its place."""

        async def stop() -> None:
            puppet = self.processes[process]
            self.note(f"{puppet.name} is asked to stop")
            await puppet.start(puppet.app.lanes.stop())
            await self.exhaust(puppet)
            self.processes[process] = await self.bear()

        self.run(stop())

    @rule()
    def outlast(self) -> None:
        self.run(self.let_leases_end())

    async def let_leases_end(self) -> None:
        await self.change(update(conversations).values(lease_until=0.0), "leases end")

    @rule()
    def rest(self) -> None:
        self.run(self.let_rests_end())

    async def let_rests_end(self) -> None:
        """Turns may be tried again, the platform be written to, and what was lost can't arrive any more."""
        lost = update(deliveries).where(deliveries.c.state == DeliveryState.UNKNOWN)
        self.settled = datetime.now(UTC)
        long_ago = self.settled - timedelta(seconds=SETTLED_SECONDS)
        await self.change(lost.values(updated_at=long_ago), "what is lost settles")
        await self.change(update(inbox).values(not_before=0.0), "rests end")
        await self.forget_pauses()

    async def forget_pauses(self) -> None:
        async with Redis.from_url(self.redis_url) as redis:
            async for key in redis.scan_iter("mneme:rest:*"):
                await redis.delete(key)

    @rule(fault=st.sampled_from(FAULTS))
    def let_platform_fail(self, fault: str) -> None:
        self.note(f"the platform's next fault: {fault}")
        faults: dict[str, Callable[[], None]] = {
            "busy": lambda: self.paper.open_faults.append(NotDelivered("busy", 0.001)),
            "busy for long": lambda: self.paper.open_faults.append(NotDelivered("busy", 900.0)),
            "lost": lambda: self.paper.lost_faults.append(DeliveryUnknown("no answer")),
            "lost unsent": lambda: self.paper.open_faults.append(DeliveryUnknown("no answer")),
            "blocked": lambda: self.paper.open_faults.append(Undeliverable("blocked")),
            "edit": lambda: self.paper.edit_faults.append(NotDelivered("busy", 0.001)),
            "edit refused": lambda: self.paper.edit_faults.append(Undeliverable("too old")),
        }
        faults[fault]()

    @rule()
    def let_model_refuse(self) -> None:
        self.note("the model refuses its next call")
        self.model.fail_next("too_long")

    async def drain(self) -> None:
        """The platform is well again; one process does what is left, the others stand where they stood."""
        self.note("the end: a last process does what is left")
        for faults in (self.paper.open_faults, self.paper.lost_faults, self.paper.edit_faults):
            faults.clear()
        last = await self.bear()
        for _ in range(DRAIN_ROUNDS):
            await self.let_leases_end()
            await self.let_rests_end()
            await self.wake(last)
            await self.exhaust(last)
            if not await self.door.turns.oldest_wait_seconds():
                break
        self.note("those that stood still go on, too late")
        for puppet in self.processes:
            await self.exhaust(puppet)
        await self.ledger.close()


def test_nothing_is_lost_doubled_or_disordered(empty_database: str, redis_url: str, tmp_path: Path) -> None:
    try_to_break(DeliveryMachine, empty_database, redis_url, tmp_path, examples=EXAMPLES)
