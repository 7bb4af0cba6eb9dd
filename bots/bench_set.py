"""A set of conversations whose answers are known, as `mneme bench` reads it."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.messages import clean


@dataclass(frozen=True, slots=True)
class Document:
    """Something said: `session` numbers the sittings of its conversation."""

    id: str
    text: str
    session: str


@dataclass(frozen=True, slots=True)
class Question:
    """`evidence`: the ids of the documents that answer it."""

    id: str
    text: str
    evidence: frozenset[str]
    category: str


@dataclass(frozen=True, slots=True)
class Told:
    """One person's conversation."""

    id: str
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]


def read_set(path: Path) -> list[Told]:
    """The conversations of a set.

    Raises:
        ConfigurationError: it can't be read as one.
    """
    try:
        packed = path.read_bytes()
        raw = json.loads(gzip.decompress(packed) if path.suffix == ".gz" else packed)
        told = [_told(conversation) for conversation in raw]
        if not told or not all(conversation.documents and conversation.questions for conversation in told):
            raise ValueError("a conversation without documents or without questions")
        return told
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} can't be read as a set ({type(error).__name__}): see --help"
        ) from error


def _told(raw: Mapping[str, Any]) -> Told:
    return Told(
        id=str(raw["id"]),
        documents=tuple(
            Document(str(doc["id"]), text, str(doc.get("session", "")))
            for doc in raw["docs"]
            if (text := clean(_line(doc)))
        ),
        questions=tuple(
            Question(
                str(each["id"]), each["text"], frozenset(map(str, each["evidence"])), str(each["category"])
            )
            for each in raw["questions"]
        ),
    )


def _line(doc: Mapping[str, Any]) -> str:
    """Where two people talk, who said it and when is part of what was said."""
    if doc.get("speaker", "user") in ("user", "assistant"):
        return str(doc["text"])
    return f"{doc.get('date', '')} {doc['speaker']}: {doc['text']}"
