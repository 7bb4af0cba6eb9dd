"""The record's tables. Columns whose names end in `_sealed` hold encrypted bytes, `_digest` keyed digests.

What a person said, their name and their address on a platform stand here only sealed; what has to be
found again without the key (an account, an event) stands as a keyed digest.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime can't be stored")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value


def _serial() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _table(name: str, *parts: Any) -> Table:
    # AUTOINCREMENT: the number of a deleted row must never come back as another row's.
    return Table(name, metadata, *parts, sqlite_autoincrement=any(_is_serial(part) for part in parts))


def _is_serial(part: Any) -> bool:
    return isinstance(part, Column) and part.primary_key and isinstance(part.type, Integer)


def _unique_while(condition: str, name: str, *columns: str) -> Index:
    """No two rows for which the condition holds may be alike in these columns."""
    where = text(condition)
    return Index(name, *columns, unique=True, sqlite_where=where, postgresql_where=where)


users = _table(
    "users",
    Column("id", String(32), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("admitted_at", UtcDateTime),
    Column("admitted_by", String(16)),
    Column("blocked_at", UtcDateTime),
    Column("told_on", Date),
    Column("memory_revision", Integer, nullable=False, server_default=text("0")),
    Column("index_place", String(16), nullable=False, server_default="shared"),
    Column("paused_at", UtcDateTime),
    Column("resumed_at", UtcDateTime),
    Column("informed_at", UtcDateTime),
    Column("special_consent", Boolean),
    Column("special_asked_in", Integer),
)
"""`memory_revision` grows when something is taken back, so that no process goes on with what it has read.
`index_place`: where the index has their entries. Paused at `paused_at`, no longer since `resumed_at`.
`admitted_by`: what let them in, null before that was noted. `told_on`: the last day (UTC) on which somebody
blocked, or a stranger in a group, was told that they aren't let in.
`informed_at`: when they were told what is kept. `special_consent`: their answer to the question of the turn
`special_asked_in`, whether what special categories of data tell of them is remembered."""

keys = _table(
    "keys",
    Column("owner", String(32), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)
"""A data key per user, and per group conversation, wrapped by the master key."""

identities = _table(
    "identities",
    _serial(),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("channel", String(32), nullable=False),
    Column("workspace", String(64), nullable=False),
    Column("account_digest", String(64), nullable=False),
    Column("name_sealed", LargeBinary, nullable=False),
    UniqueConstraint("channel", "workspace", "account_digest"),
)

conversations = _table(
    "conversations",
    Column("id", String(32), primary_key=True),
    Column("channel", String(32), nullable=False),
    Column("workspace", String(64), nullable=False),
    Column("ref_digest", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("owner", ForeignKey("keys.owner", ondelete="CASCADE"), nullable=False, index=True),
    Column("address_sealed", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # The lane: who works on it, fenced by a number that only grows; times are the database's own seconds.
    Column("lease_token", Integer, nullable=False, server_default=text("0")),
    Column("lease_holder", String(64)),
    Column("lease_until", Float),
    # What a prompt takes from it: turns after `window_from`, and a summary of those up to `summary_through`.
    Column("window_from", Integer, nullable=False, server_default=text("0")),
    Column("summary_sealed", LargeBinary),
    Column("summary_through", Integer, nullable=False, server_default=text("0")),
    Column("extracted_through", Integer, nullable=False, server_default=text("0")),
    Column("told_of_resting", Boolean, nullable=False, server_default=false()),
    Column("incognito_at", UtcDateTime),
    Column("door_shown_on", Date),
    UniqueConstraint("channel", "workspace", "ref_digest"),
)
"""`door_shown_on`: the last day (UTC) on which a stranger was told in this group how to be let in."""

turns = _table(
    "turns",
    _serial(),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("reply_sealed", LargeBinary),
    Column("account_sealed", LargeBinary),
    Column("kept", Boolean, nullable=False, server_default=true()),
    Index("ix_turns_unkept", "user_id", sqlite_where=text("kept = 0"), postgresql_where=text("NOT kept")),
)
"""`reply_sealed`: the reply once composed. `account_sealed`: JSON, what was recalled, how long it took. One
that isn't `kept` is destroyed, with all that was said in it, once its conversation rests."""

