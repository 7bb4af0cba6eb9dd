"""What a delivery must never do, held against the record and the platform after every step and at the end."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Table, select

from core.app import App
from core.delivery.inbox import OPEN_STATES, InboxState
from core.delivery.outbox import AFTERWORD, DeliveryState
from core.delivery.reply_writer import LEFTOVER
from core.delivery.turns import TurnState
from core.memory.transcript import Line
from core.messages import IncomingMessage
from core.storage.schema import conversations, deliveries, inbox, turns
from tests.integration.puppet import Halt
from tests.standins.paper import Paper

Arrows = Mapping[str, frozenset[str]]

ARROWS: Mapping[Table, Arrows] = {
    inbox: {
        "": frozenset({"waiting", "done"}),  # done: an edit that took the place of what still waited
        "waiting": frozenset({"taken", "dead"}),
        "taken": frozenset({"waiting", "done", "dead", "unknown"}),
    },
    turns: {
        "": frozenset({"open"}),
        "open": frozenset({"done", "dead", "unknown"}),
    },
    deliveries: {
        "": frozenset({"pending", "sending"}),
        "pending": frozenset({"sending", "failed"}),
        "sending": frozenset({"pending", "open", "sent", "unknown", "failed"}),
        "open": frozenset({"sent", "failed"}),
        "unknown": frozenset({"pending", "open", "sent", "failed"}),  # found out later
    },
}
"""From which state to which a row may go in one step; from "" it comes."""
STATES: Mapping[Table, type[InboxState] | type[TurnState] | type[DeliveryState]] = {
    inbox: InboxState,
    turns: TurnState,
    deliveries: DeliveryState,
}
ANSWERED, DEAD, UNKNOWN = "done", "dead", "unknown"
WORD = re.compile(r"\bword(\d+)\b")


@dataclass(frozen=True)
class Letter:
    """A message that was accepted. Its text holds its number as "wordN"; `mends` is an edit's original."""

    number: int
    message: IncomingMessage
    inbox_id: int
    is_command: bool
    mends: int | None


