"""`mneme bench`: what recall finds in conversations whose answers are known."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import perf_counter

from sqlalchemy import select

from bots.bench_set import Question, Told
from bots.errands import speechless
from core.app import App, open_app
from core.delivery.turns import TurnState
from core.llm.tokens import count_tokens
from core.memory.changes import MESSAGE
from core.memory.ranking import CANDIDATES
from core.memory.recall import OVERHEAD_TOKENS, SAID
from core.messages import ConversationKind, ConversationRef, IncomingMessage, Sender
from core.privacy.audience import PRIVATE
from core.settings import Settings
from core.storage.database import database_url, upgrade
from core.storage.schema import inbox, messages

CHANNEL, WORKSPACE = "bench", "local"
RANKED = 50
DEPTH = 10
BATCH = 100
BEGIN = datetime(2026, 1, 1, 8, tzinfo=UTC)


@dataclass(slots=True)
class Findings:
    """What was found: shares of the evidence among the first ten, by category; tokens; milliseconds."""

    recall: dict[str, list[float]] = field(default_factory=dict)
    dense: dict[str, list[float]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """A table: ours beside the index alone, in the same run. "adversarial" is left out of the mean."""
        counted = [category for category in sorted(self.recall) if category != "adversarial"]
        yield f"R@{DEPTH:<28} {'recall':>8} {'index alone':>12} {'questions':>10}"
        for name, categories in [(each, [each]) for each in sorted(self.recall)] + [("all", counted)]:
            ours = [share for category in categories for share in self.recall[category]]
            theirs = [share for category in categories for share in self.dense[category]]
            yield f"{name:<30} {100 * mean(ours):>8.1f} {100 * mean(theirs):>12.1f} {len(ours):>10}"
        waits = sorted(self.milliseconds)
        yield (
            f"a question: {mean(self.tokens):.0f} tokens recalled; embedded, searched, read and packed in "
            f"{median(waits):.0f} ms, 95 of 100 within {waits[int(0.95 * (len(waits) - 1))]:.0f}"
        )


def measure(settings: Settings, told: Sequence[Told], out: Path | None) -> list[str]:
    """A table of what recall finds in the set; the rankings go to `out`. The person's own data isn't touched.

    Raises:
        Unavailable: Redis or Chroma can't be started.
    """
    with TemporaryDirectory(prefix="mneme-bench-") as folder:
        apart = settings.model_copy(
            update={
                "mneme_data_dir": Path(folder),
                "database_url": None,
                "mneme_master_key": None,
                "special_categories": "keep",
            }
        )
        rankings, findings = asyncio.run(_measure(apart, told))
    if out is not None:
        lines = (json.dumps({"question": id, "ranked": ranked}) + "\n" for id, ranked in rankings.items())
        out.write_text("".join(lines))
    return list(findings.lines())


async def _measure(settings: Settings, told: Sequence[Told]) -> tuple[dict[str, list[str]], Findings]:
    from deploy import local

    rankings: dict[str, list[str]] = {}
    findings = Findings()
    async with local.parts_for(settings, {"redis", "chroma"}) as whole:
        await asyncio.to_thread(upgrade, database_url(settings))
        async with open_app(speechless(whole)) as app:
            for number, conversation in enumerate(told, start=1):
                print(f"{conversation.id} ({number} of {len(told)}) ...", file=sys.stderr)
                user_id, names = await _tell(app, conversation)
                for question in conversation.questions:
                    rankings[question.id] = await _ask(app, user_id, names, question, findings)
    return rankings, findings


async def _tell(app: App, told: Told) -> tuple[str, dict[str, str]]:
    """Has the documents taken in and remembered as one person's messages; their ids by the messages'."""
    sittings = {session: n for n, session in enumerate(dict.fromkeys(d.session for d in told.documents))}
    letters = [
        IncomingMessage(
            channel=CHANNEL,
            workspace=WORKSPACE,
            event=f"{told.id}/{document.id}",
            sender=Sender(told.id, told.id),
            conversation=ConversationRef(told.id, ConversationKind.DIRECT, {"key": told.id}),
            text=document.text,
            sent_at=BEGIN + timedelta(days=sittings[document.session], seconds=place),
        )
        for place, document in enumerate(told.documents)
    ]
    inbox_ids = [
        accepted.inbox_id
        for start in range(0, len(letters), BATCH)
        for accepted in await app.inbox.take(letters[start : start + BATCH])
    ]
    user_id = await write_down(app, inbox_ids[0])
    async with app.database.read() as connection:
        written = await connection.execute(
            select(messages.c.id, inbox.c.id)
            .join(inbox, inbox.c.event_digest == messages.c.event_digest)
            .where(messages.c.user_id == user_id)
        )
        documents = dict(zip(inbox_ids, (document.id for document in told.documents), strict=True))
        names = {message: documents[row] for message, row in written}
    await app.indexer.flush(user_id)
    return user_id, names


async def write_down(app: App, inbox_id: int) -> str:
    """Takes all that waits in the conversation as a lane does, and writes it down unanswered."""
    async with app.database.read() as connection:
        row = (await connection.execute(select(inbox).where(inbox.c.id == inbox_id))).one()
    lease = await app.turns.lease(row.conversation_id, CHANNEL)
    assert lease is not None  # noqa: S101  # nobody else works here
    while (turn := await app.turns.take(lease)) is not None:
        async with app.database.write() as connection:
            await app.transcript.record(connection, turn, None)
            await app.turns.finish(connection, turn, TurnState.DONE, None, None)
    await app.turns.release(lease)
    return str(row.user_id)


async def _ask(
    app: App, user_id: str, names: Mapping[str, str], question: Question, findings: Findings
) -> list[str]:
    began = perf_counter()
    packed = await app.recaller.find(user_id, question.text, PRIVATE, known=())
    findings.milliseconds.append(1000 * (perf_counter() - began))
    findings.tokens.append(sum(count_tokens(each.text) + OVERHEAD_TOKENS for each in packed.memories))
    found = await app.recaller.ranked(user_id, question.text, PRIVATE, limit=RANKED)
    vector = await app.indexer.question(question.text)
    near = await app.indexer.near(user_id, vector, limit=CANDIDATES, audience=None)
    ranked = [names[each.id] for each in found if each.kind == SAID]
    dense = [names[each.id[1:]] for each in near if each.id[0] == MESSAGE]
    for ids, by_category in ((ranked, findings.recall), (dense, findings.dense)):
        share = len(question.evidence & set(ids[:DEPTH])) / max(len(question.evidence), 1)
        by_category.setdefault(question.category, []).append(share)
    return ranked
