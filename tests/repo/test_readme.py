"""What the README tells people to paste works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness import ROOT
from webhooks.signing import headers_for

README = (ROOT / "README.md").read_text()
BODY = b'{"intentId":"order-1","note":"\xc3\xa9"}'


def snippet(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
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


def node() -> str:
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("Node is not installed")
    return found


def accepted_by_node(given: dict[str, str], body: bytes, secret: str) -> bool:
    lower = json.dumps({name.lower(): value for name, value in given.items()})
    program = (
        f"{snippet('js')}\nconsole.log(accept({lower}, Buffer.from('{body.hex()}', 'hex'), {json.dumps(secret)}));"
    )
    done = subprocess.run([node(), "-e", program], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "true"


@pytest.mark.parametrize("secret", ["plain text é", "whsec_c2VjcmV0IGJ5dGVz"])
def test_the_node_snippet_accepts_what_we_sign(secret: str) -> None:
    assert accepted_by_node(headers(secret), BODY, secret)


@pytest.mark.parametrize(
    ("body", "secret", "age_s"),
    [(BODY + b" ", "right", 0), (BODY, "wrong", 0), (BODY, "right", 400)],
    ids=["changed body", "other secret", "old"],
)
def test_the_node_snippet_refuses_what_we_did_not_sign(body: bytes, secret: str, age_s: int) -> None:
    assert not accepted_by_node(headers("right", age_s=age_s), body, secret)


def test_the_python_snippet_accepts_what_we_sign_and_nothing_else() -> None:
    space: dict[str, object] = {}
    exec(snippet("python"), space)  # noqa: S102 - our own README
    accept = space["accept"]
    assert callable(accept)
    assert accept(headers("right"), BODY, "right")
    assert not accept(headers("right"), BODY, "wrong")
    assert not accept(headers("right", age_s=400), BODY, "right")
