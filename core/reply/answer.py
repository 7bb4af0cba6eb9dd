"""Answering a turn: a command is run; anything else costs one lookup and one call to the model (P5)."""

import asyncio
from contextlib import aclosing, suppress
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.conversations import Conversations
from core.delivery.outbox import Outbox
from core.delivery.reply_writer import ReplyWriter
from core.delivery.screen import ACCOUNT, Screen
from core.delivery.turns import Turn, Turns, TurnState
from core.errors import (
    BudgetExhausted,
    DeliveryError,
    DeliveryUnknown,
    MnemeError,
    ModelError,
    ModelRefused,
    ModelUnavailable,
)
from core.llm.budget import Budget, Level
from core.llm.model import LanguageModel
from core.memory.asserted import asks_to_remember
from core.memory.claims import Memories
from core.memory.forgetting import Forgetting
from core.memory.indexing import Indexer
from core.memory.jobs import JobQueue
from core.memory.notes import Notes
from core.memory.summary import Summaries
from core.memory.transcript import Transcript
from core.privacy.vault import Vault
from core.reply.account_commands import AccountCommands
from core.reply.addresses import addresses_in
from core.reply.commands import Command, Commands, is_command
from core.reply.context import Briefing, Context, Course
from core.reply.discretion import Discretion
from core.reply.draft import Draft
from core.reply.first_contact import FirstContact
from core.reply.metrics import KEPT_OUT, LANE_WAIT_SECONDS, MESSAGES, REPLY_SECONDS
from core.reply.switch_commands import CONSENT_QUESTION, MARKS
from core.rights.consent import Consent
from core.rights.switches import Mode, Switches
from core.storage.database import Database
from core.users.people import People, User

RESTING = "_My memory is resting at the moment, so I answered without it._"
BUDGET_NEWS = {
    Level.NEARLY: "_I have nearly used up what I may spend today. At midnight UTC I have a new day's worth._",
    Level.WHOLLY: "_I have used up what I may spend today. Until midnight UTC a simpler model helps me out._",
}
NO_BUDGET = (
    "I have used up what I may spend today, so I can't answer this now. I go on at midnight UTC, in {wait}. "
    "Commands such as `/memory` still work."
)
NOTED = "_Noted: “{}”. `/undo` takes it back._"
NOT_NOTED = "_What others wrote I don't remember as yours. Tell me in your own words, and I will._"
NOT_KEPT = "_I don't note that: nothing is kept of what you say now._"
NO_MODEL = "I can't reach my language model right now. Please write to me again in a little while."
BROKEN_MODEL = "My language model doesn't accept what I send it. Whoever runs me finds the reason in my log."
UNSURE = "I can't tell whether my answer to this reached you. If it is missing or cut off, please ask again."
BROKEN = "Something went wrong on my side, and I couldn't answer this. Please try again."

BELOW = "\n\n———\n\n"
"""What stands below is told beside the answer, and isn't part of the talk."""

log = structlog.get_logger()


