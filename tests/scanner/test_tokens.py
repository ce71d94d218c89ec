"""Which token a caller means: the address decides, labels are only shown."""

from __future__ import annotations

import asyncio

import pytest

from chains.types import TokenMeta
from config.catalog import Catalog, Token
from kernel.store.database import Database
from scanner.errors import InvalidRequest
from scanner.registration import tokens as tokens_module
from scanner.registration.tokens import ResolvedToken, TokenResolver, parse_address
from scanner.upkeep.metrics import Metrics
from scanner.worker import ChainWorker
from tests.harness import FakeClock
from tests.scanner.facts import CHAIN, LATE_MS
from tests.scanner.fake_chain import FakeChain, a_chain

USDT = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
UNLISTED = "0x" + "1f" * 20


def a_catalog() -> Catalog:
    listed = Token(chain_id=CHAIN, address=USDT, symbol="USDT", decimals=18, name="Tether")
    return Catalog({CHAIN: a_chain(coin="tBNB")}, (CHAIN,), (listed,))


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def worker(db: Database, clock: FakeClock, chain: FakeChain) -> ChainWorker:
    return ChainWorker(
        chain=a_chain(coin="tBNB"),
        adapter=chain,
        tokens=(),
        db=db,
        clock=clock,
        metrics=Metrics(),
        late_watch_ms=LATE_MS,
        on_events=lambda: None,
    )


BOOK = TokenResolver(a_catalog())
LISTED = ResolvedToken(USDT, USDT.lower(), "USDT", 18)


@pytest.mark.parametrize(
    ("field", "text"),
    [("token", "USDT"), ("tokenSymbol", "usdt"), ("token", USDT), ("tokenAddress", USDT.lower())],
)
async def test_a_listed_token_is_known_by_its_symbol_and_by_its_address(
    worker: ChainWorker, chain: FakeChain, field: str, text: str
) -> None:
    assert await BOOK.resolve(worker, field, text) == LISTED
    assert chain.calls["token"] == 0  # the registry says it all


async def test_a_symbol_is_no_address(worker: ChainWorker) -> None:
    with pytest.raises(InvalidRequest, match="tokenAddress") as refusal:
        await BOOK.resolve(worker, "tokenAddress", "USDT")

    assert (refusal.value.field, refusal.value.code) == ("tokenAddress", "invalid_request")


async def test_a_symbol_nobody_listed_is_unsupported(worker: ChainWorker) -> None:
    with pytest.raises(InvalidRequest, match="unsupported token DOGE on chainId 97") as refusal:
        await BOOK.resolve(worker, "token", "DOGE")

    assert (refusal.value.field, refusal.value.code) == ("token", "unsupported_token")


async def test_an_unlisted_token_is_labelled_as_it_says_itself(worker: ChainWorker, chain: FakeChain) -> None:
    chain.tokens[UNLISTED] = TokenMeta("ODD", 3)

    assert await BOOK.resolve(worker, "tokenAddress", UNLISTED) == ResolvedToken(UNLISTED, UNLISTED, "ODD", 3)


async def test_a_token_that_cannot_be_read_is_used_without_labels(worker: ChainWorker, chain: FakeChain) -> None:
    chain.down = True

    assert await BOOK.resolve(worker, "token", UNLISTED) == ResolvedToken(UNLISTED, UNLISTED, None, None)


async def test_a_chain_that_hangs_does_not_hold_a_registration_for_long(
    worker: ChainWorker, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(address: str) -> TokenMeta | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(chain, "token", hangs)
    monkeypatch.setattr(tokens_module, "TOKEN_READ_S", 0.01)

    assert await BOOK.resolve(worker, "token", UNLISTED) == ResolvedToken(UNLISTED, UNLISTED, None, None)


@pytest.mark.parametrize(("field", "text"), [("token", "USDT"), ("tokenAddress", USDT)])
async def test_a_token_that_disagrees_with_the_registry_is_refused(worker: ChainWorker, field: str, text: str) -> None:
    worker.refused_tokens = frozenset({USDT.lower()})

    with pytest.raises(InvalidRequest, match="disagrees") as refusal:
        await BOOK.resolve(worker, field, text)

    assert (refusal.value.field, refusal.value.code) == (field, "token_mismatch")


@pytest.mark.parametrize(
    ("field", "text", "coin"),
    [
        ("token", "native", True),
        ("token", "NATIVE", True),
        ("tokenSymbol", "tbnb", True),
        ("token", "USDT", False),
        ("token", "", False),
        ("tokenAddress", "native", False),
        ("tokenAddress", "tBNB", False),
    ],
)
def test_the_coin_is_meant_by_its_symbol_or_as_native(field: str, text: str, coin: bool) -> None:
    assert BOOK.is_coin(a_chain(coin="tBNB"), field, text) is coin


def test_a_chain_whose_coin_has_no_symbol_still_has_one() -> None:
    assert BOOK.is_coin(a_chain(), "token", "native") is True
    assert BOOK.is_coin(a_chain(), "token", "") is False


def test_a_symbol_of_an_unknown_chain_is_refused_by_naming_both() -> None:
    with pytest.raises(InvalidRequest, match="unsupported token USDT on chainId 999"):
        BOOK.check_known(999, [("token", "USDT")])

    BOOK.check_known(999, [("tokenAddress", USDT)])
    BOOK.check_known(CHAIN, [("token", "USDT")])


def test_a_bad_address_is_reported_with_its_field(chain: FakeChain) -> None:
    with pytest.raises(InvalidRequest, match="destination: is not an address") as refusal:
        parse_address(chain, "destination", "nowhere")

    assert refusal.value.field == "destination"
