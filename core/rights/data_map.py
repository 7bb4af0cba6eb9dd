"""What is kept of people: where, sealed or not, how long. Every table of the schema has to be told of here.

What follows from the code (columns, seals, hosts) is read from it; here stands what code can't say, in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import Table

from core.destinations import destinations
from core.llm import budget
from core.memory import jobs
from core.privacy.keys import KEY_FILE
from core.rights.erasure_list import FILE
from core.rights.switches import REST as UNKEPT_REST
from core.settings import TRANSCRIPT, Settings
from core.storage.schema import metadata
from core.users.invites import DAYS, MOST_DAYS
from core.users.sign_in import LINK_LIFE, SESSION_LIFE


class Activity(StrEnum):
    """What people's data is processed for."""

    TALK = "Answering people"
    REMEMBER = "Remembering what they told"
    ACCESS = "Knowing who is who, and who may come in"
    RUN = "Keeping the service running"


class Kept(StrEnum):
    """A rule of how long something is kept; `retention` says it in words."""

    SAID = "What people said, and the replies"
    MEMORY = "Memories"
    UNANSWERED = "What waits to be answered, or was given up"
    JOB = "Jobs"
    BUDGET = "Tokens of a day"
    ACCOUNT = "Who somebody is"
    SIGN_IN = "Links and sessions of the web page"
    INVITE = "Invitations"
    CHANGE = "What the index has yet to hear of"
    AUDIT = "The audit"
    LINK = "Linking accounts"
    ERASURE = "The list of erasures"


FORGOTTEN = "until their person forgets them"


def retention(settings: Settings) -> dict[Kept, str]:
    """How long each kind is kept, a line each."""
    days = dict(settings.retention_days)
    words = f"{days.pop(TRANSCRIPT)} days, or while a memory cites them" if TRANSCRIPT in days else FORGOTTEN
    kinds = "".join(f"; a {kind} at most {count} days after it was said" for kind, count in days.items())
    return {
        Kept.SAID: f"the words {words}; those that are said in a pause or incognito until "
        f"{UNKEPT_REST.seconds // 60} minutes after the talk; times and states until the person is erased",
        Kept.MEMORY: f"{FORGOTTEN}; one that no longer holds is kept as history until then{kinds}",
        Kept.UNANSWERED: "its words until it is answered, or its person forgets everything, or the operator "
        "drops it; its times and states until the person is erased",
        Kept.JOB: f"{jobs.KEPT_DAYS} days once done; a failed one until the operator retries or drops it",
        Kept.BUDGET: f"{budget.KEPT_DAYS} days",
        Kept.ACCOUNT: "until the person is erased",
        Kept.SIGN_IN: f"a link {_span(LINK_LIFE)}, a session {_span(SESSION_LIFE)}; then "
        "removed with the next link that is made",
        Kept.INVITE: f"until used up, or {DAYS} to {MOST_DAYS} days; then removed with the next that is made",
        Kept.CHANGE: "until the index has heard of it: seconds, or until it is back",
        Kept.LINK: "a code until it is used, or the next one is made after its five minutes; news until told",
        Kept.ERASURE: "as long as the record, so that a backup that is put back forgets them again",
        Kept.AUDIT: "as long as the record; it outlives whom it is about, by a number that nothing else has",
    }


def _span(life: timedelta) -> str:
    return f"{life.days} days" if life.days > 1 else f"{life // timedelta(hours=1)} hours"


@dataclass(frozen=True, slots=True)
class Holding:
    """What one table holds, in words. `of_people`: whether its rows are about somebody."""

    holds: str
    activity: Activity
    kept: Kept
    of_people: bool = True


