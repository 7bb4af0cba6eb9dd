"""What people say and what the model answers: every word of a reply can be told from every other."""

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from core.memory.extraction import MAX_CLAIMS
from tests.standins.model import read_claim

TOKEN = re.compile(r"\bzq[a-z0-9]{6}\b")
WORD = re.compile(r"\b(zq[a-z0-9]{6})-(\d+)\b")
_NUMBERED = re.compile(r"^\[(\d+)\] \(\d{4}-\d\d-\d\d\) (.*)$", re.MULTILINE)
OPENING = "Well:"
"""How the model begins each reply."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SHORT_WORDS = (8, 40)
LONG_WORDS = 420
"""More than one message at Telegram holds."""
LONG_SHARE = 0.04
CLAIM_SHARE = 0.4


def new_token(chance: random.Random) -> str:
    """A word that nobody else says."""
    return "zq" + "".join(chance.choices(_LETTERS, k=6))


def new_claim(chance: random.Random) -> str:
    """One that stands for something to be remembered, and is answered in a few words."""
    while True:
        token = new_token(chance)
        if is_claim(token) and len(reply_words(token)) < LONG_WORDS:
            return token


def is_claim(token: str) -> bool:
    """Whether the message of this token says something to be remembered."""
    return random.Random(f"claim {token}").random() < CLAIM_SHARE


def sentence(token: str) -> str:
    """What a person says."""
    return f"My password is {token}." if is_claim(token) else f"It rains on {token} today."


def memory(token: str) -> str:
    """What is remembered of a claim."""
    return f"The password is {token}."


def reply_words(token: str) -> list[str]:
    """The words of the reply to the message of this token, in order."""
    chance = random.Random(f"reply {token}")
    count = LONG_WORDS if chance.random() < LONG_SHARE else chance.randint(*SHORT_WORDS)
    return [f"{token}-{number}" for number in range(count)]


def answer(messages: list[dict[str, Any]]) -> str:
    """The model's reply to a prompt: the words for each message of the turn."""
    question = messages[-1]["content"].rsplit("</memory>", 1)[-1]
    words = [word for token in TOKEN.findall(question) for word in reply_words(token)]
    return " ".join([OPENING, *words])


def extract(body: dict[str, Any]) -> str:
    """The model's structured answer: a claim for each message that says one; or a summary."""
    wanted = body["response_format"]["json_schema"]["name"]
    if wanted == "reflection":
        return json.dumps({"same": [], "conclusions": []})
    if wanted != "memories":
        return json.dumps({"summary": "They talked about passwords and rain."})
    claims = [
        read_claim(int(number), sentence(token), memory(token))
        for number, said in _NUMBERED.findall(body["messages"][-1]["content"])
        for token in TOKEN.findall(said)
        if is_claim(token)
    ]
    return json.dumps({"memories": claims[:MAX_CLAIMS]})


@dataclass(slots=True)
class Said:
    """A message that somebody wrote, and what the platform knows of its way to us, in monotonic seconds.

    `chat` names where the reply has to appear, `event` is the key under which it is accepted once.
    """

    token: str
    chat: str
    event: str
    handed_over: float = float("inf")
    acknowledged: float = float("inf")
