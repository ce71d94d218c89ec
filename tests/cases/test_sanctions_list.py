"""An entry of the sanctions list that cannot be read is counted and seen; every other one counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness import FakeClock
from tests.marketplace.fake_scanner import SENDER, FakeScanner
from tests.marketplace.test_gate import OPT_IN, dealing, pay

HEAD = '<?xml version="1.0" standalone="yes"?><sdnList xmlns="https://example.test/XML">'
TRON = "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"
TON = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
BITCOIN = "12QtD5BFwRsdNsAZY76UVE1xyCGNTojH9h"


def write(folder: Path, *entries: tuple[str, str]) -> str:
    rows = "".join(
        f"<sdnEntry><uid>{number}</uid><lastName>NOBODY</lastName><idList><id><uid>9</uid>"
        f"<idType>Digital Currency Address - {currency}</idType><idNumber>{address}</idNumber></id></idList></sdnEntry>"
        for number, (currency, address) in enumerate(entries)
    )
    path = folder / "sdn.xml"
    path.write_text(f"{HEAD}{rows}</sdnList>")
    return str(path)


UNREADABLE = [
    ("ETH", SENDER[:-1]),
    ("ETH", SENDER + "0"),
    ("ETH", SENDER[2:]),
    ("ETH", SENDER.replace("0x", "0x ", 1)),
    ("USDT", TRON[:-1]),
    ("USDT", TRON[:-1] + "0"),
    ("TRX", TRON[:-1] + "M"),  # its checksum is another
    ("USDC", "see remarks"),
    ("TON", TON[:-1]),
    ("XBT", SENDER[:-1]),  # filed under another currency, and spelt like ours
]


@pytest.mark.parametrize("entry", UNREADABLE)
async def test_an_entry_nobody_can_read_is_counted_on_health_and_the_rest_is_loaded(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, entry: tuple[str, str]
) -> None:
    listed = write(tmp_path, ("ETH", SENDER), entry, ("USDT", TRON), ("XBT", BITCOIN))
    async with dealing(tmp_path, fake_scanner, clock, OPT_IN, OFAC_SDN_PATH=listed) as purchase:
        health = await purchase.market.nobody.ok("GET", "/api/health")
        outcome = await pay(purchase)

        shown = health["checks"]["screening"]
        assert (shown["status"], shown["entries"], shown["unreadable"]) == ("degraded", 2, 1)
        assert (health["status"], outcome) == ("degraded", "held")


async def screening(purchase: Any) -> dict[str, Any]:
    return dict((await purchase.market.nobody.ok("GET", "/api/health"))["checks"]["screening"])


async def test_a_list_that_is_read_whole_is_well_and_other_chains_are_no_holes(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    others = [("XBT", BITCOIN), ("XMR", "4" * 95), ("LTC", "LNwgtMxcKUQ51dw7bQL1yPQjBVZh6QEqsd"), ("ZEC", "t1abc")]
    listed = write(tmp_path, ("ETH", SENDER), *others)
    async with dealing(tmp_path, fake_scanner, clock, {}, OFAC_SDN_PATH=listed) as purchase:
        assert await screening(purchase) == {"status": "ok", "entries": 1, "unreadable": 0}


async def test_a_list_that_was_mended_is_well_again(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    listed = write(tmp_path, ("ETH", SENDER[:-1]), ("ETH", "0x" + "1" * 40))
    async with dealing(tmp_path, fake_scanner, clock, {}, OFAC_SDN_PATH=listed) as purchase:
        before = await screening(purchase)
        write(tmp_path, ("ETH", SENDER), ("ETH", "0x" + "1" * 40))
        assert purchase.market.marketplace.screener is not None
        await purchase.market.marketplace.screener.refresh()

        after = await screening(purchase)

    assert (before["unreadable"], after) == (1, {"status": "ok", "entries": 2, "unreadable": 0})


async def test_no_list_and_a_list_that_is_missing_are_told_apart(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, {}) as purchase:
        none = await screening(purchase)
    folder = tmp_path / "other"
    folder.mkdir()
    async with dealing(folder, fake_scanner, clock, {}, OFAC_SDN_PATH=str(tmp_path / "missing.xml")) as purchase:
        missing = await screening(purchase)

    assert (none["status"], missing["status"]) == ("ok", "degraded")
    assert (missing["entries"], missing["unreadable"]) == (0, 0)
