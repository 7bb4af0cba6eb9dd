from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MalformedOutput
from core.llm.structured import parse_structured

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["age"],
    "properties": {"age": {"type": "integer"}, "name": {"type": "string"}},
}


@pytest.mark.parametrize(
    "text",
    [
        '{"age": 4}',
        ' \n{"age": 4}\n',
        '```json\n{"age": 4}\n```',
        'Here it is:\n```\n{"age": 4}\n```\nAnything else?',
    ],
)
def test_reads_plain_and_fenced(text: str) -> None:
    assert parse_structured(text, SCHEMA) == {"age": 4}


def test_a_fence_inside_a_value_is_no_fence() -> None:
    assert parse_structured('{"age": 1, "name": "```json\\n{}\\n```"}', SCHEMA)["name"] == "```json\n{}\n```"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[]",
        "null",
        '{"age": 4',
        '{"age": "secret"}',
        '{"age": NaN}',
        '{"age": 1, "secret": 2}',
        "[" * 9999,
    ],
)
def test_refuses_the_rest_without_repeating_it(text: str) -> None:
    with pytest.raises(MalformedOutput) as caught:
        parse_structured(text, SCHEMA)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_either_read_or_malformed(text: str) -> None:
    with suppress(MalformedOutput):
        assert isinstance(parse_structured(text, {"type": "object"}), dict)
