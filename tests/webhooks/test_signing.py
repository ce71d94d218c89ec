"""Signatures: what a receiver relies on, and what an attacker may send it."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest

from webhooks.signing import check_secret, headers_for, sign_amn, sign_standard, verify_amn, verify_standard

BODY = b'{"intentId":"order-1"}'
SECRET = "s3cret-\N{SNOWMAN}"
NOW = 1_800_000_000


def signed(secret: str = SECRET, timestamp: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return headers_for(
        event_id="evt_1",
        event_type="payment.confirmed",
        delivery_id="order-1",
        body=body,
        secret=secret,
        timestamp=timestamp,
    )


def test_the_published_vector_of_standard_webhooks_is_reproduced():
    """From the test suites of https://github.com/standard-webhooks/standard-webhooks."""
    signature = sign_standard(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_amn_signature_is_rfc_4231_hmac_sha256():
    """Test case 2 of RFC 4231."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign_amn(b"what do ya want for nothing?", "Jefe") == expected


def test_the_amn_signature_is_keyed_with_the_text_even_after_whsec():
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert sign_amn(BODY, secret) == hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()


def test_exactly_the_promised_headers_are_made():
    assert signed() == {
        "Content-Type": "application/json",
        "X-AMN-Signature": sign_amn(BODY, SECRET),
        "X-AMN-Event-Type": "payment.confirmed",
        "X-AMN-Delivery-ID": "order-1",
        "webhook-id": "evt_1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": sign_standard("evt_1", NOW, BODY, SECRET),
    }


def test_own_signatures_verify():
    headers = signed()
    assert verify_amn(BODY, headers["X-AMN-Signature"], SECRET)
    assert verify_amn(BODY, headers["X-AMN-Signature"].upper(), SECRET)
    assert verify_standard(headers, BODY, SECRET, now=NOW)
    assert verify_standard({name.upper(): value for name, value in headers.items()}, BODY, SECRET, now=NOW)


@pytest.mark.parametrize("signature", ["", "00", "zz" * 32, "\udcff", "\N{SNOWMAN}" * 64, sign_amn(BODY, SECRET)[:-1]])
def test_a_wrong_amn_signature_is_false(signature):
    assert verify_amn(BODY, signature, SECRET) is False


def test_another_body_or_secret_does_not_verify():
    headers = signed()
    assert not verify_amn(BODY + b" ", headers["X-AMN-Signature"], SECRET)
    assert not verify_amn(BODY, headers["X-AMN-Signature"], "other")
    assert not verify_standard(headers, BODY + b" ", SECRET, now=NOW)
    assert not verify_standard(headers, BODY, "other", now=NOW)


def test_one_right_signature_among_several_is_enough():
    """Two are sent while a secret is being rotated."""
    headers = signed()
    headers["webhook-signature"] = f"v1a,abc v1,AAAA {headers['webhook-signature']} v2,x"
    assert verify_standard(headers, BODY, SECRET, now=NOW)


@pytest.mark.parametrize(("now", "accepted"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_the_timestamp_may_be_off_by_the_tolerance_both_ways(now, accepted):
    assert verify_standard(signed(), BODY, SECRET, now=NOW + now) is accepted


def test_the_event_id_and_the_time_are_signed():
    assert not verify_standard(signed() | {"webhook-id": "evt_2"}, BODY, SECRET, now=NOW)
    assert not verify_standard(signed() | {"webhook-timestamp": str(NOW + 1)}, BODY, SECRET, now=NOW)


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize(
    "value", ["", " ", "x", "-1", "1e9", "9" * 5000, "\udcff", "\0", "v1", "v1,", ",", "\u0661", "1.5"]
)
def test_a_malformed_header_is_false_and_never_an_exception(header, value):
    """`\\udcff` is how servers hand over a header byte that is not UTF-8."""
    assert verify_standard(signed() | {header: value}, BODY, SECRET, now=NOW) is False


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_false(header):
    headers = signed()
    del headers[header]
    assert verify_standard(headers, BODY, SECRET, now=NOW) is False


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "empty"),
        ("x" * 1025, "at most 1024"),
        ("a\nb", "control characters"),
        ("a\x7f", "control characters"),
        ("a\x85", "control characters"),
        ("a\ud800", "surrogates"),
        ("whsec_", "at least one byte"),
        ("whsec_***", "base64"),
        ("whsec_abc", "base64"),
        ("whsec_YWJj*", "base64"),
        ("whsec_\N{SNOWMAN}", "base64"),
    ],
)
def test_an_unusable_secret_is_refused_with_a_sentence(secret, says):
    with pytest.raises(ValueError, match=says):
        check_secret(secret)


@pytest.mark.parametrize("secret", ["x", "x" * 1024, SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_an_accepted_secret_signs_and_verifies(secret):
    check_secret(secret)
    assert verify_standard(signed(secret), BODY, secret, now=NOW)


def test_a_receiver_can_import_the_signatures_alone():
    """In a fresh interpreter nothing heavy comes along."""
    probe = (
        "import sys, webhooks.signing; heavy = {'aiohttp', 'web3', 'sqlalchemy', 'pydantic', 'config', 'scanner'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
