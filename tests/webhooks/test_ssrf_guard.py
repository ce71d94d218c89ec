"""Which receivers may be called."""

from __future__ import annotations

import ipaddress

import pytest

from webhooks import ssrf_guard
from webhooks.ssrf_guard import BlockedTarget, SsrfGuard

PRODUCTION = SsrfGuard(frozenset(), production=True)
DEVELOPMENT = SsrfGuard(frozenset(), production=False)
LISTED = SsrfGuard(frozenset({"Shop.Example.", "10.0.0.7", "[FD00:0::1]"}), production=True)

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::ffff:100.64.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:7f00:1::808:808",
    "2001:0:808:808::f7f7:f7f7",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "2002:6440:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "192.0.0.0",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.0.170",
    "192.31.196.1",
    "192.52.193.255",
    "192.175.48.6",
    "198.19.255.255",
    "100::1",
    "100:0:0:1::1",
    "2001:0:5ef5:79fd:0:0:0:1",
    "2001:1::1",
    "2001:1::2",
    "2001:1::3",
    "2001:2::1",
    "2001:3::1",
    "2001:4:112::1",
    "2001:20::1",
    "2001:30::1",
    "2001:1ff:ffff::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "5f00::1",
    "::ffff:192.0.0.9",
    "64:ff9b::c000:a",
    "64:ff9b::7f00:1",
    "::8.8.8.8",
    "::ffff:0:8.8.8.8",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "fe00::1",
]
# The blocks of IANA's special-purpose registries as of 2025-10-09, and what else is refused, written down again here.
BLOCKS = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32 ::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128
2001:1::3/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 168.63.129.16/32 fec0::/10 ::/96 ::ffff:0:0:0/96
""".split()  # noqa: SIM905 - as the registries are read, not one a line
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "192.0.1.1",
    "192.31.195.255",
    "198.17.255.255",
    "2001:200::1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
]


def url_of(ip: str) -> str:
    return f"http://[{ip}]/hook" if ":" in ip else f"http://{ip}/hook"


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_production_refuses_an_address_that_is_not_public_in_the_url(ip):
    with pytest.raises(BlockedTarget, match="public"):
        PRODUCTION.check_url(url_of(ip))


@pytest.mark.parametrize("ip", [*NOT_PUBLIC, "fe80::1%eth0"])
def test_production_refuses_an_address_that_is_not_public_at_dial(ip):
    with pytest.raises(BlockedTarget, match="public"):
        PRODUCTION.check_address(ip)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_special_purpose_block_is_refused_whatever_the_library_knows(block, monkeypatch):
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
        monkeypatch.setattr(kind, "is_reserved", False)
    network = ipaddress.ip_network(block)
    for ip in (network[0], network[-1]):
        with pytest.raises(BlockedTarget, match="public"):
            PRODUCTION.check_address(str(ip))


@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00::1", "::1"])
def test_what_the_library_knows_is_refused_whatever_the_list_says(ip, monkeypatch):
    monkeypatch.setattr(ssrf_guard, "_NEVER", ())
    with pytest.raises(BlockedTarget, match="public"):
        PRODUCTION.check_address(ip)


@pytest.mark.parametrize("ip", [*PUBLIC, "64:ff9b::8.8.8.8"])
def test_production_lets_public_addresses_pass(ip):
    PRODUCTION.check_url(url_of(ip))
    PRODUCTION.check_address(ip)


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_development_lets_all_addresses_pass(ip):
    DEVELOPMENT.check_url(url_of(ip))
    DEVELOPMENT.check_address(ip)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "db.internal", "printer.local"])
def test_production_refuses_local_names(host):
    with pytest.raises(BlockedTarget, match="local name"):
        PRODUCTION.check_url(f"http://{host}/")
    DEVELOPMENT.check_url(f"http://{host}/")


@pytest.mark.parametrize("guard", [PRODUCTION, DEVELOPMENT, LISTED], ids=["production", "development", "listed"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "http"),
        ("shop.example/hook", "http"),
        ("//shop.example/hook", "http"),
        ("ftp://shop.example/", "http"),
        ("file:///etc/passwd", "http"),
        ("javascript:alert(1)", "http"),
        ("http://", "name a host"),
        ("http:///hook", "name a host"),
        ("http://:80/", "name a host"),
        ("http://shop.example:0/", "port"),
        ("http://shop.example:65536/", "not a URL"),
        ("http://shop.example:x/", "not a URL"),
        ("http://shop.example:-1/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://user@shop.example/", "user name"),
        ("http://user:pw@shop.example/", "user name"),
        ("http://@shop.example/", "user name"),
        ("http://shop.example\\@evil.example/", "backslashes"),
        ("http://shop.example/a\nb", "control"),
        ("http://shop.example/\0", "control"),
        (" http://shop.example/", "spaces"),
        ("http://shop.example/\u200b", "control"),
        ("http://shop.example/" + "a" * 2048, "2048"),
        ("http://./", "DNS name"),
        ("http://a..b/", "DNS name"),
        ("http://" + "a" * 64 + ".example/", "DNS name"),
        ("http://127%2e0%2e0%2e1/", "DNS name"),
        ("http://127\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}1/", "DNS name"),
        ("http://127.0.0.\N{FULLWIDTH DIGIT ONE}/", "DNS name"),
        ("http://b\u00fccher.example/", "xn--"),
        ("http://0177.0.0.1/", "four decimal"),
        ("http://0x7f.0.0.1/", "four decimal"),
        ("http://0x7f000001/", "four decimal"),
        ("http://2130706433/", "four decimal"),
        ("http://127.1/", "four decimal"),
        ("http://127.0.0.0x1/", "four decimal"),
        ("http://127.0.0.1.1/", "four decimal"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://[v1.x]/", "IPv6"),
    ],
)
def test_a_bad_url_is_refused_everywhere_with_a_sentence(guard, url, says):
    with pytest.raises(BlockedTarget, match=says):
        guard.check_url(url)


def test_the_refusal_does_not_repeat_the_url():
    with pytest.raises(BlockedTarget) as caught:
        PRODUCTION.check_url("http://10.0.0.1/hook?token=s3cret")
    assert "s3cret" not in str(caught.value)
    assert "10.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("https://Shop.Example/hook?a=1#b", "https://shop.example:443"),
        ("HTTP://shop.example./hook", "http://shop.example:80"),
        ("http://shop.example:/", "http://shop.example:80"),
        ("http://shop.example:8080", "http://shop.example:8080"),
        ("https://shop.example:443/", "https://shop.example:443"),
        ("http://[2606:4700:0::1111]:81/", "http://[2606:4700::1111]:81"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example:80"),
        ("http://my_service/", "http://my_service:80"),
    ],
)
def test_the_receiver_is_the_same_for_all_spellings(url, receiver):
    assert PRODUCTION.check_url(url) == receiver


@pytest.mark.parametrize(
    "url", ["https://shop.example/", "http://SHOP.EXAMPLE.:81/", "http://10.0.0.7/", "http://[fd00::1]/"]
)
def test_a_listed_host_is_accepted_wherever_it_is(url):
    LISTED.check_url(url)
    LISTED.check_address("10.0.0.7")


@pytest.mark.parametrize(
    "host", ["other.example", "a.shop.example", "shop.example.evil.example", "8.8.8.8", "10.0.0.8", "shop-example"]
)
@pytest.mark.parametrize("production", [True, False])
def test_a_host_that_is_not_listed_is_refused_even_in_development(host, production):
    guard = SsrfGuard(frozenset({"shop.example", "10.0.0.7"}), production=production)
    with pytest.raises(BlockedTarget, match="SCANNER_CALLBACK_ALLOWED_HOSTS"):
        guard.check_url(f"http://{host}/")
