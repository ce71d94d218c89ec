"""What the marketplace's tests build on: the real backend over HTTP, and people who use it."""

from __future__ import annotations

import asyncio
import base64
import functools
import itertools
import re
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import asyncpg
import jsonschema_rs
import orjson

from marketplace.app import Marketplace, open_marketplace
from marketplace.identity.passwords import Passwords
from marketplace.notifications.announcer import Announcer
from marketplace.settings import load_settings
from marketplace.store.migrate import SCHEMA, migrate, migrate_postgresql, postgres_settings
from marketplace.web.openapi import describe
from marketplace.web.routes import ROUTES
from tests import postgres
from tests.harness import ROOT

ADMIN = ("admin@example.test", "the first admin's password")
PASSWORD = "correct horse battery"
SECRET_KEY = base64.b64encode(bytes(range(32))).decode()
GOODS_KEY = base64.b64encode(bytes(range(32, 64))).decode()
HOOK_SECRET = "a webhook secret of the tests"
ESCROW = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
TRON_LIST = ["TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", "TVjsyZ7fYF3qLF6BQgPmTEZy1xrNNyVAAA"]
# The account of a published test phrase ("test test … junk"), m/44'/60'/0'.
XPUB = "xpub6EF8jXqFeFEW5bwMU7RpQtHkzE4KJxcqJtvkCjJumzW8CPpacXkb92ek4WzLQXjL93HycJwTPUAcuNxCqFPKKU5m5Z2Vq4nCyh5CyPeBFFr"
MARKET = "/api/marketplace"
_numbers = itertools.count(1)
_running: dict[str, Running] = {}  # by the address at which it listens
# What a hash costs is tried where it belongs; paid for every user of every test it would be half of their time.
_cheap_passwords = functools.partial(Passwords, memory_kib=64, passes=1)


@functools.cache
def _document() -> dict[str, Any]:
    return describe(ROUTES)


@functools.cache
def _routes() -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
    """Return method, path and described answers of every call there is; those without a variable part go first."""
    paths = _document()["paths"]
    pairs = [(method, path) for path, operations in paths.items() for method in operations]
    return [
        (method.upper(), re.compile(re.sub(r"{\w+}", "[^/]+", path)), paths[path][method]["responses"])
        for method, path in sorted(pairs, key=lambda pair: "{" in pair[1])
    ]


@functools.cache
def _validator(place: tuple[int, str]) -> Any:
    number, status = place
    content = _routes()[number][2][status]["content"]["application/json"]["schema"]
    return jsonschema_rs.validator_for({**content, "components": _document()["components"]})


@functools.cache
def _refusal() -> Any:
    refusal = {"$ref": "#/components/schemas/Refusal"}
    return jsonschema_rs.validator_for({**refusal, "components": _document()["components"]})


def described(method: str, path: str, status: int, answer: Any) -> None:
    """Hold an answer against the description: it may say nothing that is not in it."""
    for number, (name, pattern, responses) in enumerate(_routes()):
        if name == method and pattern.fullmatch(path):
            assert str(status) in responses, (method, path, status, answer)
            if "application/json" in responses[str(status)]["content"]:
                _validator((number, str(status))).validate(answer)
            return
    assert status in range(400, 500), (method, path, status)  # what has no route is refused, in the one shape
    _refusal().validate(answer)


def check_described(method: str, path: str, status: int, raw: bytes) -> None:
    """Fail when an answer, as it came, is not what the description says."""
    described(method, path.partition("?")[0], status, orjson.loads(raw))


