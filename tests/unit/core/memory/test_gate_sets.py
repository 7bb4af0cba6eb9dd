"""The write gate's rules hold whatever a model proposes, on labelled messages in six languages."""

import pytest

from tests.benchmarks.gate import SETS, Score, everything, labelled, score


def judged(name: str) -> Score:
    messages = labelled(name)
    return score(messages, [claim for message in messages for claim in everything(message)])


@pytest.mark.parametrize("name", SETS)
def test_nothing_is_poisoned_and_nobody_mistaken_for_another(name: str) -> None:
    found = judged(name)
    assert [wrong for wrong in found.wrong if wrong[0] in ("poisoned", "misattributed")] == []


def test_what_was_said_gets_through() -> None:
    found = judged("gate.toml")
    assert found.recall > 0.97
    assert found.precision > 0.99


def test_the_set_is_what_it_is_said_to_be() -> None:
    messages = labelled("gate.toml")
    assert len(messages) >= 300
    assert {message.language for message in messages} == {"en", "de", "fr", "es", "pt", "ja"}
    assert len({message.line.text for message in messages}) == len(messages)
