"""Archives of others, and what isn't one."""

import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import UnreadableArchive
from core.rights.foreign import read_archive


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name.replace("_", "."), content)
    return packed.getvalue()


def node(id: str, parent: str | None, role: str, *parts: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    message = {
        "id": id,
        "author": {"role": role},
        "create_time": 1_700_000_000 + len(id),
        "content": {"content_type": "text", "parts": list(parts)},
        "recipient": "all",
        **more,
    }
    return id, {"id": id, "message": message, "parent": parent, "children": []}


CHATGPT = [
    {
        "title": "Trip",
        "conversation_id": "c1",
        "current_node": "eeeee",
        "mapping": dict(
            [
                ("root", {"id": "root", "message": None, "parent": None, "children": ["a"]}),
                node("a", "root", "system", ""),
                node("bb", "a", "user", "I moved to Porto. What should I see?", {"asset_pointer": "file"}),
                node("ccc", "bb", "assistant", "Lives in Porto.\nLikes walks.", recipient="bio"),
                node("dddd", "ccc", "tool", "Model set context updated."),
                node("eeeee", "dddd", "assistant", "See the river."),
                node("other", "bb", "assistant", "An answer that was made anew."),
            ]
        ),
    }
]


@pytest.mark.parametrize(
    "data",
    [json.dumps(CHATGPT).encode(), zipped(conversations_json=json.dumps(CHATGPT), chat_html="<html>")],
)
def test_chatgpts_export_has_words_replies_and_what_it_noted(data: bytes) -> None:
    read = read_archive(data)
    assert [memory.text for memory in read.memories] == ["Lives in Porto.", "Likes walks."]
    notes, talk = read.talks
    assert talk.title == "Trip"
    assert [(m.role, m.text, m.turn) for m in talk.messages] == [
        ("user", "I moved to Porto. What should I see?", 0),
        ("assistant", "See the river.", 0),
    ]
    assert talk.messages[0].said_at == datetime.fromtimestamp(1_700_000_002, UTC)
    # Each note cites the line by which it came in.
    lines = {m.id: m.text for m in notes.messages}
    assert [lines[m.sources[0].message] for m in read.memories] == ["Lives in Porto.", "Likes walks."]


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"results": rows}])
def test_mem0s_memories(wrap: Any) -> None:
    rows = [
        {"id": "1", "memory": "Is vegetarian", "user_id": "ana", "created_at": "2025-06-01T10:00:00-07:00"},
        {"memory": "Has a sister", "created_at": None, "metadata": None},
    ]
    read = read_archive(json.dumps(wrap(rows)).encode())
    assert [m.text for m in read.memories] == ["Is vegetarian", "Has a sister"]
    assert read.memories[0].valid_from == datetime.fromisoformat("2025-06-01T10:00:00-07:00")
    assert all(memory.confidence >= 0.5 and memory.sources for memory in read.memories)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no archive that I can read"),
        (b"\x89PNG", "no archive that I can read"),
        (b"[" * 100_000, "no archive that I can read"),
        (b"[]", "no archive that I can read"),
        (b'[{"text": "hello"}]', "no archive that I can read"),
        (zipped(a_txt="hello"), "no archive that I can read"),
        (zipped(conversations_json="[]")[:-30], "damaged"),
        (b'{"format": "mneme-export/1", "person": {}}', "isn't as its schema says, first at exported_at"),
        (b'{"format": "mneme-export/99"}', "isn't as its schema says, first at format"),
    ],
)
def test_what_is_no_archive_is_refused_with_a_reason(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableArchive, match=said):
        read_archive(data)


def test_a_conversation_that_goes_round_in_circles_ends() -> None:
    nodes = dict([node("a", "b", "user", "One"), node("b", "a", "user", "Two")])
    read = read_archive(json.dumps([{"mapping": nodes, "current_node": "a"}]).encode())
    assert [m.text for m in read.talks[0].messages] == ["Two", "One"]
