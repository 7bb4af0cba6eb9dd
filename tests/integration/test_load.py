"""The load benchmark in small: everybody is answered, and its table says so. How fast is left open."""

from io import StringIO

from rich.console import Console

from tests.benchmarks.ledger import Ledger, share
from tests.benchmarks.load import WIDTH, Case, run


async def test_everybody_is_answered_and_shown_beside_the_echo_bot() -> None:
    plan = [Case("telegram", 3), Case("slack", 3, 1, "sqlite")]
    shown = StringIO()
    rows = await run(
        plan, Console(file=shown, width=WIDTH), seconds=0.5, minutes=0, rates=1, with_crowd=False
    )
    assert [row.case for row in rows] == plan
    for row in rows:
        assert row.step.asked > 0
        assert row.step.unanswered == 0
        assert 0 < row.step.p50 <= row.step.p95
        assert row.step.cpu["bots"] > 0
    text = shown.getvalue()
    for word in ("telegram: echo bot", "slack: 1 × Mneme on sqlite", "held/s", "ratio"):
        assert word in text


def test_own_time_leaves_out_what_the_stand_ins_took() -> None:
    ledger = Ledger()
    ledger.ask(1, 7, due=100.0)
    ledger.ask(2, 8, due=100.0)
    for began, ended in ((99.0, 101.0), (100.5, 102.0), (104.0, 109.0)):
        ledger.worked(7, began, ended)
    ledger.hear([1, 3], at=105.0)
    assert ledger.own_seconds() == [2.0]
    assert (ledger.asked, ledger.unanswered) == (2, 1)


def test_a_share_of_sorted_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (share(values, 50), share(values, 95), share(values, 100), share([], 95)) == (50, 95, 100, 0)
    assert share(values[:20], 95) == 19
