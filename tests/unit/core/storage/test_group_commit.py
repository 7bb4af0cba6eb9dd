"""Group commit: one transaction at a time, in order, and nobody suffers for another's item."""

import asyncio
from collections.abc import Sequence

import pytest

from core.errors import StoreUnavailable
from core.storage.group_commit import MOST_ITEMS, GroupCommit


class Shelf:
    """Writes numbers down and returns their squares; refuses negative ones, and everything while `away`."""

    def __init__(self) -> None:
        self.transactions: list[list[int]] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.away = False

    async def write(self, numbers: Sequence[int]) -> list[int]:
        await self.may_write.wait()
        if self.away:
            raise StoreUnavailable("away")
        if any(number < 0 for number in numbers):
            raise ValueError("negative")
        self.transactions.append(list(numbers))
        return [number**2 for number in numbers]


async def put_all(
    commits: GroupCommit[int, int], *groups: Sequence[int]
) -> list[Sequence[int] | BaseException]:
    return await asyncio.gather(*(commits.put(group) for group in groups), return_exceptions=True)


async def test_what_comes_meanwhile_shares_the_next_transaction_in_order() -> None:
    shelf = Shelf()
    commits = GroupCommit(shelf.write)
    shelf.may_write.clear()
    first = asyncio.create_task(commits.put([1]))
    await asyncio.sleep(0)
    rest = asyncio.create_task(put_all(commits, [2, 3], [4], [5]))
    await asyncio.sleep(0.01)
    shelf.may_write.set()
    assert await first == [1]
    assert await rest == [[4, 9], [16], [25]]
    assert shelf.transactions == [[1], [2, 3, 4, 5]]
    assert await commits.put([6]) == [36], "it goes on after a rest"


async def test_a_transaction_has_an_end_but_no_group_is_parted() -> None:
    shelf = Shelf()
    commits = GroupCommit(shelf.write)
    large = list(range(MOST_ITEMS - 1))
    larger = list(range(2 * MOST_ITEMS))
    await put_all(commits, large, [1, 2], larger, [3])
    assert [len(written) for written in shelf.transactions] == [MOST_ITEMS - 1, 2, 2 * MOST_ITEMS, 1]


async def test_one_that_cannot_be_written_does_not_take_the_others_along() -> None:
    shelf = Shelf()
    results = await put_all(GroupCommit(shelf.write), [1], [2, -2], [3])
    assert [results[0], results[2]] == [[1], [9]]
    assert isinstance(results[1], ValueError)
    assert shelf.transactions == [[1], [3]]


async def test_a_store_that_is_away_is_tried_once_for_all() -> None:
    shelf = Shelf()
    commits = GroupCommit(shelf.write)
    shelf.away = True
    assert {type(each) for each in await put_all(commits, [1], [2])} == {StoreUnavailable}
    shelf.away = False
    assert await commits.put([3]) == [9]


async def test_who_stops_waiting_stops_nobody_else() -> None:
    shelf = Shelf()
    commits = GroupCommit(shelf.write)
    shelf.may_write.clear()
    impatient, patient = (asyncio.create_task(commits.put([number])) for number in (1, 2))
    await asyncio.sleep(0.01)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    shelf.may_write.set()
    assert await patient == [4]
