"""A peer in an environment of its own: `web3-ethereum-defi` reading the same logs, and storing none."""

from __future__ import annotations

from bench.peers import python_with, run
from devnet.evm.anvil import PROXY

BLOCKS, CHUNK = 5_000, 100

SCRIPT = """
import sys, time
from web3 import HTTPProvider, Web3
from eth_defi.event_reader.conversion import (
    convert_int256_bytes_to_int, convert_uint256_bytes_to_address, decode_data)
from eth_defi.event_reader.filter import Filter
from eth_defi.event_reader.reader import extract_timestamps_json_rpc, read_events

url, proxy, last, chunk, how = sys.argv[1], Web3.to_checksum_address(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
names = (("tokenAddress", "address"), ("to", "address"), ("amount", "uint256"), ("paymentReference", "bytes"),
         ("feeAmount", "uint256"), ("feeAddress", "address"))
abi = [{"type": "event", "name": "TransferWithReferenceAndFee", "anonymous": False,
        "inputs": [{"name": n, "type": t, "indexed": n == "paymentReference"} for n, t in names]}]
web3 = Web3(HTTPProvider(url))
web3.middleware_onion.clear()
event = web3.eth.contract(address=proxy, abi=abi).events.TransferWithReferenceAndFee
wanted = Filter.create_filter(proxy, [event])
started = time.perf_counter()
count = 0
stamps = extract_timestamps_json_rpc if how == "stamped" else None
for log in read_events(web3, 1, last, filter=wanted, chunk_size=chunk, extract_timestamps=stamps):
    if how != "raw":
        token, to, amount, fee, fee_to = decode_data(log["data"])
        convert_uint256_bytes_to_address(token), convert_uint256_bytes_to_address(to)
        convert_int256_bytes_to_int(amount), convert_int256_bytes_to_int(fee)
        convert_uint256_bytes_to_address(fee_to)
    count += 1
assert count == 100_000, count
print(time.perf_counter() - started)
"""


async def event_reader(url: str) -> dict[str, float]:
    """Return seconds for 100,000 logs: as they come, with their values decoded, and with block times as by default."""
    python = await python_with("event_reader", "bench-peer.txt")
    found = {}
    for how in ("raw", "decoded", "stamped"):
        said = await run(str(python), "-W", "ignore", "-c", SCRIPT, url, PROXY, str(BLOCKS), str(CHUNK), how)
        found[how] = float(said.split()[-1])
    return found