class Api:
    """HTTP as one person speaks it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, token: str | None = None, user_id: str = "") -> None:
        self.url = url
        self.session = session
        self.token = token
        self.user_id = user_id

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Return the status and the whole envelope."""
        headers = dict(more.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            more["data"] = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.request(method, self.url + path, headers=headers, **more) as response:
            assert response.headers["X-Request-Id"]
            answer = orjson.loads(await response.read())
            described(method, response.url.path, response.status, answer)
            return response.status, answer

    async def ok(
        self, method: str, path: str, body: Any = None, status: int | tuple[int, ...] = (200, 201, 202)
    ) -> Any:
        """Return the data of an answer that has to be a success."""
        found, answer = await self.call(method, path, body)
        assert found in (status if isinstance(status, tuple) else (status,)), (found, answer)
        assert answer["success"] is True
        return answer["data"]

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Return status and code of an answer that has to be a refusal."""
        status, answer = await self.call(method, path, body)
        assert answer["success"] is False, answer
        assert set(answer["error"]) == {"code", "message", "details"}
        return status, answer["error"]["code"]

    def nobody(self) -> Api:
        """Return the same without a token."""
        return Api(self.url, self.session)


class Rows(list[tuple[Any, ...]]):
    """What a statement answered, asked for as from a cursor."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self)

    def fetchone(self) -> tuple[Any, ...] | None:
        return self[0] if self else None


class DirectLink:
    """A connection to a store on PostgreSQL, used as one to a file: statements with `?`, each by itself."""

    def __init__(self, url: str) -> None:
        self._url = url

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        places = itertools.count(1)
        numbered = re.sub(r"\?", lambda _: f"${next(places)}", sql)
        with ThreadPoolExecutor(1) as thread:  # this one has a loop already
            return thread.submit(asyncio.run, self._fetch(numbered, values)).result()

    async def _fetch(self, sql: str, values: Sequence[Any]) -> Rows:
        link = await asyncpg.connect(self._url, statement_cache_size=0)
        try:
            async with link.transaction():  # a pooler gives each transaction to another connection
                await link.execute(f"SET LOCAL search_path = {SCHEMA}")
                return Rows(tuple(row) for row in await link.fetch(sql, *values))
        except asyncpg.IntegrityConstraintViolationError as exc:
            raise sqlite3.IntegrityError(str(exc)) from exc
        finally:
            await link.close()


@dataclass(slots=True)
class Running:
    """A backend that runs in this process."""

    marketplace: Marketplace
    nobody: Api
    admin: Api
    db_path: Path
    database_url: str | None = None

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection | DirectLink]:
        """Open the store beside the backend."""
        if self.database_url is not None:
            yield DirectLink(self.database_url)
        else:
            with closing(sqlite3.connect(self.db_path)) as link, link:
                yield link

    async def write(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Change the store beside the backend; it shares this loop, and may be in the middle of a transaction."""

        def change() -> None:
            with self.opened() as store:
                store.execute(sql, values)

        await asyncio.to_thread(change)

    async def settled_down(self) -> None:
        """Let the commands for the scanner finish, whoever does them."""
        while await self.marketplace.commands.run_due():
            pass
        claimed = [(1,)]
        while claimed:
            with self.opened() as store:
                claimed = store.execute("SELECT 1 FROM scanner_outbox WHERE claim IS NOT NULL").fetchall()
            await asyncio.sleep(0.01)

    async def all_told(self) -> None:
        """Tell everybody what was announced, unless it was done already."""
        await Announcer(self.marketplace.services.units).once()

    async def user(self, role: str, **fields: Any) -> Api:
        """Create somebody and log them in."""
        email = f"{role}-{next(_numbers)}@example.test"
        body = {"email": email, "password": PASSWORD, "role": role, "name": role.title(), **fields}
        await self.admin.ok("POST", "/api/admin/users", body)
        return await login(self.nobody, body["email"], body["password"])


async def login(api: Api, email: str, password: str) -> Api:
    data = await api.ok("POST", "/api/auth/login", {"email": email, "password": password})
    return Api(api.url, api.session, data["tokens"]["accessToken"], data["user"]["id"])


def environment(folder: Path, scanner_url: str = "http://127.0.0.1:9", **more: str) -> dict[str, str]:
    """Return the environment of a backend; `more` may put its store on PostgreSQL (`on_postgresql`)."""
    found = {
        "MARKETPLACE_PORT": "0",
        "MARKETPLACE_DB_PATH": str(folder / "marketplace.db"),
        "MARKETPLACE_JWT_SECRET": "a secret of the tests that is long enough",
        "MARKETPLACE_ADMIN_EMAIL": ADMIN[0],
        "MARKETPLACE_ADMIN_PASSWORD": ADMIN[1],
        "MARKETPLACE_GOODS_KEY": GOODS_KEY,
        "MARKETPLACE_XPUB": XPUB,
        "MARKETPLACE_ESCROW_ADDRESSES": orjson.dumps({"97": [ESCROW], "728126428": TRON_LIST}).decode(),
        "CHAINS_JSON_PATH": str(ROOT / "supported-chains.json"),
        "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
        "AMN_SCANNER_URL": scanner_url,
        "AMN_SCANNER_API_KEY": "a-key-of-the-scanner",
        "AMN_SCANNER_WEBHOOK_SECRET": HOOK_SECRET,
        "AMN_SCANNER_TIMEOUT_SEC": "30",  # it answers in this very process: only a busy machine would be slower
        "APP_ENV": "test",
        "MARKETPLACE_RATE_LIMITS": "login=off,payment=off,all=off,account=off",
        **more,
    }
    if "MARKETPLACE_DATABASE_URL" in more:
        del found["MARKETPLACE_DB_PATH"]
    return found


def on_postgresql(url: str) -> dict[str, str]:
    """Return what an environment has besides where the store is on PostgreSQL."""
    return {"MARKETPLACE_DATABASE_URL": url, "MARKETPLACE_SECRET_KEY": SECRET_KEY}


@asynccontextmanager
async def empty_database(server: postgres.Server) -> AsyncIterator[str]:
    """Give the URL of a fresh database with a store of this version and nothing in it."""
    template = await server.template("marketplace", _migrated)
    async with server.database(template) as url:
        yield url


async def _migrated(url: str) -> None:
    await migrate_postgresql(postgres_settings(url, "tests"))


@functools.cache
def migrated() -> bytes:
    """Return an empty store of this version: the migrations take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "marketplace.db"
        migrate(path)
        return path.read_bytes()


@asynccontextmanager
async def running(env: Mapping[str, str], *, clock: Any = None) -> AsyncIterator[Running]:
    """Run the backend in this process until the block ends."""
    settings = load_settings(env)
    if settings.database_url is None and not settings.db_path.exists():
        settings.db_path.write_bytes(await asyncio.to_thread(migrated))
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        with patch("marketplace.app.Passwords", _cheap_passwords):
            marketplace = await stack.enter_async_context(open_marketplace(settings, clock=clock))
        task = asyncio.create_task(marketplace.run(stop))
        try:
            await asyncio.wait([task, marketplace.listening], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            async with aiohttp.ClientSession() as session:
                nobody = Api(marketplace.listening.result(), session)
                admin = await login(nobody, *ADMIN)
                found = Running(marketplace, nobody, admin, settings.db_path, settings.database_url)
                _running[nobody.url] = found
                yield found
        finally:
            if marketplace.listening.done():
                _running.pop(marketplace.listening.result(), None)
            stop.set()
            await task


def request_body(**fields: Any) -> dict[str, Any]:
    """Return a purchase request that is accepted."""
    return {
        "title": "A used bicycle",
        "description": "Any colour, 28 inches, with lights.",
        "productType": "physical_product",
        "productLink": "https://example.test/bicycle",
        "quantity": 1,
        "budget": {"min": "5", "max": "100", "currency": "USDT"},
        "urgency": "medium",
        "deliveryInfo": {"deliveryType": "physical", "email": "buyer@example.test"},
        **fields,
    }


def offer_body(amount: str = "10", **fields: Any) -> dict[str, Any]:
    """Return an offer that is accepted."""
    return {
        "title": "My bicycle",
        "description": "Blue.",
        "price": {"amount": amount, "currency": "USDT"},
        "deliveryTime": {"amount": 2, "unit": "days"},
        **fields,
    }


async def new_request(buyer: Api, **fields: Any) -> str:
    """Publish a request; every seller has been told when this returns."""
    data = await buyer.ok("POST", f"{MARKET}/purchase-requests", request_body(**fields), 201)
    if buyer.url in _running:
        await _running[buyer.url].all_told()
    return str(data["purchaseRequest"]["id"])


async def new_offer(seller: Api, request_id: str, amount: str = "10", **fields: Any) -> str:
    path = f"{MARKET}/purchase-requests/{request_id}/offers"
    return str((await seller.ok("POST", path, offer_body(amount, **fields), 201))["offer"]["id"])


async def select(buyer: Api, request_id: str, offer_id: str) -> tuple[int, Any]:
    return await buyer.call("POST", f"{MARKET}/purchase-requests/{request_id}/select-offer", {"offerId": offer_id})


async def notes(api: Api) -> list[tuple[str, str]]:
    """Return the notifications of a user, oldest first: type and what it is about."""
    found = (await api.ok("GET", "/api/notifications?limit=100"))["notifications"]
    return [(note["type"], note["relatedId"]) for note in reversed(found)]
