"""A client gets exactly its share in any window, and nobody can be somebody else, or fill the memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.web.clients import client_ip
from kernel.web.rate_limiter import Limit, RateLimiter
from marketplace.identity.rate_limit import DEFAULTS, parse_limits
from tests.harness import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000_000)


def limiter(clock: FakeClock, count: int = 3, per_s: int = 60, **more: int) -> RateLimiter:
    return RateLimiter({"login": Limit(count, per_s), "payment": Limit(count, per_s)}, clock.elapsed_ms, **more)


def test_so_many_pass_and_the_next_is_told_when(clock: FakeClock) -> None:
    limits = limiter(clock)

    assert [limits.take("login", "1.1.1.1") for _ in range(3)] == [0, 0, 0]
    clock.advance(10.5)
    assert limits.take("login", "1.1.1.1") == 50


def test_who_waits_as_long_as_told_passes(clock: FakeClock) -> None:
    limits = limiter(clock)
    for _ in range(3):
        limits.take("login", "1.1.1.1")
    clock.advance(10.5)

    clock.advance(limits.take("login", "1.1.1.1") - 1)
    assert limits.take("login", "1.1.1.1") == 1
    clock.advance(1)
    assert limits.take("login", "1.1.1.1") == 0


def test_a_clock_that_is_set_back_keeps_nobody_out(clock: FakeClock) -> None:
    limits = limiter(clock, count=1)
    limits.take("login", "1.1.1.1")
    clock.follow(-1200 * 1000)
    clock.advance(60)

    assert limits.take("login", "1.1.1.1") == 0


def test_a_refused_request_does_not_prolong_the_wait(clock: FakeClock) -> None:
    limits = limiter(clock, count=1)
    limits.take("login", "1.1.1.1")
    for _ in range(5):
        clock.advance(10)
        limits.take("login", "1.1.1.1")

    clock.advance(10)
    assert limits.take("login", "1.1.1.1") == 0
    assert limits.take("login", "1.1.1.1") == 60


def test_clients_and_limits_do_not_share(clock: FakeClock) -> None:
    limits = limiter(clock, count=1)

    assert limits.take("login", "1.1.1.1") == 0
    assert limits.take("login", "2.2.2.2") == 0
    assert limits.take("payment", "1.1.1.1") == 0
    assert limits.take("login", "1.1.1.1") > 0


def test_one_ipv6_network_is_one_client(clock: FakeClock) -> None:
    limits = limiter(clock, count=1)

    assert limits.take("login", "2001:db8:1:2::1") == 0
    assert limits.take("login", "2001:db8:1:2:ffff::9") > 0
    assert limits.take("login", "2001:db8:1:3::1") == 0


def test_a_limit_that_is_off_lets_everything_through(clock: FakeClock) -> None:
    limits = RateLimiter({}, clock.elapsed_ms)

    assert {limits.take("login", "1.1.1.1") for _ in range(1000)} == {0}


def test_memory_is_bounded_and_the_longest_silent_are_forgotten(clock: FakeClock) -> None:
    limits = limiter(clock, count=1, max_clients=10)
    limits.take("login", "busy")
    for number in range(1000):
        limits.take("login", f"10.0.{number // 256}.{number % 256}")

    assert len(limits._seen) == 10
    assert limits.take("login", "10.0.3.231") > 0
    assert limits.take("login", "busy") == 0


def test_who_is_still_asking_is_not_forgotten(clock: FakeClock) -> None:
    limits = limiter(clock, count=2, max_clients=2)

    for client in ("regular", "once", "regular", "new"):
        limits.take("login", client)

    assert limits.take("login", "regular") > 0


@given(st.lists(st.integers(0, 30_000), max_size=60), st.integers(1, 4))
def test_no_window_ever_holds_more_than_the_limit(pauses_ms: list[int], count: int) -> None:
    clock = FakeClock(0)
    limits = limiter(clock, count=count)
    passed: list[int] = []
    for pause in pauses_ms:
        clock.advance(pause / 1000)
        if limits.take("login", "1.1.1.1") == 0:
            passed.append(clock.now_ms())

    assert all(sum(start <= at < start + 60_000 for at in passed) <= count for start in passed)


# -- who is asking -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded", "hops", "client"),
    [
        ("", 0, "9.9.9.9"),
        ("1.1.1.1", 0, "9.9.9.9"),
        ("1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6,1.1.1.1 , 10.0.0.1", 2, "1.1.1.1"),
        ("1.1.1.1", 2, "9.9.9.9"),
        ("", 1, "9.9.9.9"),
        ("unknown", 1, "9.9.9.9"),
        ("6.6.6.6, nonsense", 1, "9.9.9.9"),
        ("1.1.1.1:4711", 1, "1.1.1.1"),
        ("[2001:db8::1]:4711", 1, "2001:db8::1"),
        ("2001:DB8:0::1", 1, "2001:db8::1"),
        ("::ffff:1.1.1.1", 1, "1.1.1.1"),
        ("1.1.1.1", -1, "9.9.9.9"),
    ],
)
def test_the_client_is_what_the_last_trusted_hop_saw(forwarded: str, hops: int, client: str) -> None:
    assert client_ip("9.9.9.9", forwarded, hops) == client


@given(st.text(max_size=60))
def test_a_client_behind_one_proxy_cannot_choose_who_it_is(claimed: str) -> None:
    assert client_ip("9.9.9.9", f"{claimed},1.1.1.1", 1) == "1.1.1.1"


def test_a_connection_without_an_address_keeps_its_name() -> None:
    assert client_ip("unix-socket", "", 0) == "unix-socket"


# -- the setting -------------------------------------------------------------------------------------


def test_unset_means_the_defaults_of_the_contract() -> None:
    assert parse_limits(None) == parse_limits(" ") == DEFAULTS
    assert parse_limits(None) == {
        "login": Limit(10, 900),
        "payment": Limit(30, 900),
        "all": Limit(100, 900),
        "account": Limit(20, 900),
        "codes": Limit(5, 900),
    }


def test_what_is_named_is_changed_and_off_is_off() -> None:
    assert parse_limits("login=5/60, all=off") == {
        "login": Limit(5, 60),
        "payment": Limit(30, 900),
        "account": Limit(20, 900),
        "codes": Limit(5, 900),
    }


@pytest.mark.parametrize(
    "text",
    ["login", "login=", "login=5", "login=5/", "login=0/60", "login=5/0", "login=-1/60", "logins=5/60", "login=5/60/7",
     "login=1e3/60", "login=on", "login=5/60,login=6/60", "login=\u0665/60"],
)  # fmt: skip
def test_a_bad_value_is_refused_with_the_part_that_is_bad(text: str) -> None:
    with pytest.raises(ValueError, match="login"):
        parse_limits(text)
