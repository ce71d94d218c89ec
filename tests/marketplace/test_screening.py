"""Listed is listed however it is spelt, and nothing is clear by a list that is missing, old, or no list."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from devnet.fault_server import serving
from marketplace.risk.screening import (
    Clear,
    Listed,
    OfacScreener,
    Source,
    Unavailable,
    UnreadableList,
    from_path,
    from_url,
    read_list,
)
from tests.harness import FakeClock

NOW = 1_800_000_000_000
EVM = "0x8589427373D6D84E98730D7795D8f6f8731FDA16"
EVM_UNDER_USDT = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
TRON_HEX = "41a614f803b6fd780986a42c78ec9c7f77e6ded13c"
TON = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
TON_RAW = "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE"
OTHER_EVM = "0x1000000000000000000000000000000000000001"
OTHER_TRON = "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"

# Made up, in the form of OFAC's sdn.xml.
PLAIN = f"""<?xml version="1.0" standalone="yes"?>
<sdnList xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns="https://sanctionslistservice.ofac.treas.gov/api/PublicationPreview/exports/XML">
  <publshInformation><Publish_Date>01/31/2026</Publish_Date><Record_Count>3</Record_Count></publshInformation>
  <sdnEntry>
    <uid>101</uid><lastName>NOBODY &amp; SONS</lastName><sdnType>Entity</sdnType>
    <programList><program>CYBER2</program></programList>
    <idList>
      <id><uid>201</uid><idType>Tax ID No.</idType><idNumber>{OTHER_EVM}</idNumber></id>
      <id><uid>202</uid><idType>Digital Currency Address - ETH</idType><idNumber>{EVM}</idNumber></id>
      <id><uid>203</uid><idType>Digital Currency Address - XBT</idType><idNumber>1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa</idNumber></id>
      <id><uid>204</uid><idType>Website</idType><idNumber>{OTHER_TRON}</idNumber></id>
    </idList>
    <akaList><aka><uid>301</uid><type>a.k.a.</type><lastName>SOMEBODY</lastName></aka></akaList>
  </sdnEntry>
  <sdnEntry>
    <uid>102</uid><firstName>Jane</firstName><lastName>EXAMPLE</lastName><sdnType>Individual</sdnType>
    <idList>
      <id><uid>205</uid><idType>Digital Currency Address - USDT</idType><idNumber>{TRON}</idNumber></id>
      <id><uid>206</uid><idType>Digital Currency Address - USDT</idType><idNumber> {EVM_UNDER_USDT.lower()} </idNumber></id>
      <id><uid>207</uid><idType>Digital Currency Address - TON</idType><idNumber>{TON}</idNumber></id>
    </idList>
  </sdnEntry>
</sdnList>
"""

# Made up, in the form of OFAC's sdn_advanced.xml.
ADVANCED = f"""<?xml version="1.0" encoding="utf-8"?>
<Sanctions xmlns="https://sanctionslistservice.ofac.treas.gov/api/PublicationPreview/exports/ADVANCED_XML">
  <DateOfIssue><Year>2026</Year></DateOfIssue>
  <ReferenceValueSets>
    <FeatureTypeValues>
      <FeatureType ID="224" FeatureTypeGroupID="1">Website</FeatureType>
      <FeatureType ID="345" FeatureTypeGroupID="1">Digital Currency Address - ETH</FeatureType>
      <FeatureType ID="992" FeatureTypeGroupID="1">Digital Currency Address - TRX</FeatureType>
      <FeatureType ID="887" FeatureTypeGroupID="1">Digital Currency Address - USDT</FeatureType>
    </FeatureTypeValues>
  </ReferenceValueSets>
  <DistinctParties>
    <DistinctParty FixedRef="101">
      <Comment />
      <Profile ID="101" PartySubTypeID="3">
        <Identity ID="4545" FixedRef="101" Primary="true">
          <Alias FixedRef="101" AliasTypeID="1403" Primary="true">
            <DocumentedName ID="4545" FixedRef="101" DocNameStatusID="1">
              <DocumentedNamePart><NamePartValue NamePartGroupID="4546" ScriptID="215">NOBODY &amp; SONS</NamePartValue></DocumentedNamePart>
            </DocumentedName>
          </Alias>
        </Identity>
        <Feature ID="1" FeatureTypeID="224"><FeatureVersion ID="1" ReliabilityID="1"><Comment /><VersionDetail DetailTypeID="1432">{OTHER_EVM}</VersionDetail></FeatureVersion></Feature>
        <Feature ID="2" FeatureTypeID="345">
          <FeatureVersion ID="2" ReliabilityID="1560"><Comment /><VersionDetail DetailTypeID="1432">{EVM}</VersionDetail></FeatureVersion>
          <IdentityReference IdentityID="4545" IdentityFeatureLinkTypeID="1" />
        </Feature>
      </Profile>
    </DistinctParty>
    <DistinctParty FixedRef="102">
      <Profile ID="102" PartySubTypeID="4">
        <Feature ID="3" FeatureTypeID="992"><FeatureVersion ID="3"><VersionDetail DetailTypeID="1432">{TRON}</VersionDetail></FeatureVersion></Feature>
        <Feature ID="4" FeatureTypeID="224"><FeatureVersion ID="4"><VersionDetail DetailTypeID="1432">{OTHER_TRON}</VersionDetail></FeatureVersion></Feature>
        <Feature ID="5" FeatureTypeID="887"><FeatureVersion ID="5"><VersionDetail DetailTypeID="1432">{EVM_UNDER_USDT.lower()}</VersionDetail></FeatureVersion></Feature>
      </Profile>
    </DistinctParty>
  </DistinctParties>
