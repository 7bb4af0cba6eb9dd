"""What a model finds among memories is taken only if these bear it out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.memory.claims import Derivation, Kind, Memory, Source
from core.memory.reflection import conclude, merge
from core.memory.salience import salience

DAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


def memory(number: int, text: str, kind: Kind = Kind.FACT, **given: Any) -> Memory:
    """A memory that rests on a message of its own."""
    said_at = DAY + timedelta(days=number)
    values: dict[str, Any] = {
        "subject": None,
        "audience": "private",
        "valid_until": None,
        "sources": (Source(f"m{number}", text, 0, said_at, 0.9),),
    } | given
    return Memory(
        id=f"c{number}",
        kind=kind,
        text=text,
        recorded_at=said_at,
        valid_from=said_at,
        retired_at=None,
        replaced_by=None,
        **values,
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Likes running.", "Likes running a lot."),
        ("Lives in Porto.", "Lives in the city of Porto."),
        ("Mag Katzen sehr.", "Mag Katzen."),
        ("Has 12 bicycles.", "Has 12 old bicycles."),
    ],
)
def test_what_says_the_same_becomes_the_fullest_on_all_their_sources(one: str, other: str) -> None:
    found = merge([memory(1, one), memory(2, other)])
    assert found is not None
    assert found.draft.text == max(one, other, key=len)
    assert found.draft.derivation is Derivation.MERGED
    assert [source.message_id for source in found.draft.sources] == ["m1", "m2"]
    assert found.draft.valid_from == DAY + timedelta(days=1)
    assert {each.id for each in found.group} == {"c1", "c2"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Lives in Porto.", "Lives in Lisbon."),
        ("Likes tea.", "Doesn't like tea."),
        ("Mag Katzen.", "Mag keine Katzen."),
        ("Has 12 bicycles.", "Has 14 bicycles."),
        ("Plays chess.", "Collects stamps from abroad."),
        ("コーヒーが好き。", "コーヒーは好きじゃない。"),
    ],
)
def test_what_does_not_say_the_same_stays_apart(one: str, other: str) -> None:
    assert merge([memory(1, one), memory(2, other)]) is None


def test_of_a_group_only_those_are_merged_that_say_the_same() -> None:
    found = merge(
        [memory(1, "Likes running."), memory(2, "Lives in Oslo."), memory(3, "Likes running a lot.")]
    )
    assert found is not None
    assert [each.id for each in found.group] == ["c1", "c3"]


def test_notes_conclusions_and_other_peoples_facts_are_not_merged() -> None:
    plain = memory(1, "Likes running.")
    assert merge([plain, memory(2, "Likes running a lot.", Kind.NOTE)]) is None
    assert merge([plain, memory(2, "Likes running a lot.", derivation=Derivation.CONCLUDED)]) is None
    assert merge([plain, memory(2, "Likes running a lot.", subject="Lea")]) is None
    assert merge([plain]) is None
    assert merge([]) is None


def test_a_merger_holds_for_as_long_as_the_last_of_them() -> None:
    until = DAY + timedelta(days=30)
    later = until + timedelta(days=1)
    bounded = [
        memory(1, "Likes running.", valid_until=until),
        memory(2, "Likes running a lot.", valid_until=later),
    ]
    found = merge(bounded)
    assert found is not None
    assert found.draft.valid_until == later
    found = merge([bounded[0], memory(2, "Likes running a lot.")])
    assert found is not None
    assert found.draft.valid_until is None


MONDAY = memory(3, "Went running before work on Monday.", Kind.EVENT)
FRIDAY = memory(5, "Went running before breakfast on Friday.", Kind.EVENT)


def concluded(text: str, *group: Memory, kind: str = "routine") -> bool:
    found = conclude({"text": text, "kind": kind}, group)
    if found is None:
        return False
    assert found.draft.derivation is Derivation.CONCLUDED
    assert [each.id for each in found.group] == [each.id for each in group]
    return True


def test_what_two_messages_show_is_concluded_and_just_believed() -> None:
    found = conclude({"text": "Goes running before work.", "kind": "routine"}, [MONDAY, FRIDAY])
    assert found is not None
    assert {source.message_id for source in found.draft.sources} == {"m3", "m5"}
    shown = memory(9, found.draft.text, sources=found.draft.sources)
    assert 0.5 <= shown.confidence < 0.7
    assert not memory(9, found.draft.text, sources=found.draft.sources[:1]).is_believed


@pytest.mark.parametrize(
    "text",
    [
        "Goes running with Marco before work.",
        "Goes running 15 times a month.",
        "Is a very disciplined and ambitious person.",
        "Never goes running before work.",
        "Went running before work on Monday.",
        "",
        "Goes running before work " * 20,
    ],
    ids=["a name", "a number", "other words", "denied", "said alone", "empty", "long"],
)
def test_what_they_do_not_show_is_not_concluded(text: str) -> None:
    assert not concluded(text, MONDAY, FRIDAY)


def test_nothing_is_concluded_from_one_message_or_from_conclusions() -> None:
    text = "Goes running before work."
    assert concluded(text, MONDAY, FRIDAY)
    assert not concluded(text, MONDAY)
    again = memory(7, "Went running before breakfast.", sources=MONDAY.sources)
    assert not concluded(text, MONDAY, again)
    guess = memory(7, "Runs before breakfast.", derivation=Derivation.CONCLUDED)
    assert not concluded(text, MONDAY, guess)
    unsure = memory(7, "Goes running.", sources=(Source("m7", "", 0, DAY, 0.4),))
    assert not concluded(text, MONDAY, unsure)
    assert not concluded(text, MONDAY, memory(7, "Goes running before work with a dog.", subject="Lea"))


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        (
            "Often goes to the doctor.",
            "Went to the doctor in May.",
            "Has an appointment at the doctor in June.",
        ),
        ("Geht oft in die Kirche.", "War am Sonntag in der Kirche.", "Singt in der Kirche."),
        ("Participe à la politique.", "Était à une réunion politique.", "Lit un journal politique."),
        ("Va mucho al hospital.", "Fue al hospital el lunes.", "Trabaja cerca del hospital."),
        ("Vai à igreja.", "Foi à igreja no domingo.", "Canta na igreja."),
        ("教会によく行く。", "日曜日に教会へ行った。", "教会で歌っている。"),
    ],
)
def test_nothing_is_concluded_about_special_categories(text: str, first: str, second: str) -> None:
    assert not concluded(text, memory(1, first), memory(2, second))


def test_salience_grows_with_use_and_fades_with_age() -> None:
    told = memory(0, "Likes running.", Kind.PREFERENCE)
    fresh = salience(told, DAY)
    assert fresh == pytest.approx(0.8 * 0.9)
    assert salience(told, DAY + timedelta(days=90)) == pytest.approx(fresh / 2)
    used = memory(0, "Likes running.", Kind.PREFERENCE, uses=2, used_at=DAY + timedelta(days=90))
    assert salience(used, DAY + timedelta(days=90)) == pytest.approx(2 * fresh)
    assert salience(memory(0, "Went running.", Kind.EVENT), DAY) < fresh
    assert salience(told, DAY - timedelta(days=1)) == fresh
