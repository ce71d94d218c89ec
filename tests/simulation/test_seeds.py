"""Which seeds are played, how a failure is made smaller, and that a plan can be asked for in part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import sabotage, seeds
from tests.simulation.plans import RESTART_S, Asked, sim_plan
from tests.simulation.run import Result


def failing(asked: Asked, sentence: str = "missed: order-7 is paid") -> Result:
    return Result(asked, [sentence], planned=(12, tuple(range(30))))


def test_a_failure_is_made_as_small_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Asked] = []

    def play(asked: Asked) -> Result:
        played.append(asked)
        guilty = (asked.faults is None or 5 in asked.faults) and (asked.purchases is None or 7 in asked.purchases)
        return failing(asked) if guilty else Result(asked, [])

    monkeypatch.setattr(seeds, "play", play)
    monkeypatch.setattr(seeds, "TRIALS", 200)
    smallest = seeds.smaller(failing(Asked(3)))

    assert (smallest.asked.faults, smallest.asked.purchases) == ((5,), (7,))
    assert smallest.asked.command.endswith("--from 3 --seeds 1 --span 20 --faults 5 --purchases 7")


def test_another_failure_is_not_taken_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "play", lambda asked: failing(asked, "doubled: order-7"))

    assert seeds.smaller(failing(Asked(3))).asked == Asked(3)


def test_no_more_is_tried_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Asked] = []
    monkeypatch.setattr(seeds, "play", lambda asked: played.append(asked) or Result(asked, []))
    seeds.smaller(failing(Asked(3)))

    assert len(played) == seeds.TRIALS


def test_a_part_of_a_plan_is_that_part() -> None:
    whole = sim_plan(Asked(9, family="evm"))
    part = sim_plan(Asked(9, family="evm", faults=(0, 3), purchases=(4,)))

    assert part.faults == (whole.faults[0], whole.faults[3])
    assert [purchase.number for purchase in part.purchases] == [4]
    assert sim_plan(Asked(9, family="evm")) == whole


def test_everything_that_ever_failed_is_played_whatever_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds.machine, "real_time", lambda: 100.0)
    known = seeds.known_failures()
    wanted = [*known, *map(Asked, range(1000))]

    assert known
    assert list(seeds._timed(iter(wanted), 0.0, 60.0, len(known))) == known
    assert len(list(seeds._timed(iter(wanted), 90.0, 60.0, len(known)))) == len(wanted)


def test_how_far_it_got_is_remembered(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    assert seeds._progress(progress) == (0, 0)
    progress.write_text("40 2\n")
    assert seeds._progress(progress) == (40, 2)


def test_other_steps_than_before_are_told(tmp_path: Path) -> None:
    file = tmp_path / "traces"
    one, other = Asked(1), Asked(2, family="ton")
    assert seeds.Traces(file).differs(Result(one, [], trace=7)) is None
    again = seeds.Traces(file)

    assert again.differs(Result(one, [], trace=7)) is None
    assert again.differs(Result(other, [], trace=8)) is None
    assert "0000000000000007" in str(seeds.Traces(file).differs(Result(one, [], trace=9)))
    assert seeds.Traces(None).differs(Result(one, [], trace=9)) is None


def sum_up(numbers: list[int]) -> int:
    return sum(number for number in numbers)


def test_a_sabotage_that_no_longer_fits_the_code_fails() -> None:
    class Owner:
        sum_up: Any = staticmethod(sum_up)

    with pytest.raises(LookupError, match="has to follow the code"):
        sabotage.rewrite(Owner, "sum_up", ("max(", "min("))
    sabotage.rewrite(Owner, "sum_up", ("sum(number", "max(number"))
    assert Owner.sum_up([1, 2, 3]) == 3


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(seeds.SABOTAGES))
def test_every_sabotage_fits_the_code(name: str) -> None:
    """Each in a process of its own, which nothing leaves."""
    child = os.fork()
    if not child:
        code = 1
        try:
            seeds.SABOTAGES[name]()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("name", ["real_time"])
def test_the_machine_is_not_replaced_in_a_process_of_tests(name: str) -> None:
    """A test may import the simulator; only its own command puts the simulated machine below everything."""
    import time  # noqa: PLC0415

    assert getattr(seeds.machine, name) is time.monotonic


def test_a_daemon_that_leaves_an_endpoint_alone_for_minutes_is_started_again() -> None:
    faults = sim_plan(Asked(319, family="evm")).faults
    (claimed,) = [fault for fault in faults if fault.kind == "wrong_chain"]

    assert any(f.kind == "terminate" and f.at == claimed.at + claimed.seconds + RESTART_S for f in faults)