inbox = _table(
    "inbox",
    _serial(),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("channel", String(32), nullable=False),
    Column("workspace", String(64), nullable=False),
    Column("event_digest", String(64), nullable=False),
    Column("payload_sealed", LargeBinary),
    Column("received_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("not_before", Float, nullable=False, server_default=text("0")),
    Column("turn_id", ForeignKey("turns.id", ondelete="SET NULL"), index=True),
    Column("reason", String(64)),
    UniqueConstraint("channel", "workspace", "event_digest"),
    Index("ix_inbox_lane", "conversation_id", "state", "id"),
    Index("ix_inbox_state", "state", "not_before"),
)

messages = _table(
    "messages",
    Column("id", String(32), primary_key=True),
    Column("turn_id", ForeignKey("turns.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("text_sealed", LargeBinary, nullable=False),
    Column("said_at", UtcDateTime, nullable=False),
    Column("utc_offset", Integer, nullable=False, server_default=text("0")),
    Column("event_digest", String(64), index=True),
    Column("audience", String(32), nullable=False),
    Column("remembered", Boolean, nullable=False),
    Index("ix_messages_user", "user_id", "id"),
)
"""`audience`: "private", or the group conversation whose members read it. `remembered`: is indexed.
`utc_offset`: in minutes, of where it was said, so that "last Friday" has a date."""

deliveries = _table(
    "deliveries",
    _serial(),
    Column("turn_id", ForeignKey("turns.id", ondelete="CASCADE"), nullable=False),
    Column("part", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("platform_id", String(128)),
    Column("shown_sealed", LargeBinary),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("reason", String(64)),
    UniqueConstraint("turn_id", "part"),
)
"""`shown_sealed`: what the web chat and the terminal show while a reply is being written."""

memories = _table(
    "memories",
    Column("id", String(32), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("audience", String(32), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text_sealed", LargeBinary, nullable=False),
    Column("subject_sealed", LargeBinary),
    Column("claim_digest", String(64), nullable=False),
    Column("valid_from", UtcDateTime, nullable=False),
    Column("valid_until", UtcDateTime),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Column("replaced_by", ForeignKey("memories.id", ondelete="SET NULL"), index=True),
    Column("salience", Float, nullable=False, server_default=text("0.5")),
    Column("uses", Integer, nullable=False, server_default=text("0")),
    Column("used_at", UtcDateTime),
    Column("derivation", String(16)),
    Column("made_in", ForeignKey("consolidations.id", ondelete="SET NULL"), index=True),
    Column("retired_in", ForeignKey("consolidations.id", ondelete="SET NULL"), index=True),
    Column("is_correction", Boolean, nullable=False, server_default=false()),
    Column("pinned_at", UtcDateTime),
    Column("muted_at", UtcDateTime),
    _unique_while("retired_at IS NULL", "uq_memories_held", "user_id", "audience", "claim_digest"),
    Index("ix_memories_user", "user_id", "id"),
)
"""`subject_sealed`: whom it is about, null for the person. Nothing is overwritten: what changed is retired,
and `replaced_by` names the memory that came in its place. `uses`: how often it was recalled for a reply.
`derivation`: how a consolidation made it, null for what the person said; `made_in` and `retired_in` say
which one did. `is_correction`: the person put it in another's place themselves. `pinned_at`: since when it is
to be in every prompt; `muted_at`: in none."""

consolidations = _table(
    "consolidations",
    _serial(),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("undone_at", UtcDateTime),
)

declined = _table(
    "declined",
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("claim_digest", String(64), primary_key=True),
)
"""What a consolidation made and somebody took back: it isn't made again."""

sources = _table(
    "sources",
    Column("memory_id", ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
    Column("message_id", ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("span_start", Integer, primary_key=True),
    Column("span_end", Integer, nullable=False),
    Column("certainty", Float, nullable=False),
)
"""Which characters of which message a memory rests on, and how surely they say it (0 to 1)."""

openings = _table(
    "openings",
    Column("memory_id", ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
    Column("opened_at", UtcDateTime, nullable=False),
)
"""Groups that their person lets know a memory."""

index_changes = _table(
    "index_changes",
    Column("entry_id", String(33), primary_key=True),
    Column("user_id", String(32), nullable=False, index=True),
    Column("stamp", String(32), nullable=False),
)
"""What Chroma has yet to hear of: the entry is put there if it still stands in the record, else removed."""

jobs = _table(
    "jobs",
    _serial(),
    Column("kind", String(16), nullable=False),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), index=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("not_before", Float, nullable=False),
    Column("lease_until", Float),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("reason", String(64)),
    _unique_while("state = 'waiting'", "uq_jobs_waiting", "kind", "conversation_id"),
    _unique_while("state = 'waiting'", "uq_jobs_waiting_user", "kind", "user_id"),
    Index("ix_jobs_state", "state", "not_before"),
)
"""What a job is about is a conversation or, for a consolidation, a user."""

spendings = _table(
    "spendings",
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
    Column("level", Integer, nullable=False, server_default=text("0")),
    Column("told", Integer, nullable=False, server_default=text("0")),
)
"""A person's tokens of a day (UTC): spent, or set aside for a call. `level`, `told`: how far the budget
was used, and how far the person knows, in percent."""

day_totals = _table(
    "day_totals",
    Column("day", Date, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)
"""Everybody's tokens of a day, with those of nobody in particular."""

sign_ins = _table(
    "sign_ins",
    Column("token_digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""The web pages' one-time links (kinds "link", and "page" to one's memory), deleted by use; their sessions
("session", and "app" in a platform's window); and what proved that such a window was opened ("spent")."""

audit = _table(
    "audit",
    _serial(),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(32)),
    Column("deed", String(32), nullable=False),
    Column("user_id", String(32), index=True),
    Column("detail", String(64)),
)
"""What was done to whose access or data. Ids of users are no foreign keys: a row outlives whom it is about.
`actor`: the user who did it, null for the operator on the command line."""

erasures = _table(
    "erasures",
    Column("id", String(32), primary_key=True),
    Column("user_id", String(32), nullable=False),
    Column("erased_at", UtcDateTime, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("bearer_id", String(32)),
    Column("index_cleared", Boolean, nullable=False, server_default=false()),
)
"""Receipts of who was erased, under a number that nothing else has any more; see core/rights/erasure.py.
`bearer_id`: the user under whom the receipt is being delivered. `index_cleared`: their vectors are gone."""

doors = _table(
    "doors",
    Column("channel", String(32), primary_key=True),
    Column("workspace", String(64), primary_key=True),
    Column("mode", String(16)),
    Column("owner_id", ForeignKey("users.id", ondelete="SET NULL"), index=True),
    Column("claimed_at", UtcDateTime),
)
"""Where people come in. A workspace of "" stands for a whole channel, and has no owner. `mode`: who is let
in, null: as the channel says, or else the settings. `owner_id`: who claimed it, null: nobody (any more)."""

invites = _table(
    "invites",
    _serial(),
    Column("code_digest", String(64), nullable=False, unique=True),
    Column("made_by", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("channel", String(32)),
    Column("workspace", String(64)),
    Column("uses_left", Integer, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""`made_by`: null for the operator. A null `channel` or `workspace` means any."""

admission_requests = _table(
    "admission_requests",
    _serial(),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("channel", String(32), nullable=False),
    Column("workspace", String(64), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("told", Boolean, nullable=False, server_default=false()),
)
"""Who asks to be let in, once a person. `told`: while it waits, that the owners know of it; once it was
approved, that the person does."""

wrong_codes = _table(
    "wrong_codes",
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("count", Integer, nullable=False),
)
"""How many codes that open nothing somebody has tried since then."""

link_codes = _table(
    "link_codes",
    Column("code_digest", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""Codes by which another account proves that it is the same person's; deleted by use."""

link_news = _table(
    "link_news",
    _serial(),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("told_on", String(32), nullable=False),
    Column("deed", String(16), nullable=False),
    Column("channel", String(32), nullable=False),
)
"""What a person is to be told on a channel, once: an account on another was linked, or unlinked."""