</Sanctions>
"""


async def in_pieces(text: str, size: int) -> AsyncIterator[bytes]:
    raw = text.encode()
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


async def parsed(text: str, size: int = 1 << 20) -> dict[str, str]:
    return dict((await read_list(in_pieces(text, size))).listed)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "sdn.xml", PLAIN)


def written(path: Path, text: str, *, age_s: int = 0) -> Path:
    path.write_text(text)
    os.utime(path, ns=((NOW - age_s * 1000) * 1_000_000,) * 2)
    return path


async def screener(source: Source, clock: FakeClock) -> OfacScreener:
    made = OfacScreener(source, clock.now_ms)
    await made.refresh()
    return made


@asynccontextmanager
async def serving_list(answer: Callable[[], web.Response]) -> AsyncIterator[str]:
    async def handle(_request: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_get("/sdn.xml", handle)
    async with serving(app) as url:
        yield f"{url}/sdn.xml"


# -- the list ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_the_plain_list_is_read_whatever_its_pieces(size: int) -> None:
    assert await parsed(PLAIN, size) == {
        EVM.lower(): f"ETH {EVM}: NOBODY & SONS (SDN 101)",
        TRON: f"USDT {TRON}: EXAMPLE (SDN 102)",
        EVM_UNDER_USDT.lower(): f"USDT {EVM_UNDER_USDT.lower()}: EXAMPLE (SDN 102)",
        TON_RAW: f"TON {TON}: EXAMPLE (SDN 102)",
    }


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_the_advanced_list_is_read_whatever_its_pieces(size: int) -> None:
    assert await parsed(ADVANCED, size) == {
        EVM.lower(): f"ETH {EVM}: NOBODY & SONS (SDN 101)",
        TRON: f"TRX {TRON}: unnamed (SDN 102)",
        EVM_UNDER_USDT.lower(): f"USDT {EVM_UNDER_USDT.lower()}: unnamed (SDN 102)",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not well-formed"),
        (PLAIN[: len(PLAIN) // 2], "not well-formed"),
        ("<html><body>Service unavailable</body></html>", "no digital currency address"),
        (PLAIN.replace("Digital Currency Address", "Something else"), "no digital currency address"),
        ('101,"NOBODY","x","Digital Currency Address - ETH 0x0"', "not well-formed"),
    ],
)
async def test_what_is_no_whole_list_is_refused(text: str, why: str) -> None:
    with pytest.raises(UnreadableList, match=why):
        await parsed(text)


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/hostname">',
    ],
)
async def test_a_list_that_declares_entities_is_refused(doctype: str) -> None:
    text = PLAIN.replace('<?xml version="1.0" standalone="yes"?>', doctype)

    with pytest.raises(UnreadableList, match="DTD"):
        await parsed(text)


async def test_an_endless_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.risk.screening.sources.MAX_BYTES", 100)

    with pytest.raises(UnreadableList, match="larger"):
        await parsed(PLAIN, 50)


# -- screening ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (EVM, "evm"),
        (EVM.lower(), "evm"),
        ("0x" + EVM[2:].upper(), "evm"),
        (EVM_UNDER_USDT, "evm"),
        (TRON, "tron"),
        (TRON_HEX, "tron"),
        (TON, "ton"),
        (TON_RAW, "ton"),
    ],
)
async def test_a_listed_address_is_listed_however_it_is_spelt(
    path: Path, clock: FakeClock, address: str, family: str
) -> None:
    assert isinstance(await (await screener(from_path(path), clock)).screen(address, family), Listed)


@pytest.mark.parametrize(("address", "family"), [(OTHER_EVM, "evm"), (OTHER_TRON, "tron"), ("0:" + "1" * 64, "ton")])
async def test_an_address_the_list_names_elsewhere_or_nowhere_is_clear(
    path: Path, clock: FakeClock, address: str, family: str
) -> None:
    assert await (await screener(from_path(path), clock)).screen(address, family) == Clear()


async def test_what_is_no_address_is_not_clear(path: Path, clock: FakeClock) -> None:
    verdict = await (await screener(from_path(path), clock)).screen(OTHER_EVM, "tron")

    assert verdict == Unavailable("the sender is no tron address")


async def test_nothing_is_clear_before_the_first_read(path: Path, clock: FakeClock) -> None:
    verdict = await OfacScreener(from_path(path), clock.now_ms).screen(OTHER_EVM, "evm")

    assert isinstance(verdict, Unavailable)


async def test_nothing_is_clear_without_a_list(tmp_path: Path, clock: FakeClock) -> None:
    made = await screener(from_path(tmp_path / "nowhere.xml"), clock)

    verdict = await made.screen(OTHER_EVM, "evm")

    assert isinstance(verdict, Unavailable)
    assert "nowhere.xml" in verdict.reason
    assert made.status.stale


async def test_a_failed_refresh_keeps_the_list_and_tells_once(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = await screener(from_path(path), clock)
    written(path, "<html/>")

    with caplog.at_level(logging.WARNING):
        await made.refresh()
        await made.refresh()

    assert await made.screen(OTHER_EVM, "evm") == Clear()
    assert isinstance(await made.screen(EVM, "evm"), Listed)
    assert made.status.error is not None
    assert made.status.addresses == 4
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


async def test_an_old_list_clears_nobody_and_still_lists(path: Path, clock: FakeClock) -> None:
    made = await screener(from_path(path), clock)

    clock.advance(7 * 86_400)
    assert await made.screen(OTHER_EVM, "evm") == Clear()
    assert not made.status.stale
    clock.advance(1)
    assert await made.screen(OTHER_EVM, "evm") == Unavailable("the sanctions list is 168 hours old")
    assert isinstance(await made.screen(EVM, "evm"), Listed)
    assert made.status.stale


async def test_a_file_nobody_updates_is_old_however_often_it_is_read(tmp_path: Path, clock: FakeClock) -> None:
    old = written(tmp_path / "sdn.xml", PLAIN, age_s=8 * 86_400)

    made = await screener(from_path(old), clock)

    assert isinstance(await made.screen(OTHER_EVM, "evm"), Unavailable)


async def test_a_delisted_address_is_clear_after_the_refresh(path: Path, clock: FakeClock) -> None:
    made = await screener(from_path(path), clock)
    written(path, PLAIN.replace(EVM, OTHER_EVM))
    await made.refresh()

    assert await made.screen(EVM, "evm") == Clear()
    assert isinstance(await made.screen(OTHER_EVM, "evm"), Listed)


async def test_the_list_can_be_downloaded(clock: FakeClock) -> None:
    async with serving_list(lambda: web.Response(text=ADVANCED)) as url, aiohttp.ClientSession() as session:
        made = await screener(from_url(session, url, clock.now_ms), clock)

    assert isinstance(await made.screen(TRON_HEX, "tron"), Listed)
    assert made.status.as_of == NOW


async def test_a_server_that_fails_makes_nobody_clear(clock: FakeClock) -> None:
    async with serving_list(lambda: web.Response(status=503, text=PLAIN)) as url, aiohttp.ClientSession() as session:
        made = await screener(from_url(session, url, clock.now_ms), clock)

    assert await made.screen(OTHER_EVM, "evm") == Unavailable(
        "the sanctions list cannot be read: its server answered 503"
    )


async def test_a_server_that_is_gone_makes_nobody_clear(clock: FakeClock) -> None:
    async with aiohttp.ClientSession() as session:
        made = await screener(from_url(session, "http://127.0.0.1:9/sdn.xml", clock.now_ms), clock)

    assert isinstance(await made.screen(OTHER_EVM, "evm"), Unavailable)


async def test_the_list_is_refreshed_in_the_background_and_sooner_after_a_failure(path: Path, clock: FakeClock) -> None:
    pauses: list[float] = []
    paused = asyncio.Queue[asyncio.Event]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        go_on = asyncio.Event()
        paused.put_nowait(go_on)
        await go_on.wait()

    written(path, "<html/>")
    made = OfacScreener(from_path(path), clock.now_ms)
    task = asyncio.create_task(made.run(sleep, every_s=21_600))
    try:
        first = await paused.get()
        written(path, PLAIN)
        first.set()
        await paused.get()
    finally:
        task.cancel()
        await asyncio.wait([task])

    assert pauses == [300, 21_600]
    assert isinstance(await made.screen(EVM, "evm"), Listed)
