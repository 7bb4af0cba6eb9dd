"""What has nothing to do with a message isn't recalled for it, in six languages."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.llm.local_embedder import LocalEmbedder
from core.memory.lexicon import Lexicon
from core.memory.ranking import Candidate, rank
from core.storage.index import Neighbour

LABELLED: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("fitting.toml").read_text(encoding="utf-8")
)
MOST_MISSED = 1
"""Of twelve messages in a language that something told bears on."""
FEWEST_LEFT = 6
"""Of fourteen that nothing bears on. Some of them come near: another relative, another thing owned."""


@pytest.mark.parametrize("language", LABELLED)
async def test_what_fits_is_told_from_what_does_not(language: str) -> None:
    told, fitting, unfitting = (LABELLED[language][kind] for kind in ("told", "fitting", "unfitting"))
    embedder = LocalEmbedder()
    lexicon = Lexicon()
    for place, text in enumerate(told):
        lexicon.add(f"m{place}", text, "private")
    vectors = await embedder.embed_passages(told)

    async def ranked(message: str) -> list[Candidate]:
        similarities = vectors @ await embedder.embed_query(message)
        near = [Neighbour(f"m{n}", float(similarities[n])) for n in np.argsort(-similarities)]
        return rank(near, lexicon, message, audience="private", limit=len(told))

    try:
        missed = [m for m, place in fitting if f"m{place}" not in _shown(await ranked(m))]
        left = [m for m in unfitting if not _shown(await ranked(m))]
    finally:
        await embedder.aclose()
    assert len(missed) <= MOST_MISSED, missed
    assert len(left) >= FEWEST_LEFT, left


def _shown(candidates: list[Candidate]) -> set[str]:
    return {each.id for each in candidates} if any(each.fits for each in candidates) else set()
