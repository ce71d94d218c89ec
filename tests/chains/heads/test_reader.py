"""Which head is believed, whose is stale, and what is the host's clock's fault: by two clocks that tests move."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import ChainProtocolError, ChainUnavailable, ProvenLie
from chains.heads.head_track import HeadTrack, ObservedHead
from chains.heads.plausibility import MAX_JUMP_BLOCKS, AcceptedHead, implausibility
from chains.heads.reader import COMPARE_INTERVAL_S, HeadReader
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import EndpointState, Head
from tests.chains.evm_world import Calls, hash_of

T0 = 1_800_000_000  # unix seconds at monotonic 0


def seen(position: int, time: int, *, final: int | None = None, branch: str = "a") -> ObservedHead:
    return ObservedHead.of(Head(position, hash_of(position, branch), time, final))


@dataclass
class Node:
    """A chain with a block each `every_s`, as one endpoint shows it."""

    world: World
    every_s: float = 3.0
    off_s: int = 0  # its blocks' times, compared with true time
    up_to: int | None = None
    position: int | None = None  # what it claims
    time: int | None = None
    final: int | None = None
    branch: str = "a"
    ahead: int = 0  # blocks it makes up above the real head
    own_tip: bool = False  # its newest block is always another one than the others'
    holds: int | None = None  # the highest block it shows by its number
    lag_s: float = 0.0
    down: bool = False
    asked: int = 0

    def head(self) -> ObservedHead:
        self.asked += 1
        return self._head()

    def _head(self) -> ObservedHead:
        if self.down:
            raise ChainUnavailable("down")
        number = int((self.world.now - self.lag_s) // self.every_s)
        number = number if self.up_to is None else min(number, self.up_to)
        time = self.time if self.time is not None else int(T0 + number * self.every_s) + self.off_s
        number = number + self.ahead if self.position is None else self.position
        return seen(number, time, final=self.final, branch=self.branch)

    def block(self, number: int) -> tuple[str, int] | None:
        if number > (self._head().newest if self.holds is None else self.holds):
            return None
        branch = "c" if self.own_tip and number == self._head().newest else self.branch
        return hash_of(number, branch), int(T0 + number * self.every_s) + self.off_s


@dataclass
class World:
    """Endpoints, two clocks, and the reader of their heads."""

    now: float = 10_000.0
    host_off_s: float = 0.0
    nodes: list[Node] = field(default_factory=list)
    reader: HeadReader | None = None

    def wall(self) -> float:
        return T0 + self.now + self.host_off_s

    def open(self, *nodes: Node, **options: object) -> HeadReader:
        self.nodes = list(nodes)
        urls = [f"http://{number}.example" for number in range(1, len(nodes) + 1)]
        pool = EndpointPool(urls, telemetry=Calls(), clock=lambda: self.now)
        of = dict(zip(pool.endpoints, nodes, strict=True))

        async def read(endpoint):
            return of[endpoint].head()

        async def hash_at(endpoint, position):
            return of[endpoint].block(position)

        options.setdefault("hash_at", hash_at)
        self.reader = HeadReader(pool, method="head", read=read, clock=lambda: self.now, wall=self.wall, **options)
        return self.reader

    async def poll(self, times: int = 1, every_s: float = 5.0) -> Head:
        head = await self.reader.head()
        for _ in range(times - 1):
            self.now += every_s
            head = await self.reader.head()
        return head


@pytest.fixture
def world() -> World:
    return World()


def states(reader: HeadReader) -> list[str]:
    return [endpoint.state.value for endpoint in reader.condition().endpoints]


# --- up to date or not ---------------------------------------------------------------------------


async def test_a_chain_that_goes_on_is_not_stale_and_hardly_behind(world):
    reader = world.open(Node(world))
    await world.poll(20)
    condition = reader.condition()
    assert (condition.stale, condition.problems) == (False, ())
    assert 0 <= condition.lag_s <= 5
    assert abs(condition.skew_s) <= 3
    assert states(reader) == ["ok"]


@pytest.mark.parametrize("hours", [0.1, 3, 48])
async def test_an_only_endpoint_whose_newest_block_is_old_is_stale_at_once_with_its_true_lag(world, hours):
    age = int(hours * 3600)
    reader = world.open(Node(world, up_to=int((world.now - age) // 3)))
    await world.poll()
    condition = reader.condition()
    assert condition.stale
    assert condition.lag_s == pytest.approx(age, abs=4)
    assert "stand still" in condition.problems[0]
    assert states(reader) == ["stale"]


async def test_an_old_head_is_unproven_until_it_was_seen_for_long_enough_or_keeps_pace(world):
    node = Node(world, up_to=int(world.now // 3) - 400)
    reader = world.open(node)
    await world.poll()
    assert (reader.condition().stale, reader.condition().unproven) == (True, True)
    assert "or this host's clock is ahead" in reader.condition().problems[0]
    await world.poll(14)
    assert (reader.condition().stale, reader.condition().unproven) == (True, False)

    world.host_off_s = 1200
    reader = world.open(Node(world))
    await world.poll()
    assert (reader.condition().stale, reader.condition().unproven) == (True, True)
    await world.poll(2)
    assert (reader.condition().stale, reader.condition().unproven) == (False, False)


@pytest.mark.parametrize(("every_s", "longest"), [(0.25, 60), (3, 60), (12, 240)])
async def test_a_head_that_stands_still_is_stale_after_a_minute_or_twenty_intervals(world, every_s, longest):
    node = Node(world, every_s=every_s)
    reader = world.open(node)
    await world.poll(30)
    node.up_to = int(world.now // every_s)
    await world.poll(int((longest - every_s) // 5))
    assert not reader.condition().stale
    await world.poll(int(every_s // 5) + 6)
    assert reader.condition().stale
    node.up_to = None
    await world.poll(2)
    assert not reader.condition().stale


async def test_rare_polls_are_no_standstill(world):
    reader = world.open(Node(world))
    await world.poll(5, every_s=3600)
    world.now += 3000
    assert not reader.condition().stale


async def test_a_node_that_is_catching_up_is_behind_and_not_skewed(world):
    node = Node(world)
    reader = world.open(node)
    start = int(world.now // 3) - 3600
    for number in range(12):
        node.up_to = start + 40 * number  # 120 s of blocks every 5 s
        await world.poll(2)
    condition = reader.condition()
    assert condition.stale
    assert condition.skew_s is None
    assert condition.lag_s > 3600


async def test_positions_that_are_times_work_alike(world):
    """Tron and TON: the head that is read is older than the newest block, which says how far behind we are."""
    reader = world.open(Node(world), interval_s=3.0, hash_at=None)
    await world.poll(10)
    assert not reader.condition().stale
    world.nodes[0].up_to = int(world.now // 3)
    await world.poll(16)
    assert reader.condition().stale


# --- others that know better ---------------------------------------------------------------------


@pytest.mark.parametrize("every_s", [1, 3, 12])
async def test_the_other_is_asked_when_one_stands_still_and_found_within_a_minute(world, every_s):
    frozen, alive = Node(world, every_s=every_s), Node(world, every_s=every_s)
    reader = world.open(frozen, alive)
    await world.poll(10)
    frozen.up_to = at = int(world.now // every_s)
    head = await world.poll(12)
    assert head.position > at
    assert not reader.condition().stale
    await world.poll(60)
    assert states(reader) == ["stale", "ok"]


async def test_one_that_stands_still_is_compared_before_it_is_time_to_compare_all(world):
    frozen, alive = Node(world), Node(world)
    world.open(frozen, alive)
    await world.poll(13)  # the last comparison was just now
    frozen.up_to = at = int(world.now // 3)
    assert (await world.poll(6)).position > at  # 25 s later


async def test_an_endpoint_that_was_frozen_from_the_start_is_passed_over_at_once(world):
    reader = world.open(Node(world, up_to=1000), Node(world))
    assert (await world.poll()).position == int(world.now // 3)
    assert states(reader) == ["stale", "ok"]


async def test_others_are_compared_at_least_once_a_minute_and_not_at_every_poll(world):
    one, two = Node(world), Node(world)
    world.open(one, two)
    await world.poll(121)  # ten minutes
    assert COMPARE_INTERVAL_S <= 60
    assert 10 <= two.asked <= 25
    assert one.asked == 121


async def test_when_all_stand_still_the_chain_is_stale(world):
    reader = world.open(*(Node(world, up_to=3000) for _ in range(3)))
    await world.poll(3)
    assert reader.condition().stale
    assert states(reader) == ["stale"] * 3


async def test_an_endpoint_that_does_not_answer_the_comparison_spoils_nothing(world):
    reader = world.open(Node(world), Node(world, down=True))
    await world.poll(20)
    assert reader.condition().problems == ()
    assert states(reader)[0] == "ok"
    assert states(reader)[1] in {"resting", "failing"}


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [1200, 61, -61, -119])
async def test_a_clock_that_is_off_is_skew_and_no_staleness(world, off, caplog):
    caplog.set_level(logging.INFO, logger="chains.heads")
    world.host_off_s = off
    reader = world.open(Node(world))
    await world.poll(10)
    condition = reader.condition()
    assert not condition.stale
    assert condition.skew_s == pytest.approx(off, abs=4)
    assert condition.endpoints[0].skew_s == condition.skew_s
    assert condition.lag_s <= 5
    if abs(off) > 64:
        assert ("ahead of" if off > 0 else "behind") in condition.problems[0]
        assert len(caplog.records) == 1  # once, not at every poll
        world.host_off_s = 0
        await world.poll(2)
        assert "agree again" in caplog.text


@pytest.mark.parametrize("jump", [86_400, 3600, -3600, -86_400])
async def test_a_jump_of_the_wall_clock_changes_nothing_but_the_skew(world, jump):
    reader = world.open(Node(world))
    await world.poll(10)
    world.host_off_s = jump
    head = await world.poll(10)
    assert head.position == int(world.now // 3)
    condition = reader.condition()
    assert not condition.stale
    assert condition.skew_s == pytest.approx(jump, abs=4)


async def test_one_endpoint_whose_blocks_are_off_is_not_called_the_hosts_fault(world):
    reader = world.open(Node(world), Node(world, off_s=-300))
    await world.poll(20)
    (problem,) = reader.condition().problems
    assert problem.startswith("this host's clock, or the endpoint's,")
    assert "2.example" in problem


# --- heads that cannot be true -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "time", "ok"),
    [
        (1000 + MAX_JUMP_BLOCKS, T0, True),
        (1001 + MAX_JUMP_BLOCKS, T0, False),
        (1000 + MAX_JUMP_BLOCKS + 600, T0 + 60, False),  # what time allows is counted to now, not to its own claim
        (10**9, T0, False),
        (900, T0 - 300, True),
        (1001, T0 + 120, True),
        (1001, T0 + 121, False),
    ],
)
def test_a_head_is_bounded_by_the_last_one_and_by_now(position, time, ok):
    last = AcceptedHead(1000, T0, at=50.0)
    doubt = implausibility(seen(position, time), last, now=50.0, wall=T0, counts_blocks=True)
    assert (doubt is None) == ok


def test_after_an_outage_more_is_allowed_and_at_first_contact_any_height():
    last = AcceptedHead(1000, T0, at=50.0)
    day = 86_400
    after = seen(1000 + 10 * day + MAX_JUMP_BLOCKS, T0 + day)
    assert implausibility(after, last, now=50.0 + day, wall=T0 + day, counts_blocks=True) is None
    assert implausibility(seen(10**9, T0), None, now=0, wall=T0, counts_blocks=True) is None
    assert implausibility(seen(10**9, T0 + 500), None, now=0, wall=T0, counts_blocks=True) is not None


@pytest.mark.parametrize("lie", [{"position": 10**9}, {"time": T0 + 10**6}, {"position": 6000}])
async def test_a_liar_is_passed_over_named_and_forgiven(world, lie):
    liar, honest = Node(world), Node(world)
    reader = world.open(liar, honest)
    await world.poll(3)
    for name, value in lie.items():
        setattr(liar, name, value)
    head = await world.poll(2)
    assert head.position == int(world.now // 3)
    assert states(reader) == ["lying", "ok"]
    assert "1.example" in reader.condition().problems[0]
    assert reader.condition().newest_position <= head.position
    liar.position = liar.time = None
    await world.poll(20)
    assert states(reader) == ["ok", "ok"]
    assert reader.condition().problems == ()


async def test_an_only_endpoint_that_lies_is_waited_for_with_both_suspects_named(world):
    node = Node(world)
    reader = world.open(node)
    await world.poll(2)
    node.position = 10**9
    with pytest.raises(ChainUnavailable, match=r"either this host's clock or the endpoint is wrong: 1\.example"):
        await world.poll()
    assert reader.condition().endpoints[0].state is EndpointState.LYING
    assert "either this host's clock" in reader.condition().problems[0]
    node.position = None
    await world.poll()
    assert reader.condition().problems == ()


async def test_two_that_agree_on_the_future_outweigh_the_hosts_clock(world):
    world.host_off_s = -1200
    reader = world.open(Node(world), Node(world))
    assert (await world.poll()).position == int(world.now // 3)
    for polls in (1, 20):  # at once, and for as long as it lasts
        (problem,) = reader.condition().problems
        assert problem.startswith("this host's clock is wrong")
        assert "lying" not in states(reader)
        await world.poll(polls)


async def test_two_that_do_not_agree_on_the_future_outweigh_nothing(world):
    world.host_off_s = -1200
    world.open(Node(world), Node(world, branch="b"))
    with pytest.raises(ChainUnavailable, match="either this host's clock"):
        await world.poll()


async def test_one_that_was_proven_to_lie_bears_nobody_out_and_all_that_is_suspected_is_said(world):
    """What it shows may be made up: nothing is read by it, and operators see the clock, the endpoint and the liar."""
    world.host_off_s = -180
    reader = world.open(Node(world), Node(world))
    liar, honest = reader._pool.endpoints
    with pytest.raises(ProvenLie):
        await reader._pool.call_one(liar, "head", _lie)

    with pytest.raises(ChainUnavailable, match=r"either this host's clock or the endpoint is wrong: 2\.example"):
        await world.poll()
    assert reader.condition().problems == (reader.health.fault,)
    assert states(reader) == ["lying", "lying"]
    world.host_off_s = 0
    await world.poll()
    assert (reader.condition().problems, states(reader)) == ((), ["lying", "ok"])
    assert honest is reader._pool.preferred


async def _lie(_endpoint):
    raise ProvenLie("made up")


# --- heads that several hold ---------------------------------------------------------------------


# --- heads that are contradicted -----------------------------------------------------------------


def told(reader: HeadReader, words: str) -> list[str]:
    return [problem for problem in reader.condition().problems if words in problem]


@pytest.mark.parametrize("ahead", [60, 475, 990])
@pytest.mark.parametrize("grows", [True, False])
async def test_a_head_made_up_within_what_time_allows_is_exposed_by_the_others(world, ahead, grows):
    liar, honest = Node(world), Node(world)
    reader = world.open(liar, honest)
    await world.poll(10)
    lie = int(world.now // 3) + ahead
    liar.ahead, liar.position = (ahead, None) if grows else (0, lie)
    liar.time = None if grows else int(world.wall())
    world.now += 5
    head = await world.poll(6)
    assert head.position == int(world.now // 3)
    assert states(reader) == ["lying", "ok"]
    (problem,) = told(reader, "showed block")
    assert "1.example" in problem
    assert "2.example" in problem
    liar.ahead = 0
    liar.position = liar.time = None
    await world.poll(30)
    assert states(reader) == ["ok", "ok"]
    assert told(reader, "showed block")
    await world.poll(140)
    assert reader.condition().problems == ()


async def test_whoever_was_exposed_is_not_gone_by_when_it_is_the_last_that_answers(world):
    liar, honest = Node(world), Node(world)
    world.open(liar, honest)
    await world.poll(10)
    liar.ahead = 475
    world.now += 5
    await world.poll(10)
    honest.down = True
    for _ in range(30):
        world.now += 5
        with pytest.raises(ChainUnavailable, match="showed block"):
            await world.poll(1)
    honest.down = False
    world.now += 60
    assert (await world.poll(2)).position == int(world.now // 3)


async def test_a_head_that_leaps_is_not_gone_by_before_another_shows_it(world):
    one, two = Node(world), Node(world)
    reader = world.open(one, two)
    await world.poll(10)
    one.ahead = 400
    for _ in range(3):
        assert (await world.poll(1)).position == int(world.now // 3)
        world.now += 5
    two.ahead = 400
    assert (await world.poll(1)).position == int(world.now // 3) + 400
    await world.poll(20)
    assert states(reader) == ["ok", "ok"]


async def test_a_head_that_leaps_beside_one_that_stands_still_is_gone_by(world):
    one, two = Node(world), Node(world)
    world.open(one, two)
    await world.poll(10)
    two.up_to = int(world.now // 3)
    await world.poll(20)
    one.ahead = 400
    assert (await world.poll(2)).position == int(world.now // 3) + 400


async def test_an_only_endpoint_that_takes_its_head_back_is_told_as_lying_for_a_while(world):
    node = Node(world)
    reader = world.open(node)
    await world.poll(10)
    node.ahead = 500
    assert (await world.poll(4)).position == int(world.now // 3) + 500
    node.ahead = 0
    world.now += 5
    assert (await world.poll(2)).position == int(world.now // 3)
    assert states(reader) == ["lying"]
    assert told(reader, "1.example#1 showed block")
    await world.poll(30)
    assert states(reader) == ["ok"]
    await world.poll(120)
    assert reader.condition().problems == ()


async def test_whoever_does_not_hold_what_it_showed_as_its_newest_is_told_as_lying(world):
    node = Node(world, holds=3333)
    reader = world.open(node)
    node.ahead = 400
    await world.poll(12)
    assert states(reader) == ["ok"]
    await world.poll(12)
    assert states(reader) == ["lying"]
    assert told(reader, "and does not hold it")
    node.holds, node.ahead = None, 0
    await world.poll(40)
    assert states(reader) == ["ok"]


async def test_who_lies_of_two_that_contradict_each_other_from_the_start_is_not_guessed(world):
    world.open(Node(world, ahead=500), Node(world))
    reader = world.reader
    await world.poll(10)
    assert told(reader, "showed block")
    assert states(reader) == ["ok", "ok"]


@pytest.mark.parametrize("same_height", [True, False])
async def test_endpoints_that_stay_on_different_branches_are_named(world, same_height):
    one, two = Node(world), Node(world, branch="b", lag_s=0 if same_height else 7)
    reader = world.open(one, two)
    await world.poll(20)
    assert len(told(reader, "different blocks")) == 1
    assert "1.example" in told(reader, "different blocks")[0]
    assert "2.example" in told(reader, "different blocks")[0]
    two.branch = "a"
    await world.poll(10)
    assert reader.condition().problems == ()


async def test_two_tips_that_are_forgotten_soon_are_not_worth_a_word(world):
    reader = world.open(Node(world), Node(world, own_tip=True))
    for _ in range(60):
        await world.poll(1)
        world.now += 5
        assert told(reader, "different blocks") == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.25, 0.45, 3.0, 12.0]))
async def test_endpoints_that_only_lag_or_reorganise_a_little_contradict_nobody(seed, every_s):
    chance, world = random.Random(seed), World()
    nodes = [Node(world, every_s=every_s, lag_s=chance.uniform(0, 40)) for _ in range(3)]
    reader = world.open(*nodes)
    await world.poll(3)
    for _ in range(60):
        node = chance.choice(nodes)
        node.lag_s, node.ahead, node.off_s = chance.uniform(0, 40), chance.randint(-5, 0), chance.randint(0, 3)
        world.now += chance.uniform(0.1, 40)
        await world.reader.head()
    assert "lying" not in states(reader)
    assert told(reader, "showed block") == []


@pytest.mark.parametrize("claimed", [5, 900, 10**6])
async def test_depth_counts_from_what_as_many_hold_as_must_agree(world, claimed):
    top = int(world.now // 3)
    reader = world.open(Node(world, position=top + claimed), Node(world), quorum=2)
    head = await world.poll()
    assert (head.position, head.block_hash) == (top, hash_of(top))
    assert reader.condition().newest_position == top


async def test_three_of_which_two_must_agree_pass_over_the_third(world):
    top = int(world.now // 3)
    reader = world.open(Node(world, branch="b", position=top + 7), Node(world), Node(world), quorum=2)
    head = await world.poll(2)
    assert head.block_hash == hash_of(head.position)
    assert reader.condition().problems == ()


async def test_endpoints_that_differ_at_the_tip_agree_a_little_below(world):
    one, two = Node(world), Node(world)
    world.open(one, two, quorum=2)
    top = int(world.now // 3)
    two.block = lambda number: (hash_of(number, "b" if number > top - 3 else "a"), int(T0 + 3 * number))
    head = await world.poll()
    assert (head.position, head.block_hash) == (top - 4, hash_of(top - 4))


async def test_too_few_that_answer_or_agree_is_an_outage(world):
    world.open(Node(world), Node(world, down=True), quorum=2)
    with pytest.raises(ChainUnavailable, match="only 1 of the 2 endpoints that must agree"):
        await world.poll()
    world.open(Node(world), Node(world, branch="b"), quorum=2)
    with pytest.raises(ChainProtocolError, match="contradict each other"):
        await world.poll()


# --- what is final -------------------------------------------------------------------------------


async def test_who_cannot_tell_what_is_final_is_not_used_for_it(world):
    reader = world.open(Node(world), Node(world, final=3000), wants_final=True)
    assert (await world.poll()).finalized == 3000
    assert reader.condition().problems == ()
    assert (await world.poll(5)).finalized == 3000


async def test_when_nobody_can_tell_what_is_final_that_is_said(world):
    reader = world.open(Node(world), Node(world), wants_final=True)
    assert (await world.poll()).finalized is None
    assert "finalized" in reader.condition().problems[0]


async def test_a_final_block_that_stays_the_same_for_half_an_hour_is_told(world):
    node = Node(world, final=3000)
    reader = world.open(node, wants_final=True)
    await world.poll(29, 60)
    assert reader.condition().problems == ()
    await world.poll(4, 60)
    assert told(reader, "the finalized block is still 3000")
    node.final = 3500
    await world.poll(2)
    assert reader.condition().problems == ()


async def test_with_a_quorum_a_final_block_is_one_that_as_many_know(world):
    world.open(Node(world, final=3100), Node(world, final=3000), quorum=2, wants_final=True)
    assert (await world.poll()).finalized == 3000


# --- one endpoint's track ------------------------------------------------------------------------


def test_the_interval_is_learnt_and_a_pause_does_not_make_a_chain_slow():
    track = HeadTrack()
    for number in range(30):
        track.observe(seen(number, T0 + 2 * number), float(2 * number))
    assert track.interval_s == pytest.approx(2)
    track.observe(seen(31, T0 + 100_000), 100_000.0)
    assert track.interval_s < 20
