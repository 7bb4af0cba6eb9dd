"""`mneme bench recall`: told conversations of one's own, it says what recall finds in them."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_SECONDS = 150

DOCS = {
    "a": "My sister keeps bees in her garden.",
    "b": "The dentist wants to see me on Friday.",
    "c": "I sold the blue bike to a neighbour.",
    "d": "We are painting the kitchen yellow.",
}
QUESTIONS = {
    "Who keeps bees?": ["a"],
    "What colour does the kitchen get?": ["d"],
    "Which bike is gone?": ["c"],
}


def conversation(id: str, **changes: Any) -> dict[str, Any]:
    """One that starts each of its ids with its own, as the public sets do not."""
    docs = [
        {"id": name, "text": text, "speaker": "user", "date": "", "session": "1"}
        for name, text in DOCS.items()
    ]
    questions = [
        {"id": f"{id}/{text}", "text": text, "evidence": evidence, "category": "plain"}
        for text, evidence in QUESTIONS.items()
    ]
    return {"id": id, "docs": docs, "questions": questions} | changes


def mneme(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bots.cli", "bench", "recall", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "MNEME_DATA_DIR": str(folder / "data")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def test_rankings_name_the_sets_own_ids_and_nothing_is_left_behind(tmp_path: Path) -> None:
    data, out = tmp_path / "set.json.gz", tmp_path / "ranked.jsonl"
    data.write_bytes(gzip.compress(json.dumps([conversation("one"), conversation("two")]).encode()))
    done = mneme(tmp_path, "--data", str(data), "--out", str(out))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["question"] for line in lines] == [
        f"{id}/{text}" for id in ("one", "two") for text in QUESTIONS
    ]
    for line in lines:
        assert set(line["ranked"]) <= set(DOCS)
        assert line["ranked"][0] == QUESTIONS[line["question"].split("/")[1]][0]
    assert "index alone" in done.stdout
    assert [row.split()[:2] for row in done.stdout.splitlines() if row.startswith("all")] == [
        ["all", "100.0"]
    ]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]x",
        "{}",
        '[{"id": 1}]',
        '[{"id": 1, "docs": [{}], "questions": []}]',
        json.dumps([conversation("one", docs=[])]),
        json.dumps([conversation("one", questions=[])]),
    ],
    ids=["nothing", "no JSON", "no list", "no docs", "no document", "not one document", "not one question"],
)
def test_what_is_no_set_is_said(tmp_path: Path, raw: str) -> None:
    data = tmp_path / "set.json"
    data.write_text(raw)
    done = mneme(tmp_path, "--data", str(data))
    assert done.returncode == os.EX_CONFIG
    assert str(data) in done.stderr
    assert "Traceback" not in done.stderr
