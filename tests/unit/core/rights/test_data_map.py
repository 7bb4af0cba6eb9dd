"""The data map against the schema: nothing is kept that it doesn't tell of."""

import pytest
from sqlalchemy import LargeBinary, String, Table

from core.rights.data_map import TABLES, Kept, columns, retention, untold
from core.settings import Settings
from core.storage.schema import metadata

SHORT_CHARS = 128
"""Ids, states, kinds and numbers at platforms are no longer; what people say may be."""


def test_every_table_is_told_of() -> None:
    assert untold() == set(), "say in core/rights/data_map.py what this table holds and how long"


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_what_could_hold_somebody_s_words_is_sealed(table: Table) -> None:
    hidden = columns(table)
    for name in hidden.plain:
        kind = table.columns[name].type
        assert not isinstance(kind, LargeBinary), name
        if isinstance(kind, String):
            assert kind.length is not None, name
            assert kind.length <= SHORT_CHARS, name
    assert set(hidden.sealed + hidden.digests + hidden.plain) == set(table.columns.keys())


def test_each_rule_of_retention_is_said_and_used() -> None:
    said = retention(Settings(_env_file=None))  # type: ignore[call-arg]
    assert set(said) == set(Kept)
    assert {told.kept for told in TABLES.values()} == set(Kept)