@dataclass
class Ledger:
    """What was accepted, and where every row was last seen."""

    app: App
    paper: Paper
    steps: list[str]
    """Where what happened to the rows is noted."""
    letters: list[Letter] = field(default_factory=list)
    states: dict[tuple[str, int], str] = field(default_factory=dict)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The turn and part that a delivery is of."""
    late: set[int] = field(default_factory=set)
    """Deliveries that a stalled process wrote to after somebody else had settled their fate."""
    found_out: set[int] = field(default_factory=set)
    """Deliveries that read unknown when the stalled process that had sent them came to tell their fate."""
    tokens: dict[str, int] = field(default_factory=dict)

    async def rows(self, table: Table, *where: Any) -> list[Row[Any]]:
        async with self.app.database.read() as connection:
            found = await connection.execute(select(table).where(*where).order_by(table.c.id))
            return list(found.all())

    async def is_late(self, halt: Halt) -> bool:
        """Whether a call about to reach the platform comes after somebody else has settled its fate."""
        (row,) = await self.rows(deliveries, deliveries.c.id == halt.delivery_id)
        if halt.what == "open":
            return bool(row.state != "sending" or row.updated_at > halt.since)
        return bool(row.state != "open")

    async def look(self) -> None:
        """Holds every row against where it was last seen."""
        held: dict[Table, list[Row[Any]]] = {}
        for table, arrows in ARROWS.items():
            held[table] = await self.rows(table)
            self._follow(table, arrows, held[table])
        self.parts |= {row.id: (row.turn_id, row.part) for row in held[deliveries]}
        opened = [self.parts[sheet.delivery_id] for sheet in self.paper.sheets]
        assert len(set(opened)) == len(opened), "a part of a reply was sent twice"
        states = {row.id: row.state for row in held[turns]}
        for row in held[inbox]:
            if row.state == InboxState.TAKEN:
                assert states.get(row.turn_id) == TurnState.OPEN, f"message {row.id} is taken by no turn"
        assert [row.id for row in held[inbox]] == sorted(letter.inbox_id for letter in self.letters)
        for lane in await self.rows(conversations):
            assert lane.lease_token >= self.tokens.get(lane.id, 0), "a lane's fence went back"
            self.tokens[lane.id] = lane.lease_token

    def _follow(self, table: Table, arrows: Arrows, rows: Sequence[Row[Any]]) -> None:
        for row in rows:
            STATES[table](row.state)
            key = (table.name, row.id)
            before = self.states.get(key, "")
            if row.state == before:
                continue
            self.steps.append(f"    {table.name} {row.id}: {before or 'new'} -> {row.state}")
            assert row.state in arrows.get(before, ()), f"{table.name} {row.id}: {before} -> {row.state}"
            if before == "unknown":
                self.found_out.add(row.id)
            self.states[key] = row.state
        gone = {key for key in self.states if key[0] == table.name} - {(table.name, row.id) for row in rows}
        assert not gone, f"gone: {gone}"

    async def close(self) -> None:
        """Holds the end, when nothing is to be done any more, against what was accepted and what arrived."""
        rows = {row.id: row for row in await self.rows(inbox)}
        ends = [row.state for row in rows.values()]
        assert not [state for state in ends if state in OPEN_STATES], "something waits still"
        assert len(self.letters) == sum(ends.count(end) for end in (ANSWERED, DEAD, UNKNOWN))
        ended = {row.id: row for row in await self.rows(turns)}
        for row in await self.rows(deliveries):
            fates = {"sent", "failed", "unknown"}
            if row.id in self.found_out:
                fates |= {"open", "pending"}
            assert row.state in fates, f"delivery {row.id} ended as {row.state}"
            if ended[row.turn_id].state == ANSWERED:
                assert row.state == "sent", f"delivery {row.id} of an answered turn ended as {row.state}"
        lines = await self._transcript()
        self._check_transcript(rows, lines)
        self._check_platform(rows, ended, lines)

    async def _transcript(self) -> list[Line]:
        lines = []
        for lane in await self.rows(conversations):
            async with self.app.database.read() as connection:
                lines += await self.app.transcript.of_conversation(
                    connection, lane.id, after_turn=0, limit=10_000
                )
        return lines

    def _check_transcript(self, rows: Mapping[int, Row[Any]], lines: Sequence[Line]) -> None:
        """Each message that was answered, or may have been, stands there once, in its last wording."""
        said = [int(number) for line in lines if line.role == "user" for number in WORD.findall(line.text)]
        assert len(set(said)) == len(said), f"said twice in the transcript: {sorted(said)}"
        chains: defaultdict[int, list[Letter]] = defaultdict(list)
        for letter in self.letters:
            chains[letter.number if letter.mends is None else letter.mends].append(letter)
        for chain in chains.values():
            done = [letter for letter in chain if rows[letter.inbox_id].state in (ANSWERED, UNKNOWN)]
            standing = [letter.number for letter in chain if letter.number in said]
            if chain[0].is_command or not any(rows[letter.inbox_id].turn_id for letter in done):
                assert standing == [], f"never answered, yet in the transcript: {standing}"
            else:
                assert standing == [done[-1].number], f"wording {standing} instead of {done[-1].number}"

    def _check_platform(
        self, rows: Mapping[int, Row[Any]], ended: Mapping[int, Row[Any]], lines: Sequence[Line]
    ) -> None:
        """Replies stand in the order of acceptance, whole, and for each answered message."""
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        shown: defaultdict[int, list[str]] = defaultdict(list)
        for sheet in self.paper.sheets:
            if sheet.delivery_id not in self.late:
                places[sheet.address["to"]].append(self.parts[sheet.delivery_id])
                turn, part = self.parts[sheet.delivery_id]
                if part < AFTERWORD:
                    shown[turn].append(sheet.shown)
        for order in places.values():
            assert order == sorted(order), f"replies out of order: {order}"
        taken = defaultdict(list)
        for row in rows.values():
            if row.turn_id is not None:
                taken[row.conversation_id].append(row.turn_id)
        for order_of_turns in taken.values():
            assert order_of_turns == sorted(order_of_turns), "turns out of order"
        overwritten = {self.parts[delivery_id][0] for delivery_id in self.late}
        for line in lines:
            answered = ended[line.turn_id].state == ANSWERED and line.turn_id not in overwritten
            if line.role == "assistant" and answered:
                whole = "".join(text for text in shown[line.turn_id] if text != LEFTOVER)
                assert whole == line.text, f"turn {line.turn_id} shows {whole!r}, not {line.text!r}"
        assert not [line for line in lines if ended[line.turn_id].state == DEAD]