class Answerer:
    """Makes and delivers replies; the lanes' handler."""

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        people: People,
        turns: Turns,
        outbox: Outbox,
        screen: Screen,
        context: Context,
        conversations: Conversations,
        transcript: Transcript,
        summaries: Summaries,
        memories: Memories,
        notes: Notes,
        forgetting: Forgetting,
        account_commands: AccountCommands,
        indexer: Indexer,
        jobs: JobQueue,
        commands: Commands,
        model: LanguageModel,
        budget: Budget,
        switches: Switches,
        discretion: Discretion,
        consent: Consent,
        first_contact: FirstContact,
        clock: Clock,
        reply_tokens: int,
        fold_messages: int,
    ) -> None:
        self._database = database
        self._vault = vault
        self._people = people
        self._turns = turns
        self._outbox = outbox
        self._screen = screen
        self._context = context
        self._conversations = conversations
        self._transcript = transcript
        self._summaries = summaries
        self._memories = memories
        self._noting = notes
        self._forgetting = forgetting
        self._account_commands = account_commands
        self._indexer = indexer
        self._jobs = jobs
        self._commands = commands
        self._model = model
        self._budget = budget
        self._switches = switches
        self._discretion = discretion
        self._consent = consent
        self._first_contact = first_contact
        self._clock = clock
        self._reply_tokens = reply_tokens
        self._fold_messages = fold_messages

    async def answer(self, turn: Turn) -> None:
        """Answers the turn and commits it: transcript, outbox, index queue and jobs in one transaction."""
        user, mode = await self._who(turn)
        if turn.messages[0].edits is not None and await self._revise(turn, mode):
            return
        began = self._clock.monotonic()
        course = Course(self._clock)
        for message in turn.messages:
            LANE_WAIT_SECONDS.observe(max(0.0, (self._clock.now() - message.received_at).total_seconds()))
        writer = await ReplyWriter.begin(self._outbox, turn)
        is_spoken = self._is_spoken(turn, user)
        text = await self._turns.composed(turn)
        if text is None and is_spoken:
            text = await self._compose(turn, writer, course, mode)
        elif text is None:
            text, turn = await self._say_without_model(turn, user, mode)
            writer = await ReplyWriter.begin(self._outbox, turn)
        delivering = self._clock.monotonic()
        await writer.finish(text)
        course.measure("deliver", delivering)
        course.measure("total", began)
        await self._commit(turn, text if is_spoken else None, course, mode)
        REPLY_SECONDS.labels(turn.conversation.channel).observe(self._clock.monotonic() - began)
        await self._ended(turn, "answered")
        await self._index(turn, wholly=not is_spoken)  # a command may have forgotten much

    async def give_up(self, turn: Turn, error: Exception) -> None:
        """Ends the turn as dead, and says so in one honest line; as unknown, where its reply may stand."""
        with suppress(DeliveryError):
            await self._tell(turn, error)
        (user, mode), composed = await self._who(turn), await self._turns.composed(turn)
        kept = mode.keeps or not self._is_spoken(turn, user)
        async with self._database.write() as connection:
            is_unknown = await self._outbox.close(connection, turn)
            state = TurnState.UNKNOWN if is_unknown else TurnState.DEAD
            await self._turns.finish(connection, turn, state, None, type(error).__name__, kept=kept)
            if is_unknown and self._is_spoken(turn, user):
                await self._keep(connection, turn, composed, mode)
        log.warning("turn_given_up", turn=turn.id, state=state, reason=type(error).__name__)
        await self._ended(turn, state)
        await self._index(turn)

    async def _tell(self, turn: Turn, error: Exception) -> None:
        """Puts the line in the reply's place or, where nobody knows whether that arrived, behind it."""
        if not isinstance(error, DeliveryUnknown):
            with suppress(DeliveryUnknown):
                writer = await ReplyWriter.begin(self._outbox, turn)
                return await writer.finish(_honest_line(error))
        return await ReplyWriter(self._outbox, turn).add(UNSURE)

    async def _ended(self, turn: Turn, outcome: str) -> None:
        MESSAGES.labels(turn.conversation.channel, outcome).inc(len(turn.messages))
        await self._screen.ended(turn.id)

    @staticmethod
    def _is_spoken(turn: Turn, user: User) -> bool:
        """Whether the turn is talk, to be answered by the model and remembered."""
        return user.admitted and not is_command(turn.text) and turn.messages[0].declined is None

    async def _say_without_model(self, turn: Turn, user: User, mode: Mode) -> tuple[str, Turn]:
        """What the door, a refusal or a command says; stored, so that a command isn't run twice.

        The turn may go on as somebody else's: who has themselves erased is nobody any more.
        """
        command = Command.read(turn.text)
        done = await self._account_commands.run(turn, user, command.name, command.rest)
        if done is not None:
            after, text = done
            if after is not turn:
                return text, after
        elif not user.admitted:
            text = await self._commands.at_the_door(turn, user)
        else:
            text = turn.messages[0].declined or await self._commands.run(turn, user, mode)
        async with self._database.write() as connection:
            asides = await self._first_contact.told(connection, turn)
            text += "".join(BELOW + aside for aside in asides)
            await self._turns.compose(connection, turn, text)
        return text, turn

    async def _who(self, turn: Turn) -> tuple[User, Mode]:
        """Who speaks, and what becomes of what they say."""
        async with self._database.read() as connection:
            user = await self._people.get(connection, turn.user_id)
            if user is None:
                raise LookupError("the turn's user is gone")
            return user, await self._switches.mode(connection, turn)

    async def _revise(self, turn: Turn, mode: Mode) -> bool:
        """Carries an edit over into the transcript; what was answered isn't answered again."""
        message = turn.messages[0]
        async with self._database.write() as connection:
            known = await self._forgetting.revise(
                connection, turn.user_id, message.edits or "", message.text, kept=mode.keeps
            )
            if known:
                await self._turns.finish(connection, turn, TurnState.DONE, None, None)
                await self._jobs.schedule_extraction(connection, turn.conversation.id)
        if known:
            await self._ended(turn, "edited")
            await self._index(turn)
        return known

    async def _compose(self, turn: Turn, writer: ReplyWriter, course: Course, mode: Mode) -> str:
        """Recalls, prompts and streams; the whole reply is stored and from then on never made again."""
        showing = [asyncio.create_task(writer.think()), asyncio.create_task(writer.stream())]
        try:
            text, is_answer = await self._speak(turn, writer, course, mode), True
        except BudgetExhausted as error:
            is_answer = False
            text = NO_BUDGET.format(wait=_in_words(error.until - self._clock.now()))
        finally:
            for task in showing:
                task.cancel()
            await asyncio.gather(*showing, return_exceptions=True)
        async with self._database.write() as connection:
            if is_answer:
                # The lane before what is noted of its person, as whoever forgets them: or both wait for ever.
                await self._turns.fence(connection, turn.lease)
                text = "\n\n".join([text, *await self._notes(connection, turn, course, mode)])
            text += "".join(BELOW + aside for aside in await self._asides(connection, turn, mode))
            if not mode.keeps:
                text = f"{text}\n\n{MARKS[mode]}"
            await self._turns.compose(connection, turn, text)
        return text

    async def _asides(self, connection: AsyncConnection, turn: Turn, mode: Mode) -> list[str]:
        """What is told apart from the answer, once to each person."""
        asides = await self._first_contact.told(connection, turn)
        if mode.keeps and await self._consent.is_to_be_asked(connection, turn):
            asides.append(CONSENT_QUESTION)
        return asides

    async def _notes(self, connection: AsyncConnection, turn: Turn, course: Course, mode: Mode) -> list[str]:
        """What is told beside the answer, each once: that memory rests, that the budget runs out."""
        texts = [m.text for m in turn.messages]
        may_keep = [await self._transcript.may_keep(connection, turn.user_id, text) for text in texts]
        asked = self._noting.asked([text for text, may in zip(texts, may_keep, strict=True) if may])
        notes = [NOTED.format(fact) for fact in asked] if mode.keeps else [NOT_KEPT] * bool(asked)
        if not notes and asks_to_remember(turn.text) and any(m.enclosures for m in turn.messages):
            notes.append(NOT_NOTED)
        resting = course.recall.resting
        if resting != turn.conversation.told_of_resting:
            await self._conversations.note_resting(connection, turn.conversation.id, told=resting)
            notes += [RESTING] if resting else []
        notes += await self._commands.news(connection, turn)
        notes += await self._account_commands.news(connection, turn)
        level = await self._budget.news(connection, turn.user_id)
        if level is not None:
            notes.append(BUDGET_NEWS[level])
        return notes

    async def _speak(self, turn: Turn, writer: ReplyWriter, course: Course, mode: Mode) -> str:
        briefing = await self._context.gather(turn, course, mode)
        draft = self._draft(briefing)
        began = self._clock.monotonic()
        is_begun = False
        stream = self._model.stream(briefing.prompt, max_tokens=self._reply_tokens, payer=turn.user_id)
        async with aclosing(stream):
            async for piece in stream:
                if not is_begun:
                    course.measure("first_word", began)
                is_begun = True
                draft.add(piece)
                writer.show(draft.so_far)
        course.measure("model", began)
        text = await draft.whole()
        if not text:
            raise ModelUnavailable("the model gave an empty answer")
        if draft.is_held_back:
            KEPT_OUT.labels("reply").inc()
            log.warning("reply_held_back", turn=turn.id)
        return text

    def _draft(self, briefing: Briefing) -> Draft:
        company, given = briefing.company, addresses_in(briefing.own_words)
        if company is None:
            return Draft(given)
        return Draft(given, lambda text: self._discretion.is_betrayed(text, company))

    async def _commit(self, turn: Turn, spoken: str | None, course: Course, mode: Mode) -> None:
        kept = mode.keeps or spoken is None
        async with self._database.write() as connection:
            box = await self._vault.box(connection, turn.user_id)
            account = box.seal_json(course.account(), ACCOUNT)
            await self._turns.finish(connection, turn, TurnState.DONE, account, None, kept=kept)
            await self._outbox.close(connection, turn)
            if spoken is not None:
                await self._keep(connection, turn, spoken, mode)
            if spoken is not None and kept:
                used = {id for recalled in course.recall.memories for id in recalled.rests_on}
                await self._memories.note_use(connection, turn.user_id, used)

    async def _keep(self, connection: AsyncConnection, turn: Turn, reply: str | None, mode: Mode) -> None:
        """Writes the turn into the transcript, for later turns and the memory's jobs."""
        spoken = reply and reply.removesuffix(f"\n\n{MARKS.get(mode, '')}").split(BELOW)[0]
        written = await self._transcript.record(connection, turn, spoken, kept=mode.keeps)
        if not mode.keeps:
            return
        lines = [
            line for line in written if await self._transcript.may_keep(connection, turn.user_id, line.text)
        ]
        await self._noting.keep(connection, turn.user_id, lines)
        await self._jobs.schedule_extraction(connection, turn.conversation.id)
        await self._fold_if_long(connection, turn)

    async def _fold_if_long(self, connection: AsyncConnection, turn: Turn) -> None:
        _, after = await self._summaries.read(connection, turn.conversation.id)
        window = await self._transcript.count(connection, turn.conversation.id, after_turn=after)
        if window > self._fold_messages:
            await self._jobs.schedule_fold(connection, turn.conversation.id)

    async def _index(self, turn: Turn, *, wholly: bool = False) -> None:
        """Tells the index at once what was just said or forgotten; if that fails, a worker does it later."""
        try:
            await (self._indexer.flush if wholly else self._indexer.flush_few)(turn.user_id)
        except MnemeError as error:
            log.warning("index_behind", turn=turn.id, reason=type(error).__name__)


def _honest_line(error: Exception) -> str:
    if isinstance(error, ModelRefused):
        return BROKEN_MODEL
    if isinstance(error, ModelError | ModelUnavailable):
        return NO_MODEL
    return BROKEN


def _in_words(wait: timedelta) -> str:
    """How long that is, in full hours or, less than one, in minutes."""
    minutes = max(1, round(wait.total_seconds() / 60))
    if minutes < 60:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    hours = round(minutes / 60)
    return f"about {hours} hour{'s' if hours > 1 else ''}"
