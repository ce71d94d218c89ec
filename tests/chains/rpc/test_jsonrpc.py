"""Every spelling in which a provider refuses a batch: it is asked again at once, with fewer calls, down to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.batch_size import MAX_REFUSED_ALONE
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_limits import RETRY_LARGER_S, LearnedLimits
from chains.rpc.http_client import CutOff, HttpAnswer, TimedOut, TooLarge
from chains.rpc.jsonrpc import JsonRpc
from chains.rpc.jsonrpc_messages import NotAllowed, RpcErrorObject
from chains.rpc.lenient_json import MAX_DEPTH, repaired
from tests.chains.evm_world import Now

CALLS = [("eth_getBlockByNumber", (hex(number), False)) for number in range(10)]
Refuse = Callable[[list[dict[str, Any]]], HttpAnswer | Exception]


class Busy(ChainUnavailable):
    """A node that says we ask too often."""


def to_error(endpoint: Endpoint, failure: RpcErrorObject) -> ChainError:
    return (Busy if "rate" in failure.message or failure.code == 429 else ChainUnavailable)(failure.message)


def said(body: Any, status: int = 200, retry_after: float | None = None) -> HttpAnswer:
    return HttpAnswer(status, bytearray(body if isinstance(body, bytes) else orjson.dumps(body)), retry_after)


def error(code: int, message: str, number: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


class Provider:
    """Takes at most so many calls in one request and says so in its own way."""

    def __init__(self, takes: int, refuse: Refuse) -> None:
        self.takes = takes
        self.refuse = refuse
        self.sizes: list[int] = []

    async def post(self, endpoint: Endpoint, body: bytes) -> HttpAnswer:
        asked = orjson.loads(body)
        calls = asked if isinstance(asked, list) else [asked]
        self.sizes.append(len(calls))
        if len(calls) > self.takes:
            answer = self.refuse(calls)
            if isinstance(answer, Exception):
                raise answer
            return answer
        results = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"][0]} for call in calls]
        return said(results[::-1] if isinstance(asked, list) else results[0])


REFUSALS: dict[str, Refuse] = {
    "a list with one error and the first id": lambda calls: said([error(-32600, "batch too large", calls[0]["id"])]),
    "a list with one error and no id": lambda calls: said([error(-32600, "too many requests in a batch")]),
    "one error for each call and HTTP 500": lambda calls: said(
        [error(31, f"Batch of more than {TAKES} requests are not allowed", call["id"]) for call in calls], 500
    ),
    "one error for each call": lambda calls: said([error(-32600, "invalid request", c["id"]) for c in calls]),
    "one error for some calls": lambda calls: said(
        [{"id": 0, "result": "0x0"}, *(error(-32005, "batch size exceeded", call["id"]) for call in calls[1:])]
    ),
    "an error object": lambda calls: said(error(-32600, "batch size too large")),
    "an error object that names no batch": lambda calls: said(error(-32601, "the server accepts single objects")),
    "an error of another shape": lambda calls: said({"error": "batches are for paying customers"}),
    "an object without an error": lambda calls: said({"message": "no"}),
    "fewer answers than calls": lambda calls: said([{"id": 0, "result": "0x0"}]),
    "no answers": lambda calls: said([]),
    "HTTP 400": lambda calls: said(b"Bad Request", 400),
    "HTTP 402": lambda calls: said(b"", 402),
    "HTTP 413": lambda calls: said(b"<html>413 Request Entity Too Large</html>", 413),
    "HTTP 413 in JSON": lambda calls: said(error(-32600, "request entity too large"), 413),
    "HTTP 414": lambda calls: said(b"", 414),
    "HTTP 422": lambda calls: said({"detail": "unprocessable"}, 422),
    "HTTP 429 about batches": lambda calls: said(b'{"message":"batch of 10 not allowed"}', 429),
    "HTTP 429 without a word": lambda calls: said(b"", 429),
    "HTTP 500": lambda calls: said(b"Internal Server Error", 500),
    "HTTP 504": lambda calls: said(b"upstream request timeout", 504),
    "HTTP 502": lambda calls: said(b"<html>502 Bad Gateway</html>", 502),
    "HTTP 503": lambda calls: said(b"", 503),
    "HTTP 503 in JSON": lambda calls: said({"message": "no healthy upstream"}, 503),
    "HTTP 520": lambda calls: said(b"", 520),
    "HTTP 401": lambda calls: said(b"", 401),
    "HTTP 403": lambda calls: said(b"<html>blocked</html>", 403),
    "HTTP 403 in JSON": lambda calls: said(error(-32002, "not for you"), 403),
    "HTTP 403 for each call": lambda calls: said([error(-32002, "not for you", call["id"]) for call in calls], 403),
    "HTTP 404": lambda calls: said(b"", 404),
    "HTTP 302": lambda calls: said(b"", 302),
    "a connection that is cut": lambda calls: CutOff("the connection was closed"),
    "an answer too large to read": lambda calls: TooLarge("the answer is larger than 64 MB"),
}
TAKES = 3


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def endpoint(now: Now) -> Endpoint:
    return Endpoint("http://one.example/", "one.example#1", limits=LearnedLimits(now))


def client(provider: Provider) -> JsonRpc:
    return JsonRpc(provider.post, to_error=to_error, is_rate_limit=lambda error: isinstance(error, Busy))


@pytest.mark.parametrize("takes", [1, TAKES])
@pytest.mark.parametrize("spelling", REFUSALS)
async def test_a_refused_batch_is_asked_again_smaller_in_the_same_question(endpoint, spelling, takes):
    provider = Provider(takes, REFUSALS[spelling])
    answers = await client(provider).call_batch(endpoint, CALLS)
    assert [answer.get() for answer in answers] == [hex(number) for number in range(10)]
    assert provider.sizes[0] == 10
    assert 1 <= (endpoint.limits.report().batch or 0) <= takes


@pytest.mark.parametrize("spelling", REFUSALS)
async def test_what_was_learnt_is_kept_and_tried_larger_after_a_while(endpoint, now, spelling):
    provider = Provider(TAKES, REFUSALS[spelling])
    rpc = client(provider)
    await rpc.call_batch(endpoint, CALLS)
    provider.sizes.clear()
    await rpc.call_batch(endpoint, CALLS)
    assert max(provider.sizes) <= TAKES
    provider.takes = 10
    now.seconds += 4 * RETRY_LARGER_S
    for _ in range(4):
        await rpc.call_batch(endpoint, CALLS)
    assert provider.sizes[-1] == 10


async def test_the_number_a_refusal_names_is_asked_for_next(endpoint):
    provider = Provider(TAKES, REFUSALS["one error for each call and HTTP 500"])
    await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes == [10, 3, 3, 3, 1]


@pytest.mark.parametrize(
    "answer",
    [
        said(error(429, "slow down")),
        said([error(-32005, "rate limit exceeded")]),
        said(b"too many requests per second", 429),
        said(b"", 429, 7.0),
        said([error(0, "rate limit", number) for number in range(10)], 429),
        said(b"", 503, 7.0),
    ],
)
async def test_being_asked_to_slow_down_is_no_reason_to_ask_more_often(endpoint, answer):
    provider = Provider(0, lambda calls: answer)
    with pytest.raises(ChainUnavailable) as refused:
        await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes == [10]
    assert endpoint.limits.report().batch is None
    assert refused.value.retry_after == answer.retry_after


@pytest.mark.parametrize("status", [502, 503, 520, 401, 403, 404, 302])
async def test_who_turns_one_call_away_as_well_is_asked_no_more(endpoint, status):
    provider = Provider(0, lambda calls: said(b"", status))
    with pytest.raises((ChainUnavailable, ChainMisconfigured), match=f"HTTP {status}"):
        await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes == ([10, 1, 1] if status > 500 else [10, 1])
    assert endpoint.limits.report().batch is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said(b"Internal Server Error", 500), ChainUnavailable),
        (said(b"", 400), ChainUnavailable),
        (said(b"", 402), ChainMisconfigured),
        (CutOff("the connection was closed"), ChainUnavailable),
        (said({}), ChainProtocolError),
    ],
)
async def test_a_node_that_fails_whatever_it_is_asked_teaches_nothing(endpoint, answer, expected):
    provider = Provider(0, lambda calls: answer)
    with pytest.raises(expected):
        await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes[:4] == [10, 5, 2, 1]
    assert len(provider.sizes) <= 5
    assert endpoint.limits.report().batch is None


@pytest.mark.parametrize("how", ["HTTP 500", "HTTP 502", "HTTP 503", "HTTP 504", "a connection that is cut"])
async def test_a_failure_that_is_over_at_once_is_none(endpoint, how):
    provider = Provider(0, REFUSALS[how])
    post = provider.post

    async def every_second(asked: Endpoint, body: bytes) -> HttpAnswer:
        provider.takes = 10 * (len(provider.sizes) % 2)
        return await post(asked, body)

    rpc = JsonRpc(every_second, to_error=to_error, is_rate_limit=lambda error: isinstance(error, Busy))
    for _ in range(3):
        (answer,) = await rpc.call_batch(endpoint, CALLS[:1])
        assert answer.get() == "0x0"
    assert len(provider.sizes) == 6


async def test_batches_of_which_each_call_is_told_to_wait_become_smaller(endpoint):
    provider = Provider(TAKES, lambda calls: said([error(429, "Too Many Requests", call["id"]) for call in calls]))
    for _ in range(2):
        answers = await client(provider).call_batch(endpoint, CALLS)
        assert all(isinstance(answer.error, Busy) for answer in answers)
    answers = await client(provider).call_batch(endpoint, CALLS)
    assert [answer.get() for answer in answers] == [hex(number) for number in range(10)]
    assert endpoint.limits.report().batch == 2


SLOPPY = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "no number": lambda body: body[:-1] + b',"x":NaN}',
    "infinity": lambda body: body[:-1] + b',"x":[-Infinity]}',
    "half a character": lambda body: body[:-1] + b',"x":"\\ud800"}',
    "bytes that are no text": lambda body: body[:-1] + b',"x":"\xff"}',
    "a number beyond all measure": lambda body: body.replace(b'"0x0"', b'{"n":"0x0","x":1e999}'),
    "very many digits": lambda body: body.replace(b'"0x0"', b'{"n":"0x0","x":' + b"9" * 5_000 + b"}"),
}


@pytest.mark.parametrize("how", SLOPPY)
async def test_what_no_strict_parser_takes_is_read_for_what_is_used_of_it(endpoint, how):
    async def post(_: Endpoint, body: bytes) -> HttpAnswer:
        return said(SLOPPY[how](b'{"id":0,"result":"0x0"}'))

    (answer,) = await JsonRpc(post, to_error=to_error, is_rate_limit=lambda error: False).call_batch(
        endpoint, CALLS[:1]
    )
    found = answer.get()
    assert (found["n"] if isinstance(found, dict) else found) == "0x0"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>", b"[" * 100_000, b'{"id":0,"result":"0x0","x":NaN}' + b" " * 2**23]
)
async def test_what_is_no_json_or_too_long_to_be_tidied_is_no_answer(endpoint, body):
    async def post(_: Endpoint, __: bytes) -> HttpAnswer:
        return said(body)

    with pytest.raises(ChainProtocolError):
        await JsonRpc(post, to_error=to_error, is_rate_limit=lambda error: False).call_batch(endpoint, CALLS[:1])


@pytest.mark.parametrize(("levels", "is_read"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_what_nests_too_deep_is_not_tidied(levels, is_read):
    assert (repaired(b"[" * levels + b"]" * levels) is not None) is is_read


async def test_calls_that_each_fail_for_their_own_reason_are_answers(endpoint):
    answer = said([error(-32000, "missing trie node", number) for number in range(10)])
    provider = Provider(0, lambda calls: answer)
    answers = await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes == [10]
    assert all(isinstance(answer.error, ChainUnavailable) for answer in answers)


class Picky(Provider):
    """Answers everything but a call for one block, and nothing of a request that holds it."""

    def __init__(self, refuse: Refuse, *poison: int) -> None:
        super().__init__(100, refuse)
        self.poison = {hex(number) for number in poison}

    async def post(self, endpoint: Endpoint, body: bytes) -> HttpAnswer:
        asked = orjson.loads(body)
        calls = asked if isinstance(asked, list) else [asked]
        self.takes = 0 if self.poison & {call["params"][0] for call in calls} else 100
        return await super().post(endpoint, body)


STATUSES = [400, 402, 403, 404, 413, 500, 504]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("poison", [9, 4, 1])
async def test_one_question_refused_by_a_status_keeps_no_answer_back_and_teaches_nothing(endpoint, status, poison):
    provider = Picky(lambda calls: said(b"", status), poison)
    answers = await client(provider).call_batch(endpoint, CALLS)
    assert [place for place, answer in enumerate(answers) if answer.error is not None] == [poison]
    assert isinstance(answers[poison].error, NotAllowed) is (status in {402, 403, 404})
    assert endpoint.limits.report().batch is None


async def test_a_question_refused_again_and_again_is_not_asked_for_each_of_a_hundred(endpoint):
    provider = Picky(lambda calls: said(b"", 403), *range(1, 100))
    answers = await client(provider).call_batch(
        endpoint, [("eth_getBlockByNumber", (hex(n), False)) for n in range(100)]
    )
    assert [answer.error is None for answer in answers] == [True, *[False] * 99]
    assert len(provider.sizes) <= 2 * MAX_REFUSED_ALONE + 10


async def test_one_call_answered_with_a_list_of_one_is_answered(endpoint):
    async def post(_: Endpoint, body: bytes) -> HttpAnswer:
        return said([{"id": 0, "result": orjson.loads(body)["params"][0]}])

    rpc = JsonRpc(post, to_error=to_error, is_rate_limit=lambda error: False)
    (answer,) = await rpc.call_batch(endpoint, CALLS[:1])
    assert answer.get() == "0x0"


@pytest.mark.parametrize("count", [0, 2])
async def test_one_call_answered_with_a_list_of_another_length_is_not(endpoint, count):
    async def post(_: Endpoint, body: bytes) -> HttpAnswer:
        return said([{"id": number, "result": "0x0"} for number in range(count)])

    with pytest.raises(ChainProtocolError):
        await JsonRpc(post, to_error=to_error, is_rate_limit=lambda error: False).call_batch(endpoint, CALLS[:1])


WAITS: dict[str, Refuse] = {
    "each call counts": lambda calls: said(error(-32005, "rate limit exceeded")),
    "a wait is named": lambda calls: said(b"", 503, 1.0),
    "no answer at all": lambda calls: TimedOut("no answer in time"),
}


@pytest.mark.parametrize("takes", [1, TAKES])
@pytest.mark.parametrize("how", WAITS)
async def test_batches_that_only_ever_are_answered_with_a_wait_become_smaller(endpoint, how, takes):
    provider = Provider(takes, WAITS[how])
    for _ in range(2):
        with pytest.raises(ChainUnavailable):
            await client(provider).call_batch(endpoint, CALLS)
    answers = await client(provider).call_batch(endpoint, CALLS)
    assert [answer.get() for answer in answers] == [hex(number) for number in range(10)]
    assert 1 <= (endpoint.limits.report().batch or 0) <= takes


@pytest.mark.parametrize("how", WAITS)
async def test_a_wait_that_is_meant_makes_no_batch_smaller(endpoint, how):
    provider = Provider(0, WAITS[how])
    for _ in range(5):
        with pytest.raises(ChainUnavailable):
            await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes == [10, 10, 1, 1, 1]
    provider.takes = 10
    assert len(await client(provider).call_batch(endpoint, CALLS)) == 10
    assert endpoint.limits.report().batch is None
    provider.sizes.clear()
    await client(provider).call_batch(endpoint, CALLS)
    assert provider.sizes == [10]


async def test_ids_sent_back_as_text_are_understood(endpoint):
    answer = said([{"id": str(number), "result": hex(number)} for number in range(10)])
    answers = await client(Provider(0, lambda calls: answer)).call_batch(endpoint, CALLS)
    assert [answer.get() for answer in answers] == [hex(number) for number in range(10)]


@pytest.mark.parametrize("count", [101, 250])
async def test_more_calls_than_one_request_may_hold_are_made_in_several(endpoint, count):
    provider = Provider(100, lambda calls: said(b"", 500))
    calls = [("eth_getBlockByNumber", (hex(number), False)) for number in range(count)]
    answers = await client(provider).call_batch(endpoint, calls)
    assert [answer.get() for answer in answers] == [hex(number) for number in range(count)]
    assert max(provider.sizes) == 100


async def test_nothing_to_ask_asks_nobody(endpoint):
    provider = Provider(10, lambda calls: said(b""))
    assert await client(provider).call_batch(endpoint, []) == []
    assert provider.sizes == []