TABLES: Mapping[str, Holding] = {
    "users": Holding(
        "that somebody is there, since when, whether they were let in and by what, or blocked, paused, "
        "were told what is kept, and agreed to",
        Activity.ACCESS,
        Kept.ACCOUNT,
    ),
    "keys": Holding(
        "the key of each person and each group, wrapped by the master key; without it what it sealed is lost",
        Activity.ACCESS,
        Kept.ACCOUNT,
    ),
    "identities": Holding("a person's accounts, and the name each goes by", Activity.ACCESS, Kept.ACCOUNT),
    "conversations": Holding(
        "where people talk: kind, address at the platform, a summary of what is far back",
        Activity.TALK,
        Kept.SAID,
    ),
    "turns": Holding(
        "each burst of messages: the reply to it, what was recalled for it, how long it took",
        Activity.TALK,
        Kept.SAID,
    ),
    "inbox": Holding("what came in and waits to be answered", Activity.TALK, Kept.UNANSWERED),
    "messages": Holding(
        "the transcript: what people wrote and were answered, and when", Activity.TALK, Kept.SAID
    ),
    "deliveries": Holding(
        "each message at a platform: its number there, how far it came; what the web page shows",
        Activity.TALK,
        Kept.SAID,
    ),
    "memories": Holding(
        "what is remembered of a person: claims, whom they are about, when they held, their use",
        Activity.REMEMBER,
        Kept.MEMORY,
    ),
    "sources": Holding(
        "which characters of which message a memory rests on, and how sure they are",
        Activity.REMEMBER,
        Kept.MEMORY,
    ),
    "consolidations": Holding("when a person's memories were tidied up", Activity.REMEMBER, Kept.MEMORY),
    "declined": Holding(
        "what was concluded and taken back, so that it isn't again", Activity.REMEMBER, Kept.MEMORY
    ),
    "openings": Holding(
        "which groups a person lets know a memory, since when", Activity.REMEMBER, Kept.MEMORY
    ),
    "index_changes": Holding("which entries the index has yet to hear of", Activity.REMEMBER, Kept.CHANGE),
    "jobs": Holding("slow work on a conversation or a person: kind, attempts, times", Activity.RUN, Kept.JOB),
    "spendings": Holding("how many tokens a person has used on a day", Activity.RUN, Kept.BUDGET),
    "day_totals": Holding(
        "how many tokens all have used on a day", Activity.RUN, Kept.BUDGET, of_people=False
    ),
    "sign_ins": Holding("one-time links and sessions of the web page", Activity.ACCESS, Kept.SIGN_IN),
    "doors": Holding(
        "who owns the bot in a workspace, since when, and who is let in there", Activity.ACCESS, Kept.ACCOUNT
    ),
    "invites": Holding(
        "invitations: whose, for how many, until when; never the code", Activity.ACCESS, Kept.INVITE
    ),
    "admission_requests": Holding(
        "who asks to be let in, where, when, and what was decided", Activity.ACCESS, Kept.ACCOUNT
    ),
    "wrong_codes": Holding(
        "how many wrong codes somebody has tried, since when", Activity.ACCESS, Kept.ACCOUNT
    ),
    "link_codes": Holding(
        "codes by which an account proves that it is the same person's", Activity.ACCESS, Kept.LINK
    ),
    "link_news": Holding(
        "what a person is yet to be told of accounts that were linked or parted", Activity.ACCESS, Kept.LINK
    ),
    "erasures": Holding(
        "receipts of erasures: a number that nothing else has any more, the time, and how much went",
        Activity.RUN,
        Kept.ERASURE,
    ),
    "audit": Holding("what was done to whose access or data, when, and by whom", Activity.RUN, Kept.AUDIT),
}
"""A new table needs a line here, or the tests fail."""

WRAPPED = frozenset({"keys.wrapped"})
"""Sealed as well, by the master key itself."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's columns by what a copy of the disk, without the master key, says of them."""

    sealed: tuple[str, ...]
    """Encrypted: nothing."""
    digests: tuple[str, ...]
    """Keyed digests: that two are the same."""
    plain: tuple[str, ...]
    """Readable: opaque ids, times, numbers, states, names of channels."""


def columns(table: Table) -> Columns:
    """As the schema has them."""
    names = [column.name for column in table.columns]
    sealed = tuple(name for name in names if name.endswith("_sealed") or f"{table.name}.{name}" in WRAPPED)
    digests = tuple(name for name in names if name.endswith("_digest"))
    return Columns(sealed, digests, tuple(name for name in names if name not in (*sealed, *digests)))


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that data lies. `protection`: what keeps others from reading it there."""

    name: str
    where: str
    holds: str
    protection: str
    loss: str
    """What is lost with it."""


def places(settings: Settings) -> list[Place]:
    """Where data lies, with this configuration.

    Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
    """
    data = settings.mneme_data_dir
    hosts = {each.setting: each.host for each in destinations(settings)}
    sealed = "AES-256-GCM under a key for each person, wrapped by the master key; lookups by keyed digests"
    key = "the setting MNEME_MASTER_KEY" if settings.mneme_master_key else str(data / KEY_FILE)
    record = hosts["DATABASE_URL"] or ("this machine" if settings.database_url else str(data / "mneme.db"))
    return [
        Place("the record (SQL)", record, "all of the tables below", sealed, "everything"),
        Place(
            "the index (Chroma)",
            hosts["CHROMA_URL"] if settings.chroma_url else str(data / "chroma"),
            "an opaque id, a vector and a keyed digest for each statement and memory; no text",
            "vectors are turned by a rotation that is secret to each person",
            "nothing: it is made again from the record",
        ),
        Place(
            "the bell and the queue (Redis)",
            hosts["REDIS_URL"] if settings.redis_url else str(data / "redis"),
            "numbers of rows, and keyed digests of chats for some seconds",
            "it never gets text or names",
            "nothing: what waits is found in the record",
        ),
        Place(
            "the processes' memory",
            "this machine",
            "words and vectors of those who talk, the keys in use",
            f"never written to a disk by Mneme; at most {settings.at_hand_mb} MB a process",
            "nothing",
        ),
        Place(
            "the logs",
            str(data / "logs"),
            "events with ids, kinds of errors, hosts; nobody's words, names or accounts",
            "readable by the user that runs Mneme; those of the last two starts are kept. Where parts are "
            "started one by one, they go to standard error instead",
            "nothing",
        ),
        Place(
            "the list of erasures",
            str(data / FILE),
            "receipts, so that a backup that is put back forgets whom the record forgot",
            "readable by the user that runs Mneme; it names nobody: a number that nothing else has any more",
            "a backup that is put back brings those back who were erased after it",
        ),
        Place(
            "other files",
            str(data),
            "passwords and addresses of the parts, their process ids, the schedule, the local model; nothing "
            "of anybody's",
            "readable by the user that runs Mneme",
            "nothing: they are made again",
        ),
        Place(
            "the master key",
            key,
            "the key of all keys",
            "readable by the user that runs Mneme; keep a copy apart from the data",
            "everything: nothing sealed can be read again",
        ),
    ]


def untold() -> set[str]:
    """Tables that the map says nothing of, and names in it that are no tables."""
    return set(metadata.tables) ^ set(TABLES)
