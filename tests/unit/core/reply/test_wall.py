"""The wall around a prompt: whatever was gathered, only what its audience may know comes through."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.delivery.conversations import Conversation
from core.memory.claims import CardRow, Source
from core.memory.recall import SAID, Recall, Recalled
from core.memory.transcript import Line
from core.messages import ConversationKind
from core.privacy.audience import PRIVATE, Origin, may_read
from core.reply.wall import Gathered, KeptOut, within

DAY = datetime(2026, 11, 1, tzinfo=UTC)
DIRECT = Conversation("dm", "paper", "desk", ConversationKind.DIRECT, "ana", {})
GROUP = Conversation("team", "paper", "desk", ConversationKind.GROUP, "team", {})


def line(id: str, user: str, audience: str) -> Line:
    return Line(id, 1, user, "user", "x", DAY, audience)


def recalled(id: str, kind: str = "fact") -> Recalled:
    return Recalled(id, kind, "x", 0.9, DAY, Source("m", "x", 0, DAY), frozenset("m"))


GATHERED = Gathered(
    summary="We spoke.",
    window=(line("w1", "ana", "team"), line("w2", "ben", "team"), line("w3", "ana", PRIVATE)),
    card=[CardRow("1", "x"), CardRow("2", "x"), CardRow("3", "x")],
    recall=Recall((recalled("4"), recalled("5", SAID), recalled("6", SAID))),
)
HERE, ELSEWHERE, ALONE, BENS = (
    Origin("ana", "team"),
    Origin("ana", "club"),
    Origin("ana", PRIVATE),
    Origin("ben", PRIVATE),
)
ORIGINS = {"c1": {HERE}, "c2": {HERE, ALONE}, "c4": {HERE, BENS}, "m5": {HERE}, "m6": {ELSEWHERE}}
"""The second rests on private words, the third is forgotten; what "4" rests on isn't all of one person."""


@pytest.mark.parametrize(
    ("origin", "alone", "in_team"),
    [(HERE, True, True), (ELSEWHERE, True, False), (ALONE, True, False), (BENS, False, False)],
)
def test_who_may_read_what(origin: Origin, alone: bool, in_team: bool) -> None:
    assert may_read(origin, "ana", PRIVATE) is alone
    assert may_read(origin, "ana", "team") is in_team


def test_a_group_gets_what_was_said_there() -> None:
    held, kept_out = within(GATHERED, "ana", GROUP, ORIGINS)
    assert held.summary == "We spoke."
    assert [each.id for each in held.window] == ["w1", "w2"]
    assert [row.id for row in held.card] == ["1"]
    assert [each.id for each in held.recall.memories] == ["5"]
    assert [(each.part, each.id) for each in kept_out] == [
        ("window", "w3"),
        ("card", "2"),
        ("card", "3"),
        ("recall", "4"),
        ("recall", "6"),
    ]


def test_what_is_open_to_a_group_may_stand_there_alone() -> None:
    opened = replace(HERE, is_opening=True)
    held, _ = within(
        GATHERED, "ana", GROUP, {"c1": {ALONE, opened}, "c2": {ALONE, replace(ELSEWHERE, is_opening=True)}}
    )
    assert [row.id for row in held.card] == ["1"]
    held, _ = within(GATHERED, "ben", GROUP, {"c1": {ALONE, opened}})
    assert held.card == [], "it is told where its person speaks"
    held, _ = within(GATHERED, "ana", DIRECT, {"c1": {ALONE, opened}})
    assert [row.id for row in held.card] == ["1"]


def test_a_person_alone_gets_what_they_said_themselves() -> None:
    held, kept_out = within(GATHERED, "ana", DIRECT, ORIGINS)
    assert [each.id for each in held.window] == ["w1", "w3"]
    assert [row.id for row in held.card] == ["1", "2"]
    assert [each.id for each in held.recall.memories] == ["5", "6"]
    assert {each.id for each in kept_out} == {"w2", "3", "4"}


def test_a_summary_is_read_by_its_conversations_owner() -> None:
    held, kept_out = within(replace(GATHERED, window=()), "ben", DIRECT, ORIGINS)
    assert held.summary == ""
    assert kept_out[0] == KeptOut("summary", "dm")


def test_what_belongs_comes_through_whole() -> None:
    mine = replace(GATHERED, window=list(GATHERED.window[:2]), card=[CardRow("1", "x")], recall=Recall())
    assert within(mine, "ana", GROUP, ORIGINS) == (mine, [])
