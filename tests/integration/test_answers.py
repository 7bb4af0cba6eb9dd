"""The benchmark of answers in small: a life is told and asked about, and each reply judged."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from core.settings import Settings
from tests.benchmarks.answers import UNKNOWN, Asked, Life, Told, lives, run
from tests.integration.remembering import ONE_DATABASE
from tests.standins.model import ModelStandIn


@ONE_DATABASE
async def test_what_the_memory_answers_stands_beside_what_is_answered_without(
    settings: Settings, model: ModelStandIn
) -> None:
    asked = Asked("2026-02-01", "fact", "Where do I live?", "porto", "lisbon")
    unknown = Asked("2026-02-01", UNKNOWN, "Which car do I drive?", "", "volvo")
    life = Life("Ana", (Told("2026-01-05", "I live in Porto."), asked, unknown))

    def answer(messages: list[dict[str, Any]]) -> str:
        said = messages[-1]["content"]
        return "You live in Porto." if "Porto" in said and "live?" in said else "I don't know that yet."

    model.answer = answer
    shown = StringIO()
    answers = await run(Console(file=shown, width=200), [life], settings)
    good = {(each.by, each.asked.text): each.asked.is_good(each.reply) for each in answers}
    assert good == {
        ("Mneme", asked.text): True,
        ("alone", asked.text): False,
        ("whole", asked.text): True,
        ("Mneme", unknown.text): True,
        ("alone", unknown.text): True,
        ("whole", unknown.text): True,
    }
    for word in ("Ana 2026-02-01 alone, BAD", "100", "50", "tokens of the past", "unknown"):
        assert word in shown.getvalue()
    assert [each.tokens > 0 for each in answers if each.asked is asked] == [True, False, True]


@pytest.mark.parametrize(
    ("reply", "is_good"),
    [("You drive a Volvo.", False), ("I don't know. A Volvo?", False), ("You haven't told me that.", True)],
)
def test_of_what_nobody_told_only_not_knowing_is_good(reply: str, is_good: bool) -> None:
    assert Asked("2026-02-01", UNKNOWN, "Which car do I drive?", "", "volvo").is_good(reply) is is_good


def test_each_life_asks_in_the_order_of_days_of_what_was_told() -> None:
    for life in lives():
        days = [each.day for each in life.days]
        assert days == sorted(days)
        assert isinstance(life.days[0], Told)
        assert {each.category for each in life.days if isinstance(each, Asked)} >= {"fact", "now", UNKNOWN}
