"""How long a chain was led by nobody is read off what the database said."""

from __future__ import annotations

import sys

from tests.chaos.failover import Failover, FailoverLog, Sight, Trouble, cause_of, is_undisturbed

NODES = ("one", "other")


def failovers(*seen: Sight) -> list[Failover]:
    log = FailoverLog()
    for sight in seen:
        log.see(sight)
    return log.failovers


def test_it_is_the_time_from_the_last_renewal_to_the_successors_first_write() -> None:
    found = failovers(
        Sight("a", "one", 1_000, 1_050, 990),
        Sight("a", "one", 1_400, 1_500, 1_450),
        Sight("b", "other", 5_900, 6_000, 1_450),
        Sight("b", "other", 5_900, 6_100, 6_080),
    )
    assert found == [Failover(1_400, 6_080, "one", "other")]
    assert found[0].seconds == 4.68


def test_what_the_former_leader_wrote_at_last_is_no_write_of_the_successor() -> None:
    assert not failovers(Sight("a", "one", 1, 2, 2), Sight("b", "other", 9, 10, 8), Sight("b", "other", 11, 12, 8))


def test_a_lease_that_is_given_up_and_taken_again_is_a_failover() -> None:
    (found,) = failovers(
        Sight("a", "one", 100, 110, 90),
        Sight(None, None, None, 200, 90),
        Sight("b", "one", 290, 300, 90),
        Sight("b", "one", 290, 350, 340),
    )
    assert found == Failover(100, 340, "one", "one")


def test_the_leader_that_is_seen_first_is_no_failover() -> None:
    assert not failovers(Sight("a", "one", 1, 2, None), Sight("a", "one", 1, 3, 2))


def test_it_is_judged_when_the_database_and_another_process_were_well_all_the_time() -> None:
    failover = Failover(1_000, 6_000, "one", "other")
    assert is_undisturbed(failover, [Trouble("stop", "one", 900, 9_000)], NODES)
    assert is_undisturbed(failover, [Trouble("cut", "other", 100, 999)], NODES)
    assert not is_undisturbed(failover, [Trouble("cut", "other", 100, 1_000)], NODES)
    assert not is_undisturbed(failover, [Trouble("promote", "database", 5_999, sys.maxsize)], NODES)


def test_its_cause_is_whatever_befell_the_former_leader() -> None:
    failover = Failover(1_000, 6_000, "one", "other")
    stopped, killed = Trouble("stop", "one", 900, 1_500), Trouble("kill", "one", 1_200, 9_000)
    assert cause_of(failover, [stopped, killed, Trouble("cut", "other", 1_300, 9_000)]) == "stop and kill"
    assert cause_of(failover, [Trouble("hole", "one", 100, 900)]) == "given up"
