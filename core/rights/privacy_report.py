"""What an operator owes to others in writing: data map, record of processing, impact assessment.

What follows from the code and the settings is filled in; what only the operator can say is a marked blank.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from core.destinations import destinations, leaving
from core.rights.data_map import TABLES, Columns, Kept, Place, columns, places, retention
from core.rights.document import Blank, Code, Document, Fragment, Text
from core.rights.impact_assessment import add_assessment
from core.rights.processing_record import add_record
from core.settings import Settings
from core.storage.schema import metadata

FORMAT = "mneme-privacy/1"

DOORS = {
    "invite": "lets in whom you invite or approve",
    "open": "lets everybody in",
    "closed": "lets nobody new in",
}
RIGHTS = (
    (
        "to withdraw consent",
        "7(3), 9(2)(a)",
        ("/consent",),
        "for special categories it is asked for once, apart; without it nothing of that kind is remembered",
    ),
    (
        "of access",
        "15",
        ("/memory", "/page", "/export", "mneme user show", "mneme user export"),
        "each memory is shown with the message that it came from",
    ),
    ("to rectification", "16", ("/memory edit", "/forget"), "a correction is kept with its source"),
    (
        "to erasure",
        "17",
        ("/forget", "/erase", "mneme user erase"),
        "the words go from the transcript, the index and summaries, too",
    ),
    (
        "to restriction",
        "18",
        ("/pause", "/incognito", "/memory mute"),
        "nothing new is remembered meanwhile; or a memory is kept and not used",
    ),
    ("to portability", "20", ("/export", "mneme user export"), "as JSON by a documented schema"),
    ("to object", "21", ("/pause", "/erase"), "by stopping, too: nothing is processed of who doesn't write"),
)
"""Article, commands that serve it (a person's begin with "/"), and a word on it. Those that this version
hasn't got aren't shown."""


def as_json(settings: Settings, commands: Collection[str], made_at: datetime) -> dict[str, Any]:
    """The same facts as the report's, for programs.

    Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
    """
    kept = retention(settings)
    return {
        "format": FORMAT,
        "made_at": made_at.isoformat(),
        "privacy_mode": settings.privacy_mode,
        "destinations": [
            {
                name: getattr(each, name)
                for name in ("what", "host", "setting", "gets", "is_platform", "is_here")
            }
            for each in destinations(settings)
        ],
        "places": [
            {name: getattr(each, name) for name in ("name", "where", "holds", "protection", "loss")}
            for each in places(settings)
        ],
        "tables": {name: _table(name, columns(metadata.tables[name]), kept) for name in TABLES},
        "retention": {rule.value: text for rule, text in kept.items()},
        "rights": [
            {"right": right, "article": article, "commands": [each for each in served if each in commands]}
            for right, article, served, _ in RIGHTS
        ],
    }


def _table(name: str, found: Columns, kept: dict[Kept, str]) -> dict[str, Any]:
    told = TABLES[name]
    return {
        "holds": told.holds,
        "of_people": told.of_people,
        "activity": told.activity.value,
        "kept": kept[told.kept],
        "sealed": list(found.sealed),
        "digests": list(found.digests),
        "plain": list(found.plain),
    }


def write(settings: Settings, commands: Collection[str], made_at: datetime) -> Document:
    """The whole report. `commands` are those that a person can send ("/forget") or an operator can run
    ("mneme user erase").

    Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
    """
    report = Document("Privacy report of this Mneme")
    _begin(report, settings, made_at)
    _map(report, settings)
    _rights(report, settings, commands)
    add_record(report, settings)
    add_assessment(report, settings)
    return report


def _begin(report: Document, settings: Settings, made_at: datetime) -> None:
    report.say(
        f"Made on {made_at:%Y-%m-%d %H:%M} UTC from the code and the settings of this installation. It holds "
        "nothing that anybody said. Make it anew when a setting or the version changes: ",
        Code("mneme privacy report"),
        ".",
    )
    report.say(
        "What only you can say is marked like this: ", Blank("what is meant"), ". It is no legal advice."
    )
    report.heading(2, "In short")
    mode = (
        "refuses every connection but to this machine and the listed platforms"
        if settings.privacy_mode == "local"
        else "refuses no connection"
    )
    door = DOORS[settings.access]
    report.items(
        [
            (Code(f"PRIVACY_MODE={settings.privacy_mode}"), f" {mode}: {leaving(settings)}."),
            (Code(f"ACCESS={settings.access}"), f" {door} on Telegram and Slack."),
            _face(settings),
            "What people say lies on a disk only encrypted, under a key for each person.",
            "Whoever holds the master key can read everything.",
        ]
    )


def _face(settings: Settings) -> Text:
    """Who can reach the web page."""
    inside = settings.http_host in ("127.0.0.1", "::1", "localhost")
    who = "this machine alone" if inside else "other machines, too"
    public: tuple[Fragment, ...] = (
        (", and is announced as ", Code(settings.public_url)) if settings.public_url else ()
    )
    return ("The web page listens on ", Code(settings.http_host), f", for {who}", *public, ".")


def _map(report: Document, settings: Settings) -> None:
    report.heading(2, "Data map")
    report.heading(3, "Where it lies")
    report.table(
        ("What", "Where", "Holds", "Protected by", "Lost with it"),
        [_place(each) for each in places(settings)],
    )
    report.say("Backups: ", Blank("where they are, who can read them, when they are deleted"))
    report.heading(3, "Where it goes")
    report.table(
        ("To", "Host", "Chosen by", "Gets", "This machine"),
        [
            (
                each.what,
                Code(each.host or "a file or a socket"),
                Code(each.setting),
                each.gets,
                _yes(each.is_here),
            )
            for each in destinations(settings)
        ],
    )
    report.say(
        "The name server of this machine learns the names of the hosts that aren't on it. A Telegram server "
        "of one's own passes on to Telegram. Platforms keep what is written there by their own terms, and "
        "the owners of a Slack workspace may read it."
    )
    kept = retention(settings)
    report.heading(3, "The record, table by table")
    report.say(
        "Sealed columns are encrypted; digests are keyed, so that a thing is found again but can't be read; "
        "the rest are opaque ids, times, numbers, states and names of channels."
    )
    report.table(
        ("Table", "Holds", "Sealed", "Digests", "Readable", "Kept"), [_holding(name, kept) for name in TABLES]
    )
    report.heading(3, "How long it is kept")
    report.table(("Kind", "Kept"), [(rule.value, text) for rule, text in kept.items()])


def _place(each: Place) -> tuple[Text, ...]:
    return each.name, Code(each.where), each.holds, each.protection, each.loss


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _holding(name: str, kept: dict[Kept, str]) -> tuple[Text, ...]:
    found, told = columns(metadata.tables[name]), TABLES[name]
    whose = "" if told.of_people else " (of nobody in particular)"
    return (
        Code(name),
        told.holds + whose,
        _names(found.sealed),
        _names(found.digests),
        _names(found.plain),
        kept[told.kept],
    )


def _names(found: Collection[str]) -> Text:
    return Code(", ".join(found)) if found else "none"


def _rights(report: Document, settings: Settings, commands: Collection[str]) -> None:
    report.heading(2, "Rights of people (GDPR, chapter III)")
    first = (
        "At first contact everybody is told what is kept, where it is processed, how to say no, and who "
        "needs a parent's consent (Art. 13)."
        if settings.privacy_notice
        else Blank("how people are told what is kept (Art. 13): PRIVACY_NOTICE is off")
    )
    report.say(first)
    rows: list[tuple[Text, ...]] = []
    for right, article, served, word in RIGHTS:
        there = [each for each in served if each in commands]
        theirs = [each for each in there if each.startswith("/")]
        yours = [each for each in there if each not in theirs]
        by: Text = _names(theirs) if there else Blank("how you serve this: no command does")
        rows.append((f"Right {right}", f"Art. {article}", by, _names(yours), word))
    report.table(("Right", "Article", "By themselves", "By you", "Note"), rows)
    report.say("For what a command can't do they turn to: ", Blank("an address that is read"))
