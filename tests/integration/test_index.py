"""The index over a real Chroma: each user's own rows, one make of vectors, and errors that say what to do."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import chromadb
import numpy as np
import pytest

from core.errors import ConfigurationError, IndexMismatch, IndexUnavailable
from core.storage.index import CALL_TIMEOUT_SECONDS, PAGE, Entry, IndexStamp, MemoryIndex, Neighbour, State
from tests.servers import chroma_server, empty_chroma, free_port

STAMP = IndexStamp("a-model", 3, 4)
OTHER = IndexStamp("another", 3, 4)
NORTH, EAST, UP = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def own_chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Chroma whose index other tests don't share: these empty it."""
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        yield url


def index_at(url: str, stamp: IndexStamp = STAMP) -> MemoryIndex:
    async def known() -> IndexStamp:
        return stamp

    return MemoryIndex(url, known)


@pytest.fixture
async def index(own_chroma: str) -> MemoryIndex:
    made = index_at(own_chroma)
    await empty_chroma(own_chroma)
    await made.check()
    return made


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def ids(found: list[Neighbour]) -> list[str]:
    return [neighbour.id for neighbour in found]


async def test_the_nearest_come_first(index: MemoryIndex) -> None:
    near = np.array([0.8, 0.6, 0.0], dtype=np.float32)
    await index.put("ana", [Entry("c", UP, "private"), Entry("b", near, "private")])
    await index.put("ana", [Entry("a", NORTH, "private")])
    found = await index.near("ana", NORTH, limit=2)
    assert ids(found) == ["a", "b"]
    assert [neighbour.similarity for neighbour in found] == pytest.approx([1.0, 0.8], abs=1e-5)
    assert len(await index.near("ana", NORTH, limit=99)) == 3


async def test_nobody_reaches_anothers_rows(index: MemoryIndex) -> None:
    users = [f"user{number}" for number in range(4 * STAMP.collections)]
    for user in users:
        await index.put(user, [Entry(f"of-{user}", NORTH, "private")])
    for user in users:
        assert ids(await index.near(user, NORTH, limit=99)) == [f"of-{user}"]
        await index.remove(user, [f"of-{other}" for other in users if other != user])
    for user in users:
        assert ids(await index.near(user, NORTH, limit=99)) == [f"of-{user}"]
    assert await index.near("stranger", NORTH, limit=99) == []


async def test_an_audience_is_asked_alone(index: MemoryIndex) -> None:
    await index.put("ana", [Entry("mine", NORTH, "private"), Entry("ours", EAST, "a-group")])
    await index.put("ben", [Entry("his", NORTH, "a-group")])
    assert ids(await index.near("ana", NORTH, limit=9, audience="a-group")) == ["ours"]
    assert ids(await index.near("ana", NORTH, limit=9)) == ["mine", "ours"]


async def test_what_is_put_again_is_replaced(index: MemoryIndex) -> None:
    await index.put("ana", [Entry("a", NORTH, "private")])
    await index.put("ana", [Entry("a", EAST, "a-group")])
    assert await index.near("ana", EAST, limit=9, audience="private") == []
    (only,) = await index.near("ana", EAST, limit=9, audience="a-group")
    assert only.similarity == pytest.approx(1.0, abs=1e-5)


async def test_removing_what_is_not_there_is_no_error(index: MemoryIndex) -> None:
    await index.put("ana", [])
    await index.remove("ana", [])
    await index.remove("ana", ["unknown"])
    await index.put("ana", [Entry("a", NORTH, "private")])
    await index.remove("ana", ["a", "a-stranger"])
    assert await index.near("ana", NORTH, limit=9) == []


