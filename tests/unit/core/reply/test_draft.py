"""What may be shown of a growing reply."""

from core.reply.draft import HELD_BACK, Draft


async def knows(text: str) -> bool:
    return "the code is 7391" in text


async def test_in_private_all_is_shown_as_it_comes() -> None:
    draft = Draft(frozenset())
    assert await draft.whole() == ""
    draft.add("Ask https://a.exam")
    assert await draft.so_far() == "Ask `https://a.exam`"
    draft.add("ple/x, or me")
    assert await draft.whole() == "Ask `https://a.example/x`, or me"


async def test_a_group_is_shown_whole_sentences() -> None:
    draft = Draft(frozenset(), knows)
    draft.add("Yes. I think that he ")
    assert await draft.so_far() == "Yes."
    draft.add("is late!\nSo ")
    assert await draft.so_far() == "Yes. I think that he is late!"
    draft.add("wait")
    assert await draft.whole() == "Yes. I think that he is late!\nSo wait"


async def test_no_word_of_what_is_held_back_is_shown() -> None:
    draft = Draft(frozenset(), knows)
    seen = []
    for piece in ("Yes. ", "I believe ", "that the ", "code is ", "7391", ". And", " more."):
        draft.add(piece)
        seen.append(await draft.so_far())
    assert set(seen) == {"Yes.", HELD_BACK}
    assert await draft.whole() == HELD_BACK
    assert draft.is_held_back
