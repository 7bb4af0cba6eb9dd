"""Reading archives: ours, and what ChatGPT and Mem0 export of somebody."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from core.errors import UnreadableArchive
from core.messages import MAX_TEXT_CHARS, clean
from core.rights.archive import Archive, Cited, Message, Person, Remembered, Talk
from core.rights.export import JSON_FILE

MAX_BYTES = 512 * 2**20
"""Of an archive once it is unpacked."""
CHATGPT_FILE = "conversations.json"
CERTAINTY = 0.8
"""How surely something is so that another assistant has noted: somebody's model wrote it."""

NOT_OURS = (
    "This is no archive that I can read: give me an export of Mneme (.zip or .json), "
    "of ChatGPT (.zip or conversations.json), or of Mem0 (.json)."
)


def read_archive(data: bytes) -> Archive:
    """What an export holds, whoever made it. Blocks; a large one takes seconds.

    Raises:
        UnreadableArchive: none of the known formats; the text says what is wrong.
    """
    content = _unpacked(data) if data[:2] == b"PK" else data
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableArchive(NOT_OURS) from None
    if isinstance(read, dict) and str(read.get("format", "")).startswith("mneme-export/"):
        return _ours(read)
    if isinstance(read, dict) and isinstance(read.get("results"), list):
        read = read["results"]
    if isinstance(read, list) and read and all(isinstance(each, dict) for each in read):
        if all(isinstance(each.get("memory"), str) for each in read):
            return _of_mem0(read)
        if all(isinstance(each.get("mapping"), dict) for each in read):
            return _of_chatgpt(read)
    raise UnreadableArchive(NOT_OURS)


def _unpacked(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            name = next((n for n in (JSON_FILE, CHATGPT_FILE) if n in file.namelist()), None)
            if name is None:
                raise UnreadableArchive(NOT_OURS)
            if file.getinfo(name).file_size > MAX_BYTES:
                raise UnreadableArchive("This archive is too large for me.")
            with file.open(name) as packed:
                # What it says of its own size needn't be true.
                content = packed.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        raise UnreadableArchive("This archive is damaged: export it again.") from None
    if len(content) > MAX_BYTES:
        raise UnreadableArchive("This archive is too large for me.")
    return content


def _ours(read: Mapping[str, Any]) -> Archive:
    try:
        return Archive.model_validate(read)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise UnreadableArchive(f"This archive isn't as its schema says, first at {where}.") from None


def _of_mem0(read: list[dict[str, Any]]) -> Archive:
    """Memories as Mem0's `get_all` and its export give them, each with `memory` and perhaps `created_at`."""
    notes = [
        (str(each.get("id") or index), each["memory"], _moment(each.get("created_at")))
        for index, each in enumerate(read)
    ]
    return _noted("mem0", notes)


def _of_chatgpt(read: list[dict[str, Any]]) -> Archive:
    """ChatGPT's conversations: the person's words, the replies, and what it noted of them ("bio")."""
    talks, notes = [], []
    for index, each in enumerate(read):
        key = str(each.get("conversation_id") or each.get("id") or index)
        said: list[Message] = []
        for node, message in _thread(each):
            role, text = (message.get("author") or {}).get("role"), _words(message)
            if not text:
                continue
            at = _moment(message.get("create_time") or each.get("create_time"))
            if message.get("recipient") == "bio":
                notes += [(f"{node}:{line}", line, at) for line in text.splitlines() if line.strip()]
            elif role == "user" or (role == "assistant" and message.get("recipient") in (None, "all")):
                turn = len(said) if role == "user" else max(0, len(said) - 1)
                said.append(
                    Message(id=node, turn=turn, role=role, text=text, said_at=at, remembered=role == "user")
                )
        if said:
            title = clean(str(each.get("title") or ""))
            talks.append(Talk(id=key, channel="chatgpt", kind="direct", title=title, messages=tuple(said)))
    noted = _noted("chatgpt", notes)
    return noted.model_copy(update={"talks": (*noted.talks, *talks)})


def _thread(conversation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The messages that stand in the conversation in the end, in order: each knows the one before it."""
    nodes = conversation["mapping"]
    at, path = conversation.get("current_node"), []
    while isinstance(at, str) and isinstance(node := nodes.get(at), dict) and at not in path:
        path.append(at)
        at = node.get("parent")
    for name in reversed(path):
        message = nodes[name].get("message")
        if isinstance(message, dict):
            yield name, message


def _words(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        return ""
    return clean("\n".join(part for part in parts if isinstance(part, str)))[:MAX_TEXT_CHARS]


def _moment(value: Any) -> datetime:
    """A time as exports write it: seconds since 1970, or ISO; now, where there is none."""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return datetime.now(UTC)


def _noted(maker: str, notes: Iterable[tuple[str, str, datetime]]) -> Archive:
    """What another assistant noted: each a line that the person brings here, and a memory that cites it."""
    said, held = [], []
    for turn, (key, text, at) in enumerate(notes):
        text = clean(text)[:MAX_TEXT_CHARS]
        if not text:
            continue
        id = f"{maker}:{key}"
        said.append(Message(id=id, turn=turn, role="user", text=text, said_at=at))
        held.append(
            Remembered(
                id=id,
                kind="note",
                text=text,
                valid_from=at,
                recorded_at=at,
                sources=(Cited(message=id, start=0, quote=text, certainty=CERTAINTY),),
            )
        )
    whose = Person(id=hashlib.sha256(maker.encode()).hexdigest()[:32], known_since=datetime.now(UTC))
    talk = Talk(id=f"{maker}:notes", channel=maker, kind="direct", messages=tuple(said))
    return Archive(
        exported_at=datetime.now(UTC), person=whose, talks=(talk,) if said else (), memories=tuple(held)
    )
