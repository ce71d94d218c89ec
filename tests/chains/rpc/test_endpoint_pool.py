"""Which endpoint is asked, and how long a failing one is left alone."""

from __future__ import annotations

import pytest

from chains.errors import (
    ChainError,
    ChainMisconfigured,
    ChainProtocolError,
    ChainUnavailable,
    InvalidAddress,
    ProvenLie,
)
from chains.rpc.endpoint import Unserved
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import EndpointState
from tests.chains.evm_world import Calls, Now

URLS = ["https://user:hunter22@one.example:8545/v3/secretkey1234?token=abcdefgh99", "http://two.example/key12345678"]


class Bench:
    """A pool of two endpoints whose answers are set by the test."""

    def __init__(self, urls=URLS):
        self.now = Now()
        self.calls = Calls()
        self.pool = EndpointPool(urls, telemetry=self.calls, clock=self.now)
        self.one, self.two = self.pool.endpoints[0], self.pool.endpoints[-1]
        self.answers = {}
        self.asked = []

    async def ask(self):
        self.asked = []
        return await self.pool.call("eth_call", self._call)

    async def _call(self, endpoint):
        self.asked.append(endpoint)
        answer = self.answers.get(endpoint, endpoint.label)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def bench():
    return Bench()


def test_a_label_shows_host_and_number_and_nothing_secret(bench):
    assert [endpoint.label for endpoint in bench.pool.endpoints] == ["one.example:8545#1", "two.example#2"]
    assert "secretkey" not in repr(bench.one)


def test_what_an_endpoint_says_is_quoted_without_its_secrets(bench):
    said = bench.one.redact("project secretkey1234 over quota,\n see https://one.example/v3/secretkey1234 or hunter22")
    assert said == "project *** over quota, see <url> or ***"
    assert len(bench.one.redact("x" * 9999)) == 200


def test_no_endpoint_at_all_is_a_misconfiguration():
    with pytest.raises(ChainMisconfigured, match="no endpoint"):
        Bench([])


async def test_the_next_endpoint_takes_over_and_stays(bench):
    bench.answers[bench.one] = ChainUnavailable("down")
    assert await bench.ask() == "two.example#2"
    del bench.answers[bench.one]
    bench.now.seconds += 100
    assert await bench.ask() == "two.example#2"
    assert bench.asked == [bench.two]
    assert bench.pool.preferred is bench.two


async def test_every_attempt_is_counted_with_its_error(bench):
    bench.answers[bench.one] = ChainProtocolError("nonsense")
    await bench.ask()
    assert bench.calls.seen == [
        ("one.example:8545#1", "eth_call", "ChainProtocolError"),
        ("two.example#2", "eth_call", None),
    ]


async def test_pauses_double_up_to_a_minute(bench):
    pauses = []
    for _ in range(8):
        bench.answers[bench.one] = ChainUnavailable("down")
        bench.answers[bench.two] = None
        bench.pool._preferred = bench.one
        await bench.ask()
        pauses.append(bench.one.backoff_until - bench.now.seconds)
        bench.now.seconds = bench.one.backoff_until
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (ChainUnavailable("busy", retry_after=30), 30),
        (ChainUnavailable("busy", retry_after=0.1), 1),
        (ChainUnavailable("busy", retry_after=1e9), 600),
        (ChainMisconfigured("wrong chain"), 300),
        (ChainProtocolError("nonsense"), 1),
    ],
)
async def test_how_long_an_endpoint_is_left_alone_follows_from_its_error(bench, error, pause):
    bench.answers[bench.one] = error
    await bench.ask()
    assert bench.one.backoff_until == bench.now.seconds + pause
    assert not bench.one.checked


