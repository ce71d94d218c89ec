"""How TonCenter is asked: rates, suspensions, refusals in every disguise, time-outs, and no secret in any message."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from chains.base import Access
from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.types import Rail, Targets, VerificationOutcome
from devnet.ton.toncenter import RATE_BODY
from tests.chains.ton_world import OWNER, START, Cursor, TonWorld


@pytest.fixture
async def ton():
    async with AsyncExitStack() as stack:
        yield TonWorld(stack)


@pytest.mark.parametrize("suffix", ["", "/", "/api/v3", "/api/v3/"])
async def test_a_base_with_or_without_its_root_is_accepted(ton, suffix):
    center = await ton.center()
    adapter = await ton.adapter(urls=(center.url + suffix,))
    assert (await adapter.head()).position == START


# --- rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "per_second"),
    [
        (Access(), 1.0),
        (Access(api_key="k"), 10.0),
        (Access(api_key="k", requests_per_second=25.0), 25.0),
        (Access(requests_per_second=0.5), 0.5),
    ],
)
async def test_the_rate_is_that_of_the_key(ton, access, per_second):
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        ton.now.seconds += seconds

    adapter = await ton.adapter(await ton.center(), access=access, sleep=sleep)
    for _ in range(4):
        await adapter.head()
    assert waits == pytest.approx([1 / per_second] * 3, rel=1e-3)


async def test_a_429_without_a_word_leaves_the_endpoint_alone_for_a_second(ton):
    center, adapter = await ton.both()
    center.limit_rate(times=1)
    with pytest.raises(ChainUnavailable, match="HTTP 429") as refused:
        await adapter.head()
    assert refused.value.retry_after == 1.0
    with pytest.raises(ChainUnavailable):
        await adapter.head()
    assert center.calls["masterchainInfo"] == 1
    ton.now.seconds += 1.01
    assert (await adapter.head()).position == START


async def test_a_429_that_says_how_long_is_obeyed(ton):
    center, adapter = await ton.both()
    center.limit_rate(times=1, headers={"Retry-After": "30"})
    with pytest.raises(ChainUnavailable):
        await adapter.head()
    ton.now.seconds += 29
    with pytest.raises(ChainUnavailable, match="left alone"):
        await adapter.head()
    assert center.calls["masterchainInfo"] == 1
    ton.now.seconds += 1.1
    assert (await adapter.head()).position == START


async def test_whoever_asks_at_the_same_time_is_stopped_by_the_suspension_too(ton):
    center, adapter = await ton.both()
    await adapter.head()
    center.limit_rate(times=1, headers={"Retry-After": "30"})
    endpoint = adapter._pool.endpoints[0]
    with pytest.raises(ChainUnavailable, match="429"):
        await adapter._client.tip(endpoint)
    with pytest.raises(ChainUnavailable, match="asked to be left alone") as stopped:
        await adapter._client.tip(endpoint)
    assert stopped.value.retry_after == pytest.approx(30, abs=0.1)
    assert center.calls["masterchainInfo"] == 2


async def test_a_429_inside_an_answer_with_status_200_is_one_all_the_same(ton):
    center, adapter = await ton.both()
    center.fail(times=1, status=200, body=RATE_BODY)
    with pytest.raises(ChainUnavailable, match="HTTP 429"):
        await adapter.head()


async def test_another_endpoint_is_asked_while_one_is_suspended(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    first.limit_rate(times=1, headers={"Retry-After": "30"})
    for _ in range(3):
        assert (await adapter.head()).position == START
    assert (first.calls["masterchainInfo"], second.calls["masterchainInfo"]) == (1, 3)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"status": 500, "body": {"error": "query timeout", "code": 500}}, ChainUnavailable, "HTTP 500: query timeout"),
        ({"status": 502, "body": b"<html>"}, ChainUnavailable, "HTTP 502"),
        ({"status": 504}, ChainUnavailable, "HTTP 504"),
        (
            {"status": 401, "body": {"ok": False, "error": "API key does not exist"}},
            ChainMisconfigured,
            "check the URL",
        ),
        ({"status": 403}, ChainMisconfigured, "HTTP 403"),
        ({"status": 404, "body": b"nothing here"}, ChainMisconfigured, "HTTP 404"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, ChainMisconfigured, "HTTP 302"),
        ({"status": 422, "body": {"error": "limit is not allowed", "code": 422}}, ChainUnavailable, "limit is not"),
        ({"status": 409}, ChainProtocolError, "HTTP 409"),
        ({"status": 200, "body": {"ok": False, "code": 500, "result": "no"}}, ChainUnavailable, "HTTP 500: no"),
        ({"status": 200, "body": {"error": "failed"}}, ChainUnavailable, "HTTP 500: failed"),
        ({"body": b"not json"}, ChainProtocolError, "not a JSON object"),
        ({"body": []}, ChainProtocolError, "not a JSON object"),
        ({"body": b""}, ChainProtocolError, "not a JSON object"),
        ({"body": {}}, ChainProtocolError, "no masterchain block"),
        ({"close": True}, ChainUnavailable, "connection was closed"),
    ],
)
async def test_every_refusal_says_what_to_do(ton, how, error, said):
    center, adapter = await ton.both()
    center.fail(**how)
    with pytest.raises(error, match=said):
        await adapter.head()


async def test_an_endpoint_that_hangs_is_given_up(ton):
    center = await ton.center()
    adapter = await ton.adapter(center, timeout_s=0.2)
    center.fail(hang=True)
    with pytest.raises(ChainUnavailable, match="no answer in time"):
        await adapter.head()


async def test_an_endpoint_that_is_not_there_is_unavailable(ton):
    adapter = await ton.adapter(urls=("http://127.0.0.1:1",))
    with pytest.raises(ChainUnavailable, match="cannot connect"):
        await adapter.head()


async def test_a_failed_endpoint_is_checked_again_before_it_is_believed(ton):
    center, adapter = await ton.both()
    await adapter.head()
    center.fail("jetton/transfers", times=1, body=b"no JSON")
    head = await adapter.head()
    with pytest.raises(ChainProtocolError):
        await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), Cursor(START - 5), head)
    center.network = -3
    ton.now.seconds += 2
    with pytest.raises(ChainMisconfigured):
        await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), Cursor(START - 5), head)
    assert center.calls["jetton/transfers"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"gas_used": 0, "stack": []},
        {"exit_code": 0},
        {"exit_code": 0, "stack": []},
        {"exit_code": 0, "stack": [{"type": "num", "value": "0x1"}]},
        {"exit_code": 0, "stack": [{"type": "cell", "value": "te6cckEBAQEAAgAAAEysuc0="}]},
        {"exit_code": 0, "stack": [{"type": "cell", "value": None}]},
    ],
)
async def test_a_get_method_that_is_answered_with_nonsense_judges_nothing(ton, answer):
    center, adapter = await ton.both()
    ton.ledger.pay(OWNER)
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), Cursor(START - 5), head)
    center.fail("runGetMethod", body=answer)
    (seen,) = await adapter.verify(page.transfers, head=head)
    assert (seen.outcome, seen.credited) == (VerificationOutcome.NOT_YET, 0)
    assert "its jetton wallet is not known" in seen.why


async def test_every_call_is_told_to_telemetry_by_its_route(ton):
    _, adapter = await ton.both()
    await adapter.head()
    await adapter.token(ton.ledger.master)
    assert [(method, error) for _, method, error in ton.calls.seen] == [
        ("masterchainInfo", None),
        ("jetton/masters", None),
    ]
