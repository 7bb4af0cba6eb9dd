"""The wiring: every part is made here, once, and handed to those that need it."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.clock import Clock, SystemClock
from core.delivery.conversations import Conversations
from core.delivery.dead_letters import DeadLetters
from core.delivery.inbox import Inbox
from core.delivery.lanes import LaneRunner
from core.delivery.outbox import Outbox
from core.delivery.outlet import Outlet
from core.delivery.screen import Screen
from core.delivery.turns import Turns
from core.errors import ConfigurationError
from core.llm.budget import build_budget
from core.llm.embedder import Embedder, build_embedder
from core.llm.metered_model import MeteredModel
from core.llm.openai_model import build_budget_model, build_model
from core.llm.tries import Tries
from core.memory.claims import Memories
from core.memory.consolidation import Consolidation
from core.memory.corrections import Corrections
from core.memory.dead_jobs import DeadJobs
from core.memory.forgetting import Forgetting
from core.memory.indexing import Indexer
from core.memory.job_runner import JobRunner
from core.memory.jobs import JobQueue
from core.memory.last_replies import LastReplies
from core.memory.lexicons import Lexicons
from core.memory.notes import Notes
from core.memory.openings import Openings
from core.memory.overview import Overview
from core.memory.recall import Recaller
from core.memory.reindexing import Reindexing
from core.memory.special import SpecialCategories
from core.memory.summary import Summaries
from core.memory.transcript import Transcript
from core.privacy.keys import MasterKey, load_master_key
from core.privacy.vault import Vault
from core.reply.account_commands import AccountCommands
from core.reply.answer import Answerer
from core.reply.commands import Commands
from core.reply.context import Context
from core.reply.discretion import Discretion
from core.reply.door_commands import DoorCommands
from core.reply.first_contact import FirstContact
from core.reply.memory_commands import MemoryCommands
from core.reply.opening_commands import OpeningCommands
from core.reply.page_link import PageLink
from core.reply.prompt import EXAMPLES
from core.reply.switch_commands import SwitchCommands
from core.rights.consent import Consent
from core.rights.erasure import Erasure
from core.rights.erasure_list import ErasureList
from core.rights.export import Export
from core.rights.importing import Importing
from core.rights.linking import Linking
from core.rights.moving import Moving
from core.rights.retention import Retention
from core.rights.roll import Roll
from core.rights.switches import Switches
from core.settings import Settings
from core.storage.bell import Bell
from core.storage.database import Database, require_newest_schema
from core.storage.index import IndexStamp, MemoryIndex
from core.storage.pacer import Pacer
from core.users.access import Access
from core.users.audit import Audit
from core.users.people import People
from core.users.sign_in import SignIn

MB = 2**20
JOB_LEASES = 4
"""A job's lease is so much longer than a lane's: nobody waits for it."""


@dataclass(frozen=True, slots=True)
class App:
    """The mind, ready to use. `outlets` is filled by whoever runs channels."""

    settings: Settings
    clock: Clock
    master: MasterKey
    database: Database
    bell: Bell
    index: MemoryIndex
    access: Access
    people: People
    sign_in: SignIn
    conversations: Conversations
    inbox: Inbox
    turns: Turns
    lanes: LaneRunner
    screen: Screen
    transcript: Transcript
    summaries: Summaries
    memories: Memories
    forgetting: Forgetting
    erasure: Erasure
    linking: Linking
    roll: Roll
    export: Export
    importing: Importing
    indexer: Indexer
    reindexing: Reindexing
    recaller: Recaller
    overview: Overview
    last_replies: LastReplies
    jobs: JobQueue
    consolidation: Consolidation
    job_runner: JobRunner
    corrections: Corrections
    openings: Openings
    switches: Switches
    consent: Consent
    retention: Retention
    dead_letters: DeadLetters
    dead_jobs: DeadJobs
    outlets: MutableMapping[str, Outlet]


def _stamp(embedder: Embedder, settings: Settings) -> Callable[[], Awaitable[IndexStamp]]:
    """Asks only when the index is used: an embedding server that is away keeps nothing from starting."""

    async def stamp() -> IndexStamp:
        return IndexStamp(embedder.name, await embedder.dimensions(), settings.index_collections)

    return stamp


@asynccontextmanager
async def open_app(settings: Settings, clock: Clock | None = None) -> AsyncIterator[App]:
    """Everything wired, on this event loop; closed at the end of the block. Starts nothing.

    Raises:
        ConfigurationError: a setting is missing or wrong; the text is the cure.
        StoreUnavailable: the database can't be reached.
    """
    if settings.redis_url is None or settings.chroma_url is None:
        raise ConfigurationError(
            "REDIS_URL and CHROMA_URL must be set here; `mneme run` starts both and sets them."
        )
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        master = load_master_key(settings)
        vault = Vault(master)
        database = Database.from_settings(settings)
        stack.push_async_callback(database.close)
        await require_newest_schema(database)
        async with database.read() as connection:
            await vault.check(connection)
        bell = Bell(settings.redis_url.get_secret_value())
        stack.push_async_callback(bell.close)
        pacer = Pacer(settings.redis_url.get_secret_value())
        stack.push_async_callback(pacer.close)
        tries = Tries.from_settings(settings, clock)
        budget = build_budget(settings, database, clock)
        plain_model = build_model(settings, tries)
        stack.push_async_callback(plain_model.aclose)
        budget_model = build_budget_model(settings, tries)
        if budget_model is not None:
            stack.push_async_callback(budget_model.aclose)
        model = MeteredModel(plain_model, budget_model, budget)
        embedder = build_embedder(settings, tries, budget)
        stack.push_async_callback(embedder.aclose)
        index = MemoryIndex(settings.chroma_url, _stamp(embedder, settings))

        people = People(vault, master, clock)
        access = Access(settings, master, people, Audit(clock), clock)
        sign_in = SignIn(database, people, master, clock)
        conversations = Conversations(vault, master, clock)
        inbox = Inbox(database, vault, master, people, conversations, access, clock)
        turns = Turns(database, vault, conversations, clock, lease_seconds=settings.lease_seconds)
        screen = Screen(database, vault, bell)
        outlets: dict[str, Outlet] = {}
        outbox = Outbox(database, turns, outlets, pacer, master, clock)

        special = SpecialCategories(asks=settings.special_categories == "ask")
        transcript = Transcript(vault, clock, special)
        summaries = Summaries(vault)
        memories = Memories(vault, master, clock)
        forgetting = Forgetting(database, vault, transcript, memories, summaries)
        at_hand_bytes = settings.at_hand_mb * MB // 2  # for the words, and for the vectors
        lexicons = Lexicons(database, vault, kept_bytes=at_hand_bytes)
        indexer = Indexer(
            database,
            index,
            embedder,
            vault,
            master,
            transcript,
            memories,
            bell,
            alone_over=settings.index_alone_over,
            at_hand_bytes=at_hand_bytes,
        )
        roll = Roll(vault)
        linking = Linking(
            database,
            vault,
            master,
            turns,
            indexer,
            roll,
            Moving(vault, memories),
            forgetting,
            Audit(clock),
            clock,
        )
        erasure = Erasure(
            database, vault, turns, forgetting, indexer, ErasureList(settings.mneme_data_dir), clock
        )
        openings = Openings(database, clock)
        recaller = Recaller(database, indexer, lexicons, transcript, memories, tokens=settings.recall_tokens)
        jobs = JobQueue(
            database,
            clock,
            idle_seconds=settings.idle_seconds,
            extract_messages=settings.extract_messages,
            consolidate_seconds=settings.consolidate_seconds,
            lease_seconds=JOB_LEASES * settings.lease_seconds,
        )
        consolidation = Consolidation(database, memories, recaller, model, clock)
        corrections = Corrections(
            database, vault, master, conversations, transcript, memories, summaries, clock
        )
        job_runner = JobRunner(
            database,
            jobs,
            model,
            transcript,
            memories,
            summaries,
            indexer,
            recaller,
            consolidation,
            corrections,
        )

        switches = Switches(database, clock)
        notes = Notes(memories)
        retention = Retention(database, forgetting, clock, settings.retention_days)
        consent = Consent(database, transcript, memories, forgetting, notes, jobs, clock)
        answerer = Answerer(
            database=database,
            vault=vault,
            people=people,
            turns=turns,
            outbox=outbox,
            screen=screen,
            context=Context(
                database,
                people,
                transcript,
                summaries,
                memories,
                recaller,
                prompt_tokens=settings.prompt_tokens,
                examples=EXAMPLES if settings.mneme_on_trial else (),
            ),
            conversations=conversations,
            transcript=transcript,
            summaries=summaries,
            memories=memories,
            notes=notes,
            forgetting=forgetting,
            account_commands=AccountCommands(linking, erasure),
            indexer=indexer,
            jobs=jobs,
            commands=Commands(
                database,
                summaries,
                DoorCommands(database, access),
                MemoryCommands(
                    database,
                    screen,
                    transcript,
                    memories,
                    forgetting,
                    recaller,
                    corrections,
                    OpeningCommands(database, openings),
                ),
                PageLink(sign_in, settings),
                SwitchCommands(switches, consent),
                switches,
                on_trial=settings.mneme_on_trial,
            ),
            model=model,
            budget=budget,
            switches=switches,
            discretion=Discretion(database, lexicons, transcript, memories),
            consent=consent,
            first_contact=FirstContact(settings, clock),
            clock=clock,
            reply_tokens=settings.reply_tokens,
            fold_messages=settings.fold_messages,
        )
        lanes = LaneRunner(
            turns,
            bell,
            answerer,
            parallel=settings.parallel_replies,
            burst_seconds=settings.burst_seconds,
            sweep_seconds=settings.sweep_seconds,
            lease_seconds=settings.lease_seconds,
        )
        yield App(
            settings=settings,
            clock=clock,
            master=master,
            database=database,
            bell=bell,
            index=index,
            access=access,
            people=people,
            sign_in=sign_in,
            conversations=conversations,
            inbox=inbox,
            turns=turns,
            lanes=lanes,
            screen=screen,
            transcript=transcript,
            summaries=summaries,
            memories=memories,
            forgetting=forgetting,
            erasure=erasure,
            linking=linking,
            roll=roll,
            export=Export(database, vault, memories, roll, clock),
            importing=Importing(database, vault, master, conversations, transcript, memories, clock),
            indexer=indexer,
            reindexing=Reindexing(database, index, indexer),
            recaller=recaller,
            overview=Overview(database, vault, transcript, memories, openings, recaller),
            last_replies=LastReplies(database, vault, transcript),
            jobs=jobs,
            consolidation=consolidation,
            job_runner=job_runner,
            corrections=corrections,
            openings=openings,
            switches=switches,
            consent=consent,
            retention=retention,
            dead_letters=DeadLetters(database, vault, clock),
            dead_jobs=DeadJobs(database, clock),
            outlets=outlets,
        )
