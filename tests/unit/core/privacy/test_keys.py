"""Keys: what is sealed opens only with the same key in the same place; the master key is made once."""

import base64
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError, Undecryptable
from core.privacy.keys import KEY_BYTES, KEY_FILE, MasterKey, load_master_key, read_master_key, seal, unseal
from tests.conftest import make_settings

KEY = bytes(range(KEY_BYTES))


@given(st.binary(max_size=500), st.text(max_size=40))
def test_what_was_sealed_opens_again(plain: bytes, context: str) -> None:
    assert unseal(KEY, seal(KEY, plain, context), context) == plain


def test_the_same_text_is_never_sealed_alike() -> None:
    assert seal(KEY, b"peanuts", "messages.text") != seal(KEY, b"peanuts", "messages.text")


def test_another_key_or_context_opens_nothing() -> None:
    sealed = seal(KEY, b"peanuts", "messages.text")
    with pytest.raises(Undecryptable):
        unseal(os.urandom(KEY_BYTES), sealed, "messages.text")
    with pytest.raises(Undecryptable):
        unseal(KEY, sealed, "memories.text")


@given(st.data())
def test_a_changed_bit_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, b"allergic to peanuts", "messages.text"))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << (place % 8)
    with pytest.raises(Undecryptable):
        unseal(KEY, bytes(sealed), "messages.text")


@given(st.integers(0, 27))
def test_a_value_cut_short_is_undecryptable_too(length: int) -> None:
    with pytest.raises(Undecryptable):
        unseal(KEY, seal(KEY, b"", "messages.text")[:length], "messages.text")


def test_a_renewed_key_finds_what_the_first_found_and_opens_nothing_of_it() -> None:
    first = MasterKey(KEY)
    second = first.renewed()
    third = read_master_key(second.renewed().text, "x")
    assert first.digest("account", "7") == second.digest("account", "7") == third.digest("account", "7")
    assert first.derive("access code") != second.derive("access code") != third.derive("access code")
    with pytest.raises(Undecryptable):
        second.unwrap("ana", first.wrap("ana", KEY))
    assert read_master_key(first.text, "x").unwrap("ana", first.wrap("ana", KEY)) == KEY
    assert read_master_key(second.text, "x").unwrap("ana", second.wrap("ana", KEY)) == KEY


def test_an_error_names_the_column_and_no_owner() -> None:
    master = MasterKey(KEY)
    with pytest.raises(Undecryptable) as caught:
        master.unwrap("owner-1", master.wrap("owner-2", KEY))
    assert "owner" not in str(caught.value)


def test_purposes_digests_and_masters_are_told_apart() -> None:
    master, other = MasterKey(KEY), MasterKey(os.urandom(KEY_BYTES))
    assert master.derive("a") == MasterKey(KEY).derive("a") != master.derive("b")
    assert master.digest("event", "1") == MasterKey(KEY).digest("event", "1") != other.digest("event", "1")
    assert master.digest("ab", "c") != master.digest("a", "bc") != master.digest("abc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "not" / "there" / "yet"


def load(place: Path, *, make: bool = True) -> MasterKey:
    return load_master_key(make_settings(mneme_data_dir=place, mneme_master_key=None), make=make)


def test_the_first_start_makes_a_key_for_its_owner_alone(place: Path) -> None:
    first = load(place)
    assert stat.S_IMODE((place / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [path.name for path in place.iterdir()] == [KEY_FILE]
    assert load(place).derive("x") == first.derive("x")


def test_first_starts_at_once_end_with_one_key(place: Path) -> None:
    starts = 8
    together = Barrier(starts)

    def start(_: int) -> bytes:
        together.wait()
        return load(place).derive("x")

    with ThreadPoolExecutor(starts) as pool:
        assert len(set(pool.map(start, range(starts)))) == 1
    assert [path.name for path in place.iterdir()] == [KEY_FILE]


def test_without_leave_none_is_made(place: Path) -> None:
    with pytest.raises(ConfigurationError, match="mneme run"):
        load(place, make=False)
    assert not place.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"short", base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), b"\xff\xfe\x00", b"*" * 44],
)
def test_a_key_file_that_holds_no_key_is_named(place: Path, content: bytes) -> None:
    place.mkdir(parents=True)
    (place / KEY_FILE).write_bytes(content)
    with pytest.raises(ConfigurationError, match="must be 32 bytes in base64") as caught:
        load(place)
    assert str(place / KEY_FILE) in str(caught.value)
    assert (place / KEY_FILE).read_bytes() == content


def unreadable(place: Path) -> None:
    (place / KEY_FILE).mkdir(parents=True)


def in_the_way(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("a file where the folder should be")


@pytest.mark.parametrize("spoil", [unreadable, in_the_way])
def test_a_place_that_cannot_be_used_is_named(place: Path, spoil: Callable[[Path], None]) -> None:
    spoil(place)
    with pytest.raises(ConfigurationError, match="can't be used"):
        load(place)


def test_the_environment_goes_before_the_file(place: Path) -> None:
    given = base64.b64encode(KEY).decode()
    settings = make_settings(mneme_data_dir=place, mneme_master_key=f" {given}\n")
    assert load_master_key(settings).derive("x") == MasterKey(KEY).derive("x")
    assert not place.exists()


@pytest.mark.parametrize("value", ["nonsense", "bm9uc2Vuc2U=", "ß" * 44])
def test_a_bad_key_in_the_environment_is_named_without_its_value(place: Path, value: str) -> None:
    with pytest.raises(ConfigurationError, match="MNEME_MASTER_KEY must be 32 bytes") as caught:
        load_master_key(make_settings(mneme_data_dir=place, mneme_master_key=value))
    assert value not in str(caught.value)
