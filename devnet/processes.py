"""The daemons as an operator starts them: processes of their own, which can be killed and started again."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from devnet.evm.anvil import CHAIN_ID, Anvil

USDT = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
USDC = "0x64544969ed7EBf5f083679233325356EbE738930"
ESCROW = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
# The account of a published test phrase ("test test … junk"), m/44'/60'/0': watch-only.
XPUB = "xpub6EF8jXqFeFEW5bwMU7RpQtHkzE4KJxcqJtvkCjJumzW8CPpacXkb92ek4WzLQXjL93HycJwTPUAcuNxCqFPKKU5m5Z2Vq4nCyh5CyPeBFFr"
ROOT = Path(__file__).parent.parent
START_S = 60
STOP_S = 30
OURS = (
    *("SCANNER_", "RPC_", "MARKETPLACE_", "AMN_", "OFAC_", "TRANSACTION_", "WEBHOOK_", "BALANCE_WATCH_"),
    *("ORACLE_", "DEPEG_", "PLATFORM_", "SHKEEPER_", "REQUEST_NETWORK_", "TELEGRAM_", "SMTP_"),
    *("TRON_", "TRONGRID_", "TON_", "TONCENTER_", "POLL_", "CHAINS_", "TOKENS_", "DATABASE_", "DB_", "HOST", "APP_"),
    *("EVENT_", "UNMATCHED_", "INTENT_", "LATE_", "SWEEP_", "RELEASE_", "DISPUTE_", "PAYMENT_", "LOG_"),
)


class DemoError(Exception):
    """The demo did not go as planned."""


def log(text: str) -> None:
    """Print one step as it happens."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)  # noqa: T201 - the demo talks to a person


class Service:
    """
    One daemon, `python -m <module>`; started again it listens where it did before.

    Everything it says, in all its lives, is in its log.
    """

    def __init__(self, module: str, environment: Mapping[str, str], port_name: str, log: Path) -> None:
        self.module = module
        self.log = log
        self.url = ""
        self._environment = {**_machine(), port_name: "0", **environment}
        self._port_name = port_name
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Start it and return its URL, once it listens."""
        with self.log.open("ab") as output:
            already = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.module),
                cwd=self.log.parent,  # what an operator wrote into the `.env` of a clone is not for the demo
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.url = await self._listening(self._process, already)
        self._environment[self._port_name] = self.url.rpartition(":")[2]
        return self.url

    async def _listening(self, process: asyncio.subprocess.Process, already: int) -> str:
        said = ""
        try:
            async with asyncio.timeout(START_S):
                while True:
                    said = self.log.read_bytes()[already:].decode(errors="replace")
                    address, ended, _ = said.partition("listening on ")[2].partition("\n")
                    if ended:
                        return address.split()[0]
                    if process.returncode is not None:
                        raise DemoError(f"the {self.module} ended: {said.strip()}")
                    await asyncio.sleep(0.02)
        except TimeoutError as exc:
            about = said.strip() or "it said nothing"
            raise DemoError(f"the {self.module} did not listen within {START_S:g} s: {about}") from exc

    async def kill(self) -> None:
        """End it without a chance to do anything about it."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to stop and return its exit code; one that does not is killed."""
        if self._process is None:
            return 0
        try:
            async with asyncio.timeout(STOP_S):
                return await self._end(signal.SIGTERM)
        except TimeoutError:
            return await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            raise DemoError(f"the {self.module} was never started")
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self._process.wait()


def _machine() -> dict[str, str]:
    """Return the environment without what configures us: a demo is the same everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def started(service: Service) -> AsyncIterator[Service]:
    """Run a service until the block ends."""
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


def scanner_service(folder: Path, rpc_url: str, key: str, **more: str) -> Service:
    """Return a scanner for the local chain, not yet started."""
    environment = {
        "PORT": os.environ.get("PORT", "0"),
        "DB_PATH": str(folder / "scanner.db"),
        "RPC_BSC_TESTNET": rpc_url,
        "SCANNER_ENABLED_CHAINS": str(CHAIN_ID),
        "SCANNER_API_KEY": key,
        "POLL_INTERVAL_SEC": "0.5",
        "LOG_LEVEL": "info",
        **more,
    }
    return Service("scanner", environment, "PORT", folder / "scanner.log")


@asynccontextmanager
async def scanner(folder: Path, rpc_url: str, key: str) -> AsyncIterator[str]:
    """Run a scanner for the local chain; give its URL."""
    async with started(scanner_service(folder, rpc_url, key)) as service:
        yield service.url


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the operators of a deployment know, made anew for each run."""

    scanner_key: str
    hook_secret: str
    jwt_secret: str
    admin_email: str
    admin_password: str
    goods_key: str


def new_credentials() -> Credentials:
    """Return fresh secrets."""
    key, hook, jwt, password = (secrets.token_urlsafe(32) for _ in range(4))
    goods = base64.b64encode(secrets.token_bytes(32)).decode()
    return Credentials(key, hook, jwt, "admin@demo.test", password, goods)


def marketplace_service(folder: Path, scanner_url: str, credentials: Credentials, **more: str) -> Service:
    """Return a marketplace beside a scanner, not yet started; its rate limits are off."""
    environment = {
        "MARKETPLACE_PORT": os.environ.get("MARKETPLACE_PORT", "0"),
        "MARKETPLACE_DB_PATH": str(folder / "marketplace.db"),
        "MARKETPLACE_JWT_SECRET": credentials.jwt_secret,
        "MARKETPLACE_GOODS_KEY": credentials.goods_key,
        "MARKETPLACE_ADMIN_EMAIL": credentials.admin_email,
        "MARKETPLACE_ADMIN_PASSWORD": credentials.admin_password,
        "MARKETPLACE_XPUB": XPUB,
        "MARKETPLACE_ESCROW_ADDRESSES": orjson.dumps({str(CHAIN_ID): [ESCROW]}).decode(),
        "MARKETPLACE_RATE_LIMITS": "login=off,payment=off,all=off,account=off",
        "AMN_SCANNER_URL": scanner_url,
        "AMN_SCANNER_API_KEY": credentials.scanner_key,
        "AMN_SCANNER_WEBHOOK_SECRET": credentials.hook_secret,
        "LOG_LEVEL": "info",
        **more,
    }
    return Service("marketplace", environment, "MARKETPLACE_PORT", folder / "marketplace.log")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A chain, a scanner and a marketplace that know each other."""

    chain: Anvil
    scanner: Service
    marketplace: Service
    credentials: Credentials


async def prepare_chain(chain: Anvil) -> None:
    """Give a fresh local chain the registry's tokens and some history."""
    await chain.token("USDT", 18, at=USDT)
    await chain.token("USDC", 18, at=USDC)
    await chain.mine(12)


@asynccontextmanager
async def deployed(
    folder: Path,
    chain: Anvil,
    *,
    scanner_more: Mapping[str, str] | None = None,
    marketplace_more: Mapping[str, str] | None = None,
) -> AsyncIterator[Deployment]:
    """Run a scanner and a marketplace on a furnished chain until the block ends."""
    credentials = new_credentials()
    async with AsyncExitStack() as stack:
        scanner_daemon = scanner_service(folder, chain.url, credentials.scanner_key, **(scanner_more or {}))
        await stack.enter_async_context(started(scanner_daemon))
        marketplace_daemon = marketplace_service(folder, scanner_daemon.url, credentials, **(marketplace_more or {}))
        await stack.enter_async_context(started(marketplace_daemon))
        yield Deployment(chain, scanner_daemon, marketplace_daemon, credentials)
