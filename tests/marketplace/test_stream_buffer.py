"""What a stream has still to tell: in order, bounded, and read from the store when it was too much."""

from __future__ import annotations

import asyncio

import pytest

from marketplace.model import Notification
from marketplace.notifications import stream_buffer
from marketplace.notifications.stream_buffer import StreamBuffer
from marketplace.unit_of_work import Subscribers
from tests.marketplace.harness import Running, new_request
from tests.marketplace.test_operations import listen, next_event


def note(seq: int, user_id: str = "me") -> Notification:
    return Notification(
        seq=seq,
        id=f"note-{seq}",
        user_id=user_id,
        category="request",
        type="request_created",
        title="New",
        related_id=None,
        action_url=None,
        read_at=None,
        created_at=0,
    )


def test_a_mailbox_gives_what_came_in_order_and_once() -> None:
    box = StreamBuffer()
    for seq in (1, 2, 3):
        box.put(note(seq))

    assert [each.seq for each in box.empty() or []] == [1, 2, 3]
    assert box.empty() == []


def test_a_full_mailbox_says_that_it_lost_something_and_goes_on() -> None:
    box = StreamBuffer(room=2)
    for seq in (1, 2, 3, 4):
        box.put(note(seq))

    assert box.empty() is None
    box.put(note(5))
    assert [each.seq for each in box.empty() or []] == [5]


def test_everybody_gets_their_own_and_nobody_elses() -> None:
    subscribers = Subscribers()
    with (
        subscribers.listening("me") as mine,
        subscribers.listening("me") as second,
        subscribers.listening("you") as yours,
    ):
        subscribers.tell([note(1, "me"), note(2, "you"), note(3, "nobody")])

        assert [[each.seq for each in box.empty() or []] for box in (mine, second, yours)] == [[1], [1], [2]]


async def test_a_stream_that_falls_behind_reads_the_store(shop: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_buffer.StreamBuffer.__init__, "__defaults__", (1,))
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    async with listen(seller) as stream:
        await stream.content.readline()
        async with asyncio.TaskGroup() as group:  # at once, so that more than one is there when the stream wakes
            made = [group.create_task(new_request(buyer)) for _ in range(5)]
        received = [(await next_event(stream))["note"]["relatedId"] for _ in range(5)]

    assert sorted(received) == sorted(task.result() for task in made)


async def test_the_store_and_the_mailbox_tell_the_same_once(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    before = await new_request(buyer)
    async with listen(seller, **{"Last-Event-ID": "0"}) as stream:
        assert (await next_event(stream))["note"]["relatedId"] == before
        after = await new_request(buyer)

        event = await next_event(stream)

    assert event["note"]["relatedId"] == after
