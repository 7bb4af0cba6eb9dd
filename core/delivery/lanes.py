"""Lanes: every conversation is answered by one worker at a time, in order, wherever its process runs."""

import asyncio
import os
import socket
import traceback
from contextlib import suppress
from typing import Protocol

import structlog

from core.delivery.turns import MAX_ATTEMPTS, MOST_ATTEMPTS, Lease, Turn, Turns
from core.errors import (
    DeliveryUnknown,
    LeaseLost,
    MnemeError,
    ModelRefused,
    NotDelivered,
    StoreUnavailable,
    Undecryptable,
    Undeliverable,
)
from core.storage.bell import Bell

BURST_ROUNDS = 5
"""Somebody who never stops writing is answered after this many pauses anyway."""
STOP_SECONDS = 10.0
"""How long a stop waits for replies; what stops processes may kill them after some more seconds."""
FINAL_ERRORS = (ModelRefused, Undeliverable, DeliveryUnknown, Undecryptable)
"""Trying again can't help, or mustn't be done."""

log = structlog.get_logger()


class TurnHandler(Protocol):
    """What a lane does with a turn. Both calls commit the turn's end themselves, under its lease."""

    async def answer(self, turn: Turn) -> None:
        """Answers the turn; raises to have it tried again."""
        ...

    async def give_up(self, turn: Turn, error: Exception) -> None:
        """Tells the person in one honest line, and ends the turn as dead."""
        ...


def lane_topic(conversation_id: str) -> str:
    """What the bell rings when something waits in a conversation."""
    return f"lane:{conversation_id}"


class LaneRunner:
    """This process's share of the lanes: hears the bell, looks around from time to time, works."""

    def __init__(
        self,
        turns: Turns,
        bell: Bell,
        handler: TurnHandler,
        *,
        parallel: int,
        burst_seconds: float,
        sweep_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._turns = turns
        self._bell = bell
        self._handler = handler
        self._slots = asyncio.Semaphore(parallel)
        self._burst_seconds = burst_seconds
        self._sweep_seconds = sweep_seconds
        self._renew_seconds = lease_seconds / 3
        self._holder = f"{socket.gethostname()[:40]}:{os.getpid()}"
        self._rung: asyncio.Queue[str] = asyncio.Queue()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._stopping = False
        bell.on_ring(self._hear)

    @property
    def at_work(self) -> int:
        """How many conversations are being answered in this process."""
        return len(self._at_work)

    async def ring(self, conversation_id: str) -> None:
        """Says, here and to other processes, that something waits in a conversation."""
        await self._bell.ring(lane_topic(conversation_id))

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            while True:
                self._start(await self._rung.get())

    async def stop(self) -> None:
        """Takes nothing more; lets what is being answered end, or hands it over after some seconds."""
        self._stopping = True
        tasks = list(self._at_work.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _hear(self, topic: str) -> None:
        kind, _, conversation_id = topic.partition(":")
        if kind == "lane":
            self._rung.put_nowait(conversation_id)

    async def _sweep(self) -> None:
        while True:
            try:
                for conversation_id in await self._turns.waiting():
                    self._start(conversation_id)
            except StoreUnavailable as error:
                log.warning("sweep_failed", reason=str(error))
            await asyncio.sleep(self._sweep_seconds)

    def _start(self, conversation_id: str) -> None:
        if self._stopping:
            return
        if conversation_id in self._at_work:
            self._again.add(conversation_id)
            return
        task = asyncio.create_task(self._work(conversation_id), name=lane_topic(conversation_id))
        self._at_work[conversation_id] = task
        task.add_done_callback(lambda _: self._end(conversation_id))

    def _end(self, conversation_id: str) -> None:
        del self._at_work[conversation_id]
        if conversation_id in self._again:
            self._again.discard(conversation_id)
            self._start(conversation_id)

    async def _work(self, conversation_id: str) -> None:
        async with self._slots:
            try:
                lease = await self._turns.lease(conversation_id, self._holder)
                if lease is None:
                    return
                await self._hold(lease)
            except LeaseLost:
                log.warning("lease_lost", conversation=conversation_id)
            except Exception as error:  # noqa: BLE001  # the lane is swept again; other lanes go on
                log.warning("lane_interrupted", conversation=conversation_id, **_trace(error))

    async def _hold(self, lease: Lease) -> None:
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101  # a coroutine runs in a task
        renewing = asyncio.create_task(self._renew(lease, worker))
        released = False
        try:
            while not (released or self._stopping):
                await self._await_burst(lease)
                await self._answer_next(lease)
                released = await self._turns.release(lease)
        finally:
            renewing.cancel()
            if not released:
                with suppress(StoreUnavailable, asyncio.CancelledError):
                    await asyncio.shield(self._turns.release(lease, though_waiting=True))

    async def _renew(self, lease: Lease, worker: asyncio.Task[None]) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            try:
                await self._turns.renew(lease)
            except LeaseLost:
                worker.cancel()
                return
            except StoreUnavailable as error:
                log.warning("lease_not_renewed", conversation=lease.conversation_id, reason=str(error))

    async def _await_burst(self, lease: Lease) -> None:
        """Waits for a pause, so that several short messages in a row are answered as one."""
        if not self._burst_seconds:
            return
        seen = 0
        for _ in range(BURST_ROUNDS):
            waiting = await self._turns.count_waiting(lease)
            if waiting == seen:
                return
            seen = waiting
            await asyncio.sleep(self._burst_seconds)

    async def _answer_next(self, lease: Lease) -> None:
        try:
            turn = await self._turns.take(lease)
        except Undecryptable as error:
            log.error("lane_unreadable", conversation=lease.conversation_id, **_trace(error))
            await self._turns.bury(lease, type(error).__name__)
            return
        if turn is not None and turn.attempt <= MOST_ATTEMPTS:
            await self._answer(turn)
        elif turn is not None:
            await self._handler.give_up(turn, MnemeError("none of its attempts came to an end"))

    async def _answer(self, turn: Turn) -> None:
        try:
            await self._handler.answer(turn)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the person hears of it
            place = {"turn": turn.id, "conversation": turn.conversation.id, "attempt": turn.attempt}
            log.warning("turn_failed", **place, **_trace(error))
            if turn.attempt < _attempts(error):
                asked = error.retry_after if isinstance(error, NotDelivered) else None
                await self._turns.put_back(turn, type(error).__name__, at_least_seconds=asked or 0.0)
            else:
                await self._handler.give_up(turn, error)


def _attempts(error: Exception) -> int:
    """How many attempts a turn has that fails like this."""
    if isinstance(error, FINAL_ERRORS):
        return 1
    return MOST_ATTEMPTS if isinstance(error, NotDelivered) else MAX_ATTEMPTS


def _trace(error: Exception) -> dict[str, object]:
    """Where it went wrong; an unforeseen error's text could hold a person's words and stays out."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return {
        "reason": type(error).__name__,
        "detail": str(error) if isinstance(error, MnemeError) else None,
        "at": [f"{frame.name}:{frame.lineno}" for frame in frames],
    }
