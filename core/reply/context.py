"""What a reply is made from: the card, the window, the summary and what is recalled, as a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.turns import Turn
from core.llm.model import ChatMessage
from core.memory.claims import Memories
from core.memory.origins import origins_of
from core.memory.recall import SAID, Recall, Recalled, Recaller
from core.memory.summary import Summaries
from core.memory.transcript import Line, Transcript
from core.messages import ConversationKind
from core.privacy.audience import PRIVATE, visible_to
from core.reply.discretion import Company
from core.reply.metrics import KEPT_OUT
from core.reply.prompt import Ask, compose
from core.reply.wall import Gathered, within
from core.rights.switches import Mode
from core.storage.database import Database
from core.users.people import People

WINDOW_MESSAGES = 60
CARD_ROWS = 8
NAME_CHARS = 64

NOTICES = {
    Mode.PAUSED: " Nothing of what the person says now will be remembered, as they wish; don't promise to.",
    Mode.INCOGNITO: " This conversation is incognito, as the person wishes: you know nothing about them but "
    "what stands in it, and nothing of it will be remembered; don't promise to.",
}

log = structlog.get_logger()


@dataclass(slots=True)
class Course:
    """How a reply comes about, for those who ask: what was recalled, and milliseconds by stage."""

    clock: Clock
    recall: Recall = field(default_factory=Recall)
    timings: dict[str, float] = field(default_factory=dict)

    def measure(self, stage: str, since: float) -> None:
        self.timings[stage] = round((self.clock.monotonic() - since) * 1000, 1)

    def account(self) -> dict[str, object]:
        """As JSON."""
        return {
            "memories": [
                {
                    **_scored(recalled),
                    "text": recalled.text,
                    "until": recalled.until and recalled.until.isoformat(),
                    "source": {
                        "message": recalled.source.message_id,
                        "quote": recalled.source.quote,
                        "said_at": recalled.source.said_at.isoformat(),
                    },
                }
                for recalled in self.recall.memories
            ],
            "left_out": [{**_scored(left.recalled), "reason": left.reason} for left in self.recall.left_out],
            "timings": self.timings,
        }


def _scored(recalled: Recalled) -> dict[str, object]:
    signals = {name: value and round(value, 4) for name, value in recalled.signals.items()}
    return {"id": recalled.id, "kind": recalled.kind, "score": round(recalled.score, 4), "signals": signals}


@dataclass(frozen=True, slots=True)
class Briefing:
    """What the model is told, and what its reply is judged by.

    `own_words`: the person's, in the prompt. `company`: before whom the reply is given, None in private.
    """

    prompt: list[ChatMessage]
    own_words: Sequence[str]
    company: Company | None


class Context:
    """Gathers a turn's prompt."""

    def __init__(
        self,
        database: Database,
        people: People,
        transcript: Transcript,
        summaries: Summaries,
        memories: Memories,
        recaller: Recaller,
        *,
        prompt_tokens: int,
        examples: Sequence[ChatMessage],
    ) -> None:
        self._database = database
        self._people = people
        self._transcript = transcript
        self._summaries = summaries
        self._memories = memories
        self._recaller = recaller
        self._prompt_tokens = prompt_tokens
        self._examples = examples

    async def gather(self, turn: Turn, course: Course, mode: Mode) -> Briefing:
        """The briefing for the turn; notes in `course` what was recalled and how long that took."""
        look_up = self._said_incognito if mode is Mode.INCOGNITO else self._known
        gathered, names = await look_up(turn, course)
        course.recall = gathered.recall
        enclosures = tuple(enclosure for message in turn.messages for enclosure in message.enclosures)
        prompt = compose(
            Ask(turn.text, enclosures, speaker=names.get(turn.user_id, "")),
            card=gathered.card,
            summary=gathered.summary,
            window=gathered.window,
            recall=gathered.recall,
            names=names,
            budget=self._prompt_tokens,
            today=turn.messages[-1].sent_at.date(),
            examples=self._examples,
            notice=NOTICES.get(mode, ""),
        )
        known = [row.text for row in gathered.card] + [each.text for each in gathered.recall.memories]
        own = [turn.text, *_own(gathered.window, turn.user_id), *known]
        return Briefing(prompt, own, _company(turn, gathered))

    async def _known(self, turn: Turn, course: Course) -> tuple[Gathered, dict[str, str]]:
        """All that bears on the turn and belongs before its audience, and who speaks in its window."""
        began = course.clock.monotonic()
        async with self._database.read() as connection:
            summary, after = await self._summaries.read(connection, turn.conversation.id)
            window = await self._transcript.of_conversation(
                connection,
                turn.conversation.id,
                after_turn=after,
                limit=WINDOW_MESSAGES,
                unkept_of=turn.user_id,
            )
            names = await self._names(connection, turn, window)
            shown = visible_to(turn.conversation.audience)
            card = await self._memories.card(connection, turn.user_id, audience=shown, limit=CARD_ROWS)
        course.measure("window", began)
        began = course.clock.monotonic()
        own = _own(window, turn.user_id)
        recall = await self._recaller.find(
            turn.user_id,
            turn.text,
            turn.conversation.audience,
            known={line.id for line in window},
            before=own[-1] if own else "",
            now=turn.messages[-1].sent_at,
        )
        gathered = await self._within(turn, Gathered(summary, window, card, recall))
        course.measure("recall", began)
        return gathered, names

    async def _said_incognito(self, turn: Turn, course: Course) -> tuple[Gathered, dict[str, str]]:
        """What was said in the conversation since it is incognito, and nothing else."""
        began = course.clock.monotonic()
        async with self._database.read() as connection:
            window = await self._transcript.of_conversation(
                connection,
                turn.conversation.id,
                after_turn=0,
                limit=WINDOW_MESSAGES,
                kept=False,
                unkept_of=turn.user_id,
            )
        course.measure("window", began)
        return Gathered("", window, [], Recall()), {}

    async def _within(self, turn: Turn, gathered: Gathered) -> Gathered:
        """What of it belongs before the turn's audience, by the record as it stands now."""
        recalled = gathered.recall.memories
        cited = [row.id for row in gathered.card] + [each.id for each in recalled if each.kind != SAID]
        said = [each.id for each in recalled if each.kind == SAID]
        origins = await self._database.look(
            lambda connection: origins_of(connection, memory_ids=cited, message_ids=said)
        )
        gathered, kept_out = within(gathered, turn.user_id, turn.conversation, origins)
        for part in {each.part for each in kept_out}:
            ids = [each.id for each in kept_out if each.part == part]
            KEPT_OUT.labels(part).inc(len(ids))
            log.warning("kept_out_of_the_prompt", turn=turn.id, part=part, ids=ids)
        return gathered

    async def _names(self, connection: AsyncConnection, turn: Turn, window: list[Line]) -> dict[str, str]:
        if turn.conversation.kind is ConversationKind.DIRECT:
            return {}
        writers = {turn.user_id, *(line.user_id for line in window if line.role == "user")}
        # A name is one short line, whatever its owner wrote there: it must not look like speech.
        return {
            writer: " ".join((await self._people.name(connection, writer)).split())[:NAME_CHARS]
            for writer in writers
        }


def _own(window: Sequence[Line], user_id: str) -> list[str]:
    """What the user said there."""
    return [line.text for line in window if line.role == "user" and line.user_id == user_id]


def _company(turn: Turn, gathered: Gathered) -> Company | None:
    if turn.conversation.audience == PRIVATE:
        return None
    window = gathered.window
    # What is open to the group stands on the card.
    heard = [line.text for line in window] + [turn.text] + [row.text for row in gathered.card]
    heard += [enclosure.text for message in turn.messages for enclosure in message.enclosures]
    members = frozenset(line.user_id for line in window if line.role == "user")
    return Company(turn.conversation.audience, turn.user_id, members, heard)
