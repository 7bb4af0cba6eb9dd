"""Dates in speech, seen from a Wednesday evening in Porto."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from core.memory.dates import Bound, mentioned, resolve

SAID = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "phrase", "date"),
    [
        ("en", "last Friday", "2026-11-20"),
        ("en", "next Friday", "2026-11-27"),
        ("en", "in two weeks", "week of 2026-12-07"),
        ("en", "yesterday", "2026-11-24"),
        ("en", "the day after tomorrow", "2026-11-27"),
        ("en", "3 days ago", "2026-11-22"),
        ("en", "last week", "week of 2026-11-16"),
        ("en", "next month", "2026-12"),
        ("en", "two years ago", "2024"),
        ("en", "next Tuesday at 10", "2026-12-01"),
        ("en", "June 2027", "2027-06"),
        ("en", "4 September 2027", "2027-09-04"),
        ("en", "2019-05-04", "2019-05-04"),
        ("de", "letzten Freitag", "2026-11-20"),
        ("de", "in zwei Wochen", "week of 2026-12-07"),
        ("de", "übermorgen", "2026-11-27"),
        ("de", "vor drei Tagen", "2026-11-22"),
        ("de", "4.5.2019", "2019-05-04"),
        ("fr", "vendredi dernier", "2026-11-20"),
        ("fr", "dans deux semaines", "week of 2026-12-07"),
        ("fr", "le mois prochain", "2026-12"),
        ("es", "el viernes pasado", "2026-11-20"),
        ("es", "dentro de dos semanas", "week of 2026-12-07"),
        ("es", "pasado mañana", "2026-11-27"),
        ("es", "el año que viene", "2027"),
        ("pt", "na sexta passada", "2026-11-20"),
        ("pt", "daqui a duas semanas", "week of 2026-12-07"),
        ("pt", "há três dias", "2026-11-22"),
        ("pt", "depois de amanhã", "2026-11-27"),
        ("ja", "先週の金曜日", "2026-11-20"),
        ("ja", "2週間後", "week of 2026-12-07"),
        ("ja", "明日", "2026-11-26"),
    ],
)
def test_what_is_said_of_a_date_becomes_one(language: str, phrase: str, date: str) -> None:
    period = resolve(phrase, SAID, language)
    assert period is not None
    assert (str(period), period.bound) == (date, Bound.AT)


@pytest.mark.parametrize(
    ("language", "phrase", "bound", "date"),
    [
        ("en", "until Friday", Bound.UNTIL, "2026-11-27"),
        ("en", "since 2019", Bound.SINCE, "2019"),
        ("en", "since Monday", Bound.SINCE, "2026-11-23"),
        ("de", "bis Freitag", Bound.UNTIL, "2026-11-27"),
        ("de", "seit 2019", Bound.SINCE, "2019"),
        ("fr", "jusqu'à vendredi", Bound.UNTIL, "2026-11-27"),
        ("es", "hasta el viernes", Bound.UNTIL, "2026-11-27"),
        ("pt", "até sexta", Bound.UNTIL, "2026-11-27"),
        ("ja", "2019年から", Bound.SINCE, "2019"),
        ("ja", "金曜日まで", Bound.UNTIL, "2026-11-27"),
    ],
)
def test_a_date_may_be_a_beginning_or_an_end(language: str, phrase: str, bound: Bound, date: str) -> None:
    period = resolve(phrase, SAID, language)
    assert period is not None
    assert (str(period), period.bound) == (date, bound)


@pytest.mark.parametrize(
    "phrase",
    ["on Friday", "in March", "on 12 June", "05/04/2019", "12", "10%", "my sister", "blue", "", "?" * 100],
)
def test_what_may_be_two_dates_or_none_stays_as_it_is(phrase: str) -> None:
    assert resolve(phrase, SAID, "en") is None


def test_the_day_is_that_of_where_it_was_said() -> None:
    """At half past nine in the evening in Porto it is the next morning in Auckland."""
    auckland = SAID.astimezone(timezone(timedelta(hours=13)))
    here, there = resolve("tomorrow", SAID, "en"), resolve("tomorrow", auckland, "en")
    assert (str(here), str(there)) == ("2026-11-26", "2026-11-27")
    assert there is not None
    begin, end = there.within(auckland)
    assert (begin.utcoffset(), end - begin) == (timedelta(hours=13), timedelta(hours=24, seconds=-1))


@pytest.mark.parametrize(
    ("phrase", "begin", "end"),
    [
        ("last week", "2026-11-16", "2026-11-22"),
        ("February 2028", "2028-02-01", "2028-02-29"),
        ("next month", "2026-12-01", "2026-12-31"),
        ("since 2019", "2019-01-01", "2019-12-31"),
        ("tomorrow", "2026-11-26", "2026-11-26"),
    ],
)
def test_a_period_has_a_first_and_a_last_day(phrase: str, begin: str, end: str) -> None:
    period = resolve(phrase, SAID, "en")
    assert period is not None
    assert (str(period.begin), str(period.end)) == (begin, end)


@pytest.mark.parametrize(
    ("language", "text", "dates"),
    [
        ("en", "What did I tell you last week?", ["week of 2026-11-16"]),
        ("en", "What am I doing on Friday, and next Tuesday?", ["2026-11-20", "2026-11-27", "2026-12-01"]),
        ("en", "What happened in May 2025?", ["2025-05"]),
        ("en", "What did I do in May?", ["2026-05", "2027-05"]),
        (
            "en",
            "Did I say so on 3 June, three days ago, or the day before yesterday?",
            ["2026-06-03", "2027-06-03", "2026-11-22", "2026-11-23"],
        ),
        ("en", "May I have a tea today? I might march on.", []),
        ("de", "Was habe ich letzte Woche erzählt?", ["week of 2026-11-16"]),
        ("de", "Was steht morgen an, und vor zwei Wochen?", ["2026-11-26", "week of 2026-11-09"]),
        ("de", "Guten Morgen! Was frühstücke ich am Morgen?", []),
        ("fr", "Qu'est-ce que j'ai raconté la semaine dernière ?", ["week of 2026-11-16"]),
        ("fr", "Qu'est-ce que je fais dans deux semaines ?", ["week of 2026-12-07"]),
        ("es", "¿Qué conté la semana pasada?", ["week of 2026-11-16"]),
        ("es", "¿Qué desayuno por la mañana?", []),
        ("pt", "O que contei na semana passada?", ["week of 2026-11-16"]),
        ("pt", "O que faço depois de amanhã?", ["2026-11-27"]),
        ("ja", "先週何を話した？", ["week of 2026-11-16"]),
        ("ja", "3日前に何をした？", ["2026-11-22"]),
    ],
)
def test_what_a_text_speaks_of_is_found_in_it(language: str, text: str, dates: list[str]) -> None:
    assert [str(each) for each in mentioned(text, SAID, language)] == dates
