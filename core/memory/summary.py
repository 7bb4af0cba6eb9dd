"""Folding the older part of a long conversation into a rolling summary."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.llm.model import ChatMessage, LanguageModel
from core.llm.structured import ask
from core.llm.tokens import truncate_tokens
from core.memory.page import PAGE_TOKENS
from core.memory.transcript import Line
from core.privacy.vault import Vault
from core.storage.schema import conversations, turns

SUMMARY = "conversations.summary"
MAX_TOKENS = 400
LINE_TOKENS = 200
KEPT_MESSAGES = 10
"""The newest messages stay as they are: a reply needs their words."""

_INSTRUCTIONS = """\
Summarize this conversation for the assistant that will go on with it: what the person wants, what was \
decided, what is open, names and dates that matter. At most 200 words, in the conversation's language. \
Only what is said here. Begin with what came first."""

_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary"],
    "properties": {"summary": {"type": "string", "minLength": 1}},
}


def foldable(lines: Sequence[Line]) -> list[Line]:
    """The older lines that a summary can stand for: whole turns, all but the newest messages."""
    if len(lines) <= KEPT_MESSAGES:
        return []
    first_kept = lines[-KEPT_MESSAGES].turn_id
    return [line for line in lines if line.turn_id < first_kept]


async def summarize(model: LanguageModel, earlier: str, lines: Sequence[Line], payer: str | None) -> str:
    """What the earlier summary and the lines say, in at most some 200 words.

    Raises:
        MalformedOutput: the answer was malformed twice.
        BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as the model says.
    """
    rows = [f"Summary so far: {truncate_tokens(earlier, MAX_TOKENS)}"] if earlier else []
    rows += [f"{line.role.capitalize()}: {truncate_tokens(line.text, LINE_TOKENS)}" for line in lines]
    page = truncate_tokens("\n".join(rows), PAGE_TOKENS + MAX_TOKENS)
    prompt = [ChatMessage("system", _INSTRUCTIONS), ChatMessage("user", page)]
    answer = await ask(
        model, prompt, schema=_SCHEMA, schema_name="summary", max_tokens=MAX_TOKENS, payer=payer
    )
    return str(answer["summary"]).strip()


class Summaries:
    """Reads and writes rolling summaries within the caller's transaction."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def read(self, connection: AsyncConnection, conversation_id: str) -> tuple[str, int]:
        """The summary ("" for none), and the turn that the window begins after."""
        row = (
            await connection.execute(
                select(
                    conversations.c.owner,
                    conversations.c.summary_sealed,
                    conversations.c.summary_through,
                    conversations.c.window_from,
                ).where(conversations.c.id == conversation_id)
            )
        ).one()
        after = max(row.summary_through, row.window_from)
        if row.summary_sealed is None or row.summary_through < row.window_from:
            return "", after
        box = await self._vault.box(connection, row.owner)
        return box.open(row.summary_sealed, SUMMARY), after

    async def write(
        self, connection: AsyncConnection, conversation_id: str, summary: str, *, after: int, through: int
    ) -> bool:
        """Replaces the summary, unless the window moved from `after` meanwhile; returns whether it did."""
        row = (
            await connection.execute(
                select(conversations.c.owner, conversations.c.summary_through, conversations.c.window_from)
                .where(conversations.c.id == conversation_id)
                .with_for_update(key_share=True)
            )
        ).one()
        if max(row.summary_through, row.window_from) != after:
            return False
        box = await self._vault.box(connection, row.owner)
        await connection.execute(
            update(conversations)
            .where(conversations.c.id == conversation_id)
            .values(summary_sealed=box.seal(summary, SUMMARY), summary_through=through)
        )
        return True

    async def start_afresh(self, connection: AsyncConnection, conversation_id: str, through: int) -> None:
        """Begins a new window after a turn: nothing up to it stands in a prompt again."""
        await connection.execute(
            update(conversations)
            .where(conversations.c.id == conversation_id)
            .values(window_from=through, summary_sealed=None)
        )

    async def start_all_afresh(self, connection: AsyncConnection, which: Select[str]) -> None:
        """As `start_afresh`, up to the newest turn of each conversation whose id the query finds."""
        newest = (
            select(turns.c.conversation_id, func.max(turns.c.id).label("turn_id"))
            .where(turns.c.conversation_id.in_(which))
            .group_by(turns.c.conversation_id)
            .order_by(turns.c.conversation_id)
        )
        for row in (await connection.execute(newest)).all():
            await self.start_afresh(connection, row.conversation_id, row.turn_id)
