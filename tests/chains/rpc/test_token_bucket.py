"""The token bucket, on a clock that only moves when somebody sleeps."""

import asyncio

import pytest

from chains.rpc.token_bucket import TokenBucket


class Clock:
    """Time that passes by sleeping alone; a wake-up per sleeper, in order of time."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return Clock()


def bucket_of(clock, per_second, **more):
    return TokenBucket(per_second, clock=clock, sleep=clock.sleep, **more)


async def times_of(bucket, clock, count):
    start, taken = clock.now, []
    for _ in range(count):
        await bucket.acquire()
        taken.append(round(clock.now - start, 6))
    return taken


async def test_requests_are_spaced_evenly_so_that_no_second_sees_more_than_the_rate(clock):
    taken = await times_of(bucket_of(clock, 5), clock, 11)
    assert taken == [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]


async def test_a_pause_saves_no_more_than_the_burst(clock):
    bucket = bucket_of(clock, 10)
    await bucket.acquire()
    clock.now += 100
    assert await times_of(bucket, clock, 3) == [0, 0.1, 0.2]


async def test_a_burst_goes_through_at_once(clock):
    assert await times_of(bucket_of(clock, 10, burst=3), clock, 5) == [0, 0, 0, 0.1, 0.2]


async def test_a_suspension_holds_the_next_request_back_to_its_end(clock):
    bucket = bucket_of(clock, 10)
    bucket.pause_for(30)
    assert await times_of(bucket, clock, 2) == [30, 30.1]


async def test_after_a_suspension_no_burst_follows(clock):
    bucket = bucket_of(clock, 10, burst=5)
    bucket.pause_for(30)
    clock.now += 30
    assert await times_of(bucket, clock, 3) == [0, 0.1, 0.2]


async def test_a_shorter_suspension_does_not_end_a_longer_one(clock):
    bucket = bucket_of(clock, 10)
    bucket.pause_for(30)
    bucket.pause_for(2)
    assert bucket.paused_s == 30


async def test_a_suspension_reaches_who_is_waiting_already(clock):
    started, go_on = asyncio.Event(), asyncio.Event()

    async def sleep(seconds):
        if not started.is_set():
            started.set()
            await go_on.wait()
        clock.now += seconds

    bucket = TokenBucket(1, clock=clock, sleep=sleep)
    await bucket.acquire()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bucket.acquire())
        await started.wait()
        bucket.pause_for(30)
        go_on.set()
    assert clock.now == 1030


async def test_a_caller_that_gives_up_takes_nothing(clock):
    waiting = asyncio.Event()

    async def forever(_seconds):
        waiting.set()
        await asyncio.Event().wait()

    bucket = TokenBucket(1, clock=clock, sleep=forever)
    await bucket.acquire()
    task = asyncio.create_task(bucket.acquire())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.now += 1
    await asyncio.wait_for(bucket.acquire(), timeout=1)


async def test_waiters_go_through_in_the_order_they_asked(clock):
    bucket, order = bucket_of(clock, 10), []

    async def ask(name):
        async with bucket:
            order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name in range(20):
            tasks.create_task(ask(name))
    assert order == list(range(20))
    assert clock.now == pytest.approx(1001.9)


@pytest.mark.parametrize("rate", [0.7, 1 / 3, 3, 15, 997])
async def test_rounding_never_makes_anybody_wait_for_nothing(clock, rate):
    await times_of(bucket_of(clock, rate), clock, 200)
    assert len(clock.slept) == 199
    assert min(clock.slept) > 0.5 / rate


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (5, 0)])
def test_a_rate_that_lets_nothing_through_is_refused(rate, burst):
    with pytest.raises(ValueError, match="positive rate"):
        TokenBucket(rate, burst=burst)


@pytest.mark.parametrize("named", [31, 3600, 1e9])
async def test_a_service_that_names_hours_is_asked_again_after_half_a_minute(clock, named):
    bucket = bucket_of(clock, 10)
    bucket.pause_for(named)
    assert bucket.paused_s == 30
    await bucket.acquire()
    assert clock.now == 1030