async def test_who_is_alone_is_found_without_a_filter_and_by_nobody_else(index: MemoryIndex) -> None:
    for alone in (False, True):
        await index.put("ana", [Entry("a", NORTH, "private"), Entry("g", UP, "a-group")], alone=alone)
        await index.put("ben", [Entry("b", NORTH, "private")], alone=alone)
        assert ids(await index.near("ana", NORTH, limit=9, alone=alone)) == ["a", "g"]
        assert ids(await index.near("ana", NORTH, limit=9, audience="a-group", alone=alone)) == ["g"]
        assert [each.id for each in await index.entries("ana", ["a", "b"], alone=alone)] == ["a"]
    assert sorted(await index.ids_alone("ana")) == ["a", "g"]
    await index.leave("ana")
    assert await index.near("ana", NORTH, limit=9) == []
    assert ids(await index.near("ana", NORTH, limit=9, alone=True)) == ["a", "g"]
    assert ids(await index.near("ben", NORTH, limit=9)) == ["b"]


async def test_a_new_index_is_stamped_once(own_chroma: str, index: MemoryIndex) -> None:
    assert await index.check() is State.SERVING
    assert await index_at(own_chroma).check() is State.SERVING


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (IndexStamp("another", 3, 4), "embedding_model=a-model, not another"),
        (IndexStamp("a-model", 5, 4), "dimensions=3, not 5"),
        (IndexStamp("a-model", 3, 8), "collections=4, not 8"),
    ],
)
async def test_another_make_is_refused_with_its_cure(
    own_chroma: str, index: MemoryIndex, other: IndexStamp, difference: str
) -> None:
    with pytest.raises(IndexMismatch, match=difference) as refused:
        await index_at(own_chroma, other).check()
    assert "mneme reindex" in str(refused.value)
    assert await index.check() is State.SERVING


async def test_another_make_is_filled_beside_the_one_that_serves(own_chroma: str, index: MemoryIndex) -> None:
    other = index_at(own_chroma, OTHER)
    await index.put("ana", [Entry("a", NORTH, "private")])
    assert await other.begin() is State.FILLING
    await other.put("ana", [Entry("b", NORTH, "private")])
    with pytest.raises(IndexMismatch, match="goes on where it was"):
        await other.check()
    await other.settle(State.FILLED)
    assert await index_at(own_chroma, OTHER).check() is State.FILLED
    assert await other.begin() is State.FILLED
    assert ids(await index.near("ana", NORTH, limit=9)) == ["a"]
    assert ids(await other.near("ana", NORTH, limit=9)) == ["b"]


async def test_what_is_removed_is_removed_from_every_make(own_chroma: str, index: MemoryIndex) -> None:
    other = index_at(own_chroma, replace(OTHER, collections=3))
    await other.begin()
    for alone in (False, True):
        for each in (index, other):
            await each.put("ana", [Entry("a", NORTH, "private"), Entry("b", NORTH, "private")], alone=alone)
        await other.put("ben", [Entry("a", NORTH, "private")], alone=alone)
        await index.remove("ana", ["a"], alone=alone)
        for each in (index, other):
            assert (await each.digests("ana", alone=alone)).keys() == {"b"}
        assert (await other.digests("ben", alone=alone)).keys() == {"a"}


async def test_an_index_tells_the_digests_of_all_that_is_a_users(index: MemoryIndex) -> None:
    said = {f"e{number}": f"digest {number}" for number in range(PAGE + 1)}
    await index.put("ana", [Entry(id, NORTH, "private", digest) for id, digest in said.items()])
    await index.put("ben", [Entry("his", NORTH, "private")])
    assert await index.digests("ana") == said
    assert await index.digests("ben") == {"his": ""}
    assert [each.digest for each in await index.entries("ana", ["e5"])] == ["digest 5"]


async def test_whoever_works_on_is_told_that_another_make_took_the_place(
    own_chroma: str, index: MemoryIndex
) -> None:
    await index.put("ana", [Entry("a", NORTH, "private")])
    other = index_at(own_chroma, OTHER)
    await other.begin()
    await other.leave_others()
    for user in ("ana", "ben", "cem", "dora", "eva"):
        with pytest.raises(IndexMismatch):
            await index.near(user, NORTH, limit=9)
        with pytest.raises(IndexMismatch):
            await index.put(user, [Entry("a", NORTH, "private")])


