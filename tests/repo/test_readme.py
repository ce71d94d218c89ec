"""What the README tells people to paste works."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT
from tests.node import printed
from webhooks.signing import headers_for

README = (ROOT / "README.md").read_text()
BODY = b'{"intentId":"order-1","chainId":97,"token":"0x1","amount":"12","status":"confirmed","note":"\xc3\xa9"}'


def snippet(language: str, text: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def headers(secret: str, *, age_s: int = 0) -> dict[str, str]:
    return headers_for(
        event_id="evt_1",
        event_type="payment.confirmed",
        delivery_id="order-1",
        body=BODY,
        secret=secret,
        timestamp=int(time.time()) - age_s,
    )


def answered_by_node(given: dict[str, str], body: bytes, secret: str, text: str = README) -> str:
    """Return the status that a snippet answers a webhook with."""
    module = (ROOT / "clients" / "js" / "index.js").as_uri()
    lower = json.dumps({name.lower(): value for name, value in given.items()})
    program = snippet("js", text).replace('"amn-scanner-client"', json.dumps(module)).replace("console.log", "void ")
    asked = f"receive(Buffer.from('{body.hex()}', 'hex'), {lower}, {json.dumps(secret)})"
    return printed(f"{program}\nconsole.log({asked});", module=True)


def answered_by_python(given: dict[str, str], body: bytes, secret: str, text: str = README) -> int:
    """Return the status that a snippet answers a webhook with."""
    space: dict[str, Any] = {}
    exec(snippet("python", text).replace("from amn_", "from clients.python.amn_"), space)  # noqa: S102 - our own page
    return int(space["receive"](body, given, secret))


@pytest.mark.parametrize("page", ["README.md", "clients/python/README.md"])
@pytest.mark.parametrize("secret", ["plain text é", "whsec_c2VjcmV0IGJ5dGVz"])
def test_the_python_snippet_accepts_what_we_sign(secret: str, page: str) -> None:
    assert answered_by_python(headers(secret), BODY, secret, (ROOT / page).read_text()) == 200


@pytest.mark.parametrize("page", ["README.md", "clients/js/README.md"])
@pytest.mark.parametrize("secret", ["plain text é", "whsec_c2VjcmV0IGJ5dGVz"])
def test_the_node_snippet_accepts_what_we_sign(secret: str, page: str) -> None:
    assert answered_by_node(headers(secret), BODY, secret, (ROOT / page).read_text()) == "200"


@pytest.mark.parametrize(
    ("body", "secret", "age_s"),
    [(BODY + b" ", "right", 0), (BODY, "wrong", 0), (BODY, "right", 400)],
    ids=["changed body", "other secret", "old"],
)
def test_the_snippets_refuse_what_we_did_not_sign(body: bytes, secret: str, age_s: int) -> None:
    given = headers("right", age_s=age_s)

    assert answered_by_python(given, body, secret) == 401
    assert answered_by_node(given, body, secret) == "401"


def test_the_readme_shows_the_pages_that_people_see() -> None:
    shown = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', README)

    assert [name for name, _ in shown] == ["docs/pictures/payment-page.png", "docs/pictures/console.png"]
    assert {path.name for path in (ROOT / "docs" / "pictures").iterdir()} == {Path(name).name for name, _ in shown}
