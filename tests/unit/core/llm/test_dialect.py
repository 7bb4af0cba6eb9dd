from typing import Any

import pytest

from core.llm.dialect import is_openai, options


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (None, True),
        ("https://api.openai.com/v1", True),
        ("http://127.0.0.1:11434/v1", False),
        ("https://api.openai.com.example.org/v1", False),
    ],
)
def test_knows_openai_by_its_host(base_url: str | None, expected: bool) -> None:
    assert is_openai(base_url) is expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4.1-mini", {"max_completion_tokens": 100}),
        ("gpt-5-mini", {"max_completion_tokens": 100, "reasoning_effort": "minimal"}),
        ("gpt-5-2025-08-07", {"max_completion_tokens": 100, "reasoning_effort": "minimal"}),
        ("gpt-5-chat-latest", {"max_completion_tokens": 100}),
        ("gpt-5-pro", {"max_completion_tokens": 100}),
        ("gpt-5.1", {"max_completion_tokens": 2100, "reasoning_effort": "low"}),
        ("o4-mini", {"max_completion_tokens": 2100, "reasoning_effort": "low"}),
    ],
)
def test_asks_openai_for_little_thought_and_no_temperature(model: str, expected: dict[str, Any]) -> None:
    assert options(None, model, 100, structured=True) == expected


def test_asks_others_with_the_older_name() -> None:
    assert options("http://localhost/v1", "gpt-5-mini", 100, structured=False) == {"max_tokens": 100}
