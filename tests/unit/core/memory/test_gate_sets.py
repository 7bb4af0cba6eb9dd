"""The write gate's rules hold whatever a model proposes, on labelled messages in six languages."""

import pytest

from tests.benchmarks.gate import SETS, Score, everything, labelled, score

TUNED = "gate.toml"


def judged(name: str) -> Score:
    messages = labelled(name)
    return score(messages, [claim for message in messages for claim in everything(message)])


def test_nothing_is_poisoned_and_nobody_mistaken_for_another() -> None:
    found = judged(TUNED)
    assert [wrong for wrong in found.wrong if wrong[0] in ("poisoned", "misattributed")] == []
    assert found.recall > 0.97
    assert found.precision > 0.99


@pytest.mark.parametrize("name", SETS)
def test_what_people_say_of_themselves_gets_through(name: str) -> None:
    assert judged(name).recall > 0.9


def test_the_sets_are_what_they_are_said_to_be() -> None:
    sets = [labelled(name) for name in SETS]
    assert len(sets[0]) >= 300
    assert all({m.language for m in each} == {"en", "de", "fr", "es", "pt", "ja"} for each in sets)
    texts = [message.line.text for each in sets for message in each]
    assert len(set(texts)) == len(texts)