async def test_who_is_proven_to_lie_is_left_alone_for_an_hour_and_shown(bench):
    bench.answers[bench.one] = ProvenLie("made up")
    await bench.ask()
    bench.answers = {}
    bench.now.seconds += 3599
    await bench.pool.call_all("eth_call", bench._call)
    bench.pool.prefer(bench.one)
    assert await bench.ask() == "two.example#2"
    report = bench.pool.report(bench.one)
    assert (report.state, report.last_error) == (EndpointState.LYING, "made up")

    bench.now.seconds += 1
    bench.pool.prefer(bench.one)
    assert await bench.ask() == "one.example:8545#1"
    assert bench.pool.report(bench.one).state is EndpointState.OK


async def test_a_liar_that_is_asked_for_want_of_others_stays_one():
    bench = Bench()
    bench.answers = {bench.one: ProvenLie("made up"), bench.two: ChainUnavailable("busy", retry_after=100)}
    with pytest.raises(ChainError):
        await bench.ask()
    bench.now.seconds += 20
    bench.answers = {}
    assert await bench.ask() == "one.example:8545#1"
    bench.now.seconds += 80
    assert await bench.ask() == "two.example#2"
    assert bench.pool.report(bench.one).state is EndpointState.LYING


async def test_where_all_were_proven_to_lie_all_are_asked_again_after_ten_seconds(bench):
    bench.answers = dict.fromkeys(bench.pool.endpoints, ProvenLie("made up"))
    with pytest.raises(ChainError):
        await bench.ask()
    bench.answers = {}
    bench.now.seconds += 9
    assert await bench.pool.call_all("eth_call", bench._call) == []
    bench.now.seconds += 1
    assert await bench.ask() == "one.example:8545#1"
    assert await bench.pool.call_all("eth_call", bench._call, excluding=[bench.one]) == [(bench.two, "two.example#2")]
    assert {bench.pool.report(each).state for each in bench.pool.endpoints} == {EndpointState.LYING}


async def test_the_only_endpoint_is_asked_again_after_ten_seconds_and_still_shown_as_lying():
    bench = Bench(URLS[:1])
    bench.answers[bench.one] = ProvenLie("made up")
    with pytest.raises(ChainError):
        await bench.ask()
    bench.answers = {}
    bench.now.seconds += 9
    with pytest.raises(ChainUnavailable):
        await bench.ask()
    bench.now.seconds += 1
    assert await bench.ask() == "one.example:8545#1"
    assert bench.pool.report(bench.one).state is EndpointState.LYING


async def test_an_endpoint_is_not_asked_while_it_cools_down(bench):
    bench.answers = {bench.one: ChainUnavailable("busy", retry_after=30), bench.two: ChainUnavailable("slow")}
    with pytest.raises(ChainUnavailable):
        await bench.ask()
    with pytest.raises(ChainUnavailable, match=r"one\.example.*busy.*two\.example.*slow") as refused:
        await bench.ask()
    assert bench.asked == []
    assert refused.value.retry_after == 1
    bench.now.seconds += 1
    bench.answers = {}
    await bench.ask()
    assert bench.asked == [bench.two]


async def test_an_answer_ends_the_row_of_failures(bench):
    bench.answers[bench.one] = ChainUnavailable("down")
    await bench.ask()
    bench.now.seconds += 1
    bench.answers = {bench.two: ChainUnavailable("down")}
    await bench.ask()
    assert (bench.one.failures, bench.one.last_error) == (0, "")


async def test_what_is_not_served_is_asked_elsewhere_without_a_pause(bench):
    bench.answers[bench.one] = Unserved("no logs here")
    assert await bench.ask() == "two.example#2"
    assert bench.one.backoff_until == 0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (ChainProtocolError("a"), ChainProtocolError("b"), ChainProtocolError),
        (ChainMisconfigured("a"), ChainMisconfigured("b"), ChainMisconfigured),
        (ChainMisconfigured("a"), ChainUnavailable("b"), ChainUnavailable),
        (ChainProtocolError("a"), ChainMisconfigured("b"), ChainUnavailable),
    ],
)
async def test_when_all_fail_the_error_names_each_and_offers_what_hope_there_is(bench, first, second, expected):
    bench.answers = {bench.one: first, bench.two: second}
    with pytest.raises(expected) as refused:
        await bench.ask()
    assert str(refused.value) == "one.example:8545#1: a; two.example#2: b"