async def test_an_index_that_was_lost_is_worked_on(own_chroma: str, index: MemoryIndex) -> None:
    await index.put("ana", [Entry("a", NORTH, "private")])
    await empty_chroma(own_chroma)
    assert await index.near("ana", NORTH, limit=9) == []
    await index.put("ana", [Entry("b", NORTH, "private")])
    assert ids(await index.near("ana", NORTH, limit=9)) == ["b"]


async def test_of_an_earlier_version_it_is_said_so(own_chroma: str, index: MemoryIndex) -> None:
    await empty_chroma(own_chroma)
    client = await chromadb.AsyncHttpClient("127.0.0.1", port_of(own_chroma))
    await client.create_collection("mneme-index", metadata=asdict(STAMP), embedding_function=None)
    with pytest.raises(IndexMismatch, match="an earlier Mneme: run `mneme reindex`"):
        await index_at(own_chroma).check()


async def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with chroma_server(tmp_path) as url:
        several = [index_at(url) for _ in range(4)]
        await asyncio.gather(*(one.ping() for one in several))
        assert None in await asyncio.gather(*(one.check() for one in several))
        others = [index_at(url, OTHER) for _ in range(2)]
        refused = await asyncio.gather(*(one.check() for one in others), return_exceptions=True)
        assert [type(error) for error in refused] == [IndexMismatch] * 2


async def test_other_collections_are_left_alone(own_chroma: str, index: MemoryIndex) -> None:
    client = await chromadb.AsyncHttpClient("127.0.0.1", port_of(own_chroma))
    await client.get_or_create_collection("somebody-elses", embedding_function=None)
    await index.leave_others()
    assert "somebody-elses" in {collection.name for collection in await client.list_collections()}


async def test_chroma_comes_back_emptied(tmp_path: Path) -> None:
    with chroma_server(tmp_path) as url:
        index = index_at(url)
        assert await index.check() is None
        await index.put("ana", [Entry("a", NORTH, "private")])
    with pytest.raises(IndexUnavailable):
        await index.near("ana", NORTH, limit=9)
    await asyncio.to_thread(shutil.rmtree, tmp_path / "chroma")
    with chroma_server(tmp_path, port_of(url)):
        assert await index.near("ana", NORTH, limit=9) == []
        await index.put("ana", [Entry("b", NORTH, "private")])
        assert await index.check() is None, "it has to be filled again"
        assert ids(await index.near("ana", NORTH, limit=9)) == ["b"]


async def test_chroma_comes_back_as_it_was(tmp_path: Path) -> None:
    with chroma_server(tmp_path) as url:
        index = index_at(url)
        await index.check()
        await index.put("ana", [Entry("a", NORTH, "private")])
    with chroma_server(tmp_path, port_of(url)):
        assert ids(await index.near("ana", NORTH, limit=9)) == ["a"]
        assert await index.check() is State.SERVING


async def test_an_index_out_of_reach_is_unavailable() -> None:
    index = index_at(f"http://127.0.0.1:{free_port()}")
    for call in (
        index.ping(),
        index.check(),
        index.begin(),
        index.leave_others(),
        index.put("ana", [Entry("a", NORTH, "private")]),
        index.remove("ana", ["a"]),
        index.near("ana", NORTH, limit=1),
    ):
        with pytest.raises(IndexUnavailable):
            await call


async def test_nobody_waits_behind_others_for_a_chroma_that_hangs() -> None:
    hung = asyncio.Event()
    callers = 12

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    index = index_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with asyncio.timeout(CALL_TIMEOUT_SECONDS * (callers - 1)):
        ended = await asyncio.gather(*(index.ping() for _ in range(callers)), return_exceptions=True)
    assert [type(error) for error in ended] == [IndexUnavailable] * callers
    hung.set()
    server.close()
    await server.wait_closed()


async def test_vectors_that_do_not_fit_are_refused(index: MemoryIndex) -> None:
    await index.put("ana", [Entry("a", NORTH, "private")])
    with pytest.raises(IndexUnavailable):
        await index.put("ana", [Entry("b", np.ones(5, dtype=np.float32), "private")])
    assert ids(await index.near("ana", NORTH, limit=9)) == ["a"]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://h:99999"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CHROMA_URL"):
        index_at(url)
