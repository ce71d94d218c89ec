"""
Blocks of addresses nobody receives webhooks at.

Source: IANA's IPv4 and IPv6 Special-Purpose Address Registries, as last updated on 2025-10-09; whole blocks, also those
said to be globally reachable (anycast of name servers, relays and the like). Two of the registry are judged by the
address they hold instead: `64:ff9b::/96` and `::ffff:0:0/96`.
"""

from __future__ import annotations

SPECIAL_PURPOSE = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",
    "100.64.0.0/10",  # shared by carriers; holds 100.100.100.200, metadata of one cloud
    "127.0.0.0/8",
    "169.254.0.0/16",  # link local; holds 169.254.169.254, metadata of most clouds
    "172.16.0.0/12",
    "192.0.0.0/24",  # IETF protocol assignments: DS-Lite, anycast of PCP and TURN, NAT64 discovery
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "240.0.0.0/4",  # reserved; holds the limited broadcast
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",  # NAT64 of a local network
    "100::/64",  # discard only
    "100:0:0:1::/64",  # dummy prefix
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, AMT, AS112, ORCHID, drone identifiers
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: holds any IPv4 address
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
    "5f00::/16",  # segment routing
    "fc00::/7",  # unique local; holds fd00:ec2::254, metadata once more
    "fe80::/10",  # link local
)
METADATA = (
    "168.63.129.16/32",  # of a cloud, on a public address
    "fec0::/10",  # site local, deprecated and still routed inside some networks
    "::/96",  # IPv4-compatible, deprecated: holds any IPv4 address
    "::ffff:0:0:0/96",  # IPv4-translated: the same
)