async def test_a_mistake_of_the_caller_is_nobodys_failure(bench):
    bench.answers[bench.one] = InvalidAddress("no")
    with pytest.raises(InvalidAddress):
        await bench.ask()
    assert bench.asked == [bench.one]
    assert bench.one.failures == 0


# --- when nobody else is left to ask -------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (ChainMisconfigured("serves chain 1, expected chain 97"), 10),
        (ChainUnavailable("limit exceeded"), 10),
        (ChainProtocolError("nonsense"), 10),
        (ChainUnavailable("suspended", retry_after=25), 25),
        (ChainUnavailable("come back tomorrow", retry_after=86_400), 30),
    ],
)
@pytest.mark.parametrize("urls", [URLS, URLS[:1]])
async def test_a_chain_is_never_blind_for_longer_than_ten_seconds_or_as_asked_thirty(urls, error, longest):
    bench = Bench(urls)
    for _ in range(12):  # however often it failed
        bench.answers = dict.fromkeys(bench.pool.endpoints, error)
        with pytest.raises(ChainError):
            await bench.ask()
        bench.now.seconds += longest
    bench.answers = {}
    assert await bench.ask() in {endpoint.label for endpoint in bench.pool.endpoints}


async def test_who_would_be_asked_now_is_not_said_to_rest():
    bench = Bench(URLS[:1])
    bench.answers[bench.one] = ChainMisconfigured("wrong chain")
    with pytest.raises(ChainMisconfigured):
        await bench.ask()
    assert bench.pool.report(bench.one).state is EndpointState.RESTING
    bench.now.seconds += 10
    assert bench.pool.report(bench.one).state is EndpointState.FAILING


async def test_the_only_endpoint_is_spared_for_the_first_seconds_all_the_same():
    bench = Bench(URLS[:1])
    bench.answers[bench.one] = ChainUnavailable("busy", retry_after=5)
    with pytest.raises(ChainUnavailable):
        await bench.ask()
    bench.now.seconds += 4.9
    with pytest.raises(ChainUnavailable, match="left alone"):
        await bench.ask()
    assert bench.asked == []


async def test_while_another_serves_a_failing_endpoint_rests_longer(bench):
    bench.answers[bench.one] = ChainMisconfigured("wrong chain")
    await bench.ask()
    bench.now.seconds += 200
    await bench.ask()
    assert bench.asked == [bench.two]


async def test_an_endpoint_to_avoid_is_asked_last_and_keeps_its_place(bench):
    assert await bench.pool.call("eth_call", bench._call, avoiding=[bench.one]) == "two.example#2"
    assert bench.pool.preferred is bench.one
    bench.answers[bench.two] = ChainUnavailable("down")
    assert await bench.pool.call("eth_call", bench._call, avoiding=[bench.one]) == "one.example:8545#1"


async def test_a_survey_asks_all_at_once_and_leaves_out_who_fails(bench):
    bench.answers[bench.one] = ChainUnavailable("down")
    assert await bench.pool.call_all("eth_call", bench._call) == [(bench.two, "two.example#2")]
    assert await bench.pool.call_all("eth_call", bench._call, excluding=[bench.two]) == []


async def test_an_endpoint_is_reported_with_its_condition_and_never_with_its_url(bench):
    bench.answers[bench.one] = ChainUnavailable("down")
    await bench.ask()
    one, two = map(bench.pool.report, bench.pool.endpoints)
    assert (one.label, one.state, one.last_error) == ("one.example:8545#1", EndpointState.RESTING, "down")
    assert (two.state, two.last_error, two.latency_ms) == (EndpointState.OK, None, 0)
    bench.now.seconds += 5
    assert bench.pool.report(bench.one).state is EndpointState.FAILING
    assert "secretkey" not in repr(one)
