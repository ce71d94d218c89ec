"""The kit of pages: exact money, languages, relative addresses, assets that browsers may keep."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest
import segno
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from jinja2 import DictLoader, Environment, StrictUndefined

from kernel.pages import kit
from kernel.pages.assets import Assets
from kernel.pages.headers import page_headers
from kernel.pages.languages import Languages
from kernel.pages.money import decimal, iso, utc
from kernel.pages.qr import qr_image


@pytest.mark.parametrize(
    ("amount", "decimals", "shown"),
    [
        (12_500_000_000_000_000_000, 18, "12.5"),
        (1, 18, "0.000000000000000001"),
        (2**256 - 1, 6, "115792089237316195423570985008687907853269984665640564039457584007913129.639935"),
        (1_000_000, 6, "1"),
        (0, 6, "0"),
        (7, 0, "7"),
        (7, None, "7"),
        (-1_500_000, 6, "-1.5"),
    ],
)
def test_an_amount_is_shown_exactly(amount: int, decimals: int | None, shown: str) -> None:
    assert decimal(amount, decimals) == shown


def test_a_moment_is_shown_in_utc() -> None:
    assert utc(1_790_000_000_999) == "2026-09-21 14:13:20 UTC"
    assert iso(1_790_000_000_999) == "2026-09-21T14:13:20Z"


@pytest.mark.parametrize(
    ("here", "path", "way"),
    [
        ("/pay/abc", "/assets/1/kit.css", "../assets/1/kit.css"),
        ("/console", "/console/intents", "console/intents"),
        ("/console/intents/x", "/console", "../../console"),
        ("/docs", "/", "./"),
    ],
)
def test_the_way_between_two_paths_holds_below_any_prefix(here: str, path: str, way: str) -> None:
    from urllib.parse import urljoin  # noqa: PLC0415

    assert kit.relative(here, path) == way
    assert urljoin(f"https://host.example/a/prefix{here}", way) == f"https://host.example/a/prefix{path}"


def test_the_pieces_escape_what_they_are_given() -> None:
    env = Environment(loader=DictLoader(kit.templates(())), autoescape=True, undefined=StrictUndefined)
    env.filters |= kit.FILTERS
    source = (
        "{% import 'pieces.html' as p %}{{ p.address(x, x, x, x, x) }}{{ p.badge(x, 'good') }}{{ p.money(1, 0, x) }}"
    )

    shown = env.from_string(source).render(x="\"'><script>alert(1)</script>")

    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 10


def asked(assets: Assets, name: str, version: str, **headers: str) -> web.Response:
    request = make_mocked_request("GET", f"/assets/{version}/{name}", headers=headers)
    request._match_info = {"name": name, "version": version}  # type: ignore[assignment]
    return assets.response(request)


def test_assets_are_kept_for_good_and_their_address_changes_with_them() -> None:
    assets = Assets(["kernel.pages"])

    whole = asked(assets, "kit.css", assets.version)
    packed = asked(assets, "kit.css", assets.version, **{"Accept-Encoding": "gzip, br"})
    former = asked(assets, "kit.css", "0" * 16)

    assert re.fullmatch("/assets/[0-9a-f]{16}/kit.css", assets.path("kit.css"))
    assert "immutable" in whole.headers["Cache-Control"]
    assert former.headers["Cache-Control"] == "no-cache"
    assert packed.headers["Content-Encoding"] == "gzip"
    assert isinstance(packed.body, bytes)
    assert gzip.decompress(packed.body) == whole.body == former.body


@pytest.mark.parametrize("name", ["../kit.py", "kit.py", "", "kit.css/", "KIT.CSS"])
def test_what_is_no_asset_is_not_there(name: str) -> None:
    with pytest.raises(web.HTTPNotFound):
        asked(Assets(["kernel.pages"]), name, "x")


def test_two_packages_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="two packages have an asset"):
        Assets(["kernel.pages", "kernel.pages"])
    with pytest.raises(ValueError, match="two packages have a template"):
        kit.templates(["kernel.pages"])


def test_a_page_loads_nothing_from_elsewhere_and_tells_nobody_its_address() -> None:
    headers = page_headers()

    assert headers["Content-Security-Policy"] == "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in headers["X-Robots-Tag"]
    assert (
        "frame-ancestors https://shop.example"
        in page_headers(frame_ancestors="https://shop.example")["Content-Security-Policy"]
    )


def test_a_qr_code_is_an_image_in_the_page() -> None:
    assert qr_image("ethereum:0x0/transfer").startswith("data:image/svg+xml")


LANGUAGES = Languages("api.pay")


@pytest.mark.parametrize(
    ("wanted", "accepted", "code"),
    [
        ((None, None), "", "en"),
        (("fa", None), "en", "fa"),
        ((None, "fa-IR"), "en", "fa"),
        (("xx", "fa"), "en", "fa"),
        ((None, None), "de, fa;q=0.9, en;q=0.8", "fa"),
        ((None, None), "en;q=0.1, fa;q=0.2", "fa"),
        ((None, None), "fa;q=0, de", "en"),
        ((None, None), "fa;q=nonsense", "en"),
        (("../fa", "FA"), "", "fa"),
        ((None, None), "x," * 4000 + "fa", "en"),  # only so many are looked at
    ],
)
def test_the_language_is_what_is_asked_for_then_what_the_browser_reads(
    wanted: tuple[str | None, ...], accepted: str, code: str
) -> None:
    assert LANGUAGES.choose(*wanted, accepted=accepted).code == code


def test_every_language_says_everything_with_the_same_values() -> None:
    english = LANGUAGES.known["en"].texts

    def values(text: str) -> set[str]:
        return set(re.findall(r"{(\w+)}", text))

    for language in LANGUAGES.known.values():
        assert {*language.texts} - {"digits"} == {*english}, language.code
        assert {key: values(language.texts[key]) for key in english} == {key: values(english[key]) for key in english}


def test_persian_is_written_from_right_to_left_in_its_own_digits() -> None:
    persian = LANGUAGES.known["fa"]

    assert (persian.direction, LANGUAGES.known["en"].direction) == ("rtl", "ltr")
    assert persian.number(1205) == "۱۲۰۵"


def test_a_code_is_drawn_once_however_often_a_page_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    make = segno.make_qr

    def counting(text: str, **how: Any) -> Any:
        drawn.append(text)
        return make(text, **how)

    monkeypatch.setattr(segno, "make_qr", counting)

    assert len({qr_image("ethereum:0x1@97/transfer") for _ in range(50)}) == 1
    assert drawn == ["ethereum:0x1@97/transfer"]
