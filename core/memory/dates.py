"""Dates in speech: "last Friday" is a day, seen from when and where it was said."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from core.memory.cues import cue

MAX_PHRASE_CHARS = 60

_YEAR = re.compile(r"((?:19|20)\d\d)年?")
_TWO_WAYS = re.compile(r"(?:0?[1-9]|1[012])/(?:0?[1-9]|1[012])/\d{2,4}")
"""Day and month, or month and day: that depends on where it was written."""
_SAYS_A_DATE = re.compile(r"[^\W\d_]{3}|[日月年週]|\d+[./-]\d+[./-]\d+")
"""A bare number is none."""
_UNITS = {"d": "days", "w": "weeks", "m": "months", "y": "years"}
_YEARS = range(1900, 2200)
_PERIODS = ("day", "week", "month", "year")


class Bound(StrEnum):
    """What a date is to what is said of it."""

    AT = "at"
    SINCE = "since"
    UNTIL = "until"


@dataclass(frozen=True, slots=True)
class Period:
    """A day, week (from Monday), month or year: what is known of a date is no more."""

    begin: date
    unit: str
    bound: Bound = Bound.AT

    @property
    def end(self) -> date:
        """The last day of it."""
        match self.unit:
            case "year":
                return self.begin.replace(month=12, day=31)
            case "month":
                return (self.begin.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
            case "week":
                return self.begin + timedelta(days=6)
            case _:
                return self.begin

    def __str__(self) -> str:
        """As it is written behind a claim: 2026-12-04, "week of 2026-11-30", 2026-12 or 2026."""
        match self.unit:
            case "year":
                return f"{self.begin:%Y}"
            case "month":
                return f"{self.begin:%Y-%m}"
            case "week":
                return f"week of {self.begin}"
            case _:
                return str(self.begin)

    def within(self, zone: datetime) -> tuple[datetime, datetime]:
        """Its first and last moment, in the time zone of the other moment."""
        return (
            datetime.combine(self.begin, time.min, zone.tzinfo),
            datetime.combine(self.end, time.max.replace(microsecond=0), zone.tzinfo),
        )


def resolve(phrase: str, said_at: datetime, language: str) -> Period | None:
    """The date that a phrase means which was said then; None where it isn't one, or may be two.

    "Friday" alone was or will be: nobody is told a date that was guessed. `language` is the message's.
    """
    wording, _ = _without("hour", " ".join(phrase.casefold().split()).strip(".,;:!?。、"))
    if not wording or len(wording) > MAX_PHRASE_CHARS:
        return None
    wording = cue("ahead").sub(_in_english, _counted(wording))
    wording, until = _without("until", wording)
    wording, since = _without("since", wording)
    bound = Bound.UNTIL if until else Bound.SINCE if since else Bound.AT
    if year := _YEAR.fullmatch(_without("article", wording)[0]):
        return Period(date(int(year[1]), 1, 1), "year", bound)
    if _TWO_WAYS.search(wording) or not _SAYS_A_DATE.search(wording):
        return None
    found = _looked_up(wording, said_at, "future" if until else "past" if since else None, language)
    return None if found is None else Period(*found, bound)


def mentioned(text: str, now: datetime, language: str) -> list[Period]:
    """The days and other whiles that a text speaks of, seen from now; where it may be two, both."""
    found: list[Period] = []
    for phrase in (match[0] for match in cue("when").finditer(text)):
        if (one := resolve(phrase, now, language)) is not None:
            found.append(one)
            continue
        bare = _without("article", _counted(phrase.casefold()))[0]
        either = (_parsed(bare, now, side, language) for side in ("past", "future"))
        found += [Period(*each) for each in either if each is not None]
    return list(dict.fromkeys(found))


def _looked_up(
    wording: str, said_at: datetime, towards: str | None, language: str
) -> tuple[date, str] | None:
    sides = (towards,) if towards else ("past", "future")
    found = {_parsed(wording, said_at, side, language) for side in sides}
    if found == {None}:
        bare, past = _without("past", wording)
        bare, future = _without("future", bare)
        if past or future:
            sides = ("past",) if past else ("future",)
        bare = _without("article", bare)[0]
        found = {_parsed(bare, said_at, side, language) for side in sides} if bare != wording else found
    return found.pop() if len(found) == 1 else None


def _parsed(wording: str, said_at: datetime, side: str, language: str) -> tuple[date, str] | None:
    from dateparser.date import DateDataParser  # takes a second to load, and only a worker needs it

    for each in dict.fromkeys((language, "en")):
        try:
            parser = DateDataParser(
                languages=[each],
                settings={
                    "RELATIVE_BASE": said_at.replace(tzinfo=None),
                    "PREFER_DATES_FROM": side,
                    "DATE_ORDER": "DMY",
                },
            )
            found = parser.get_date_data(wording)
        except ValueError:
            continue  # a language that the library doesn't know
        if found.date_obj is not None and found.date_obj.year in _YEARS:
            return _from(found.date_obj.date(), found.period if found.period in _PERIODS else "day")
    return None


def _from(day: date, unit: str) -> tuple[date, str]:
    match unit:
        case "year":
            return day.replace(month=1, day=1), unit
        case "month":
            return day.replace(day=1), unit
        case "week":
            return day - timedelta(days=day.weekday()), unit
        case _:
            return day, unit


def _without(name: str, wording: str) -> tuple[str, bool]:
    left, count = cue(name).subn(" ", wording)
    return " ".join(left.split()), count > 0


def _in_english(match: re.Match[str]) -> str:
    """What dateparser doesn't know in Spanish and Portuguese."""
    found = {name[0]: text for name, text in match.groupdict().items() if text is not None}
    if "t" in found:
        return "in 2 days"
    unit = next(unit for name, unit in _UNITS.items() if name in found)
    return f"in {found.get('n', '1')} {unit}"


def _counted(wording: str) -> str:
    """With figures for small numbers in words, which dateparser knows in few languages."""
    return cue("number").sub(lambda match: str(match.lastgroup or "")[1:], wording)
