"""Salience: how much a memory matters, now that it was said so often, used so often, and is so old."""

from datetime import datetime
from math import log2

from core.memory.claims import WEIGHTS, Memory

FADING_DAYS = 30.0
DAY_SECONDS = 86_400.0


def salience(memory: Memory, now: datetime) -> float:
    """From 0 up; about 1 for a fresh fact about who somebody is, said once.

    It grows by the logarithm of how often a thing came up, said or recalled, and fades by a power of the time
    since it last did, as with what people remember (Anderson and Schooler 1991, "Reflections of the
    Environment in Memory").
    """
    said = [source.said_at for source in memory.sources]
    last = max([*said, memory.used_at] if memory.used_at else said)
    days = max(0.0, (now - last).total_seconds() / DAY_SECONDS)
    fresh: float = (1 + days / FADING_DAYS) ** -0.5
    return WEIGHTS[memory.kind] * memory.confidence * log2(1 + len(said) + memory.uses) * fresh
