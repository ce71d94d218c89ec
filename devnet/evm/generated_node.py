"""
A JSON-RPC node that answers from memory, over a generated chain, for benchmarks.

`python -m devnet.evm.generated_node --logs 100000 --blocks 5000` prints its URL as the first line and serves until it
is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
from aiohttp import web

from devnet.evm.anvil import CHAIN_ID, PROXY
from devnet.evm.generated_chain import ChainSpec, GeneratedChain, default_references
from devnet.fault_server import MAX_BODY, serving


@asynccontextmanager
async def serve(chain: GeneratedChain, port: int = 0) -> AsyncIterator[str]:
    """Serve a chain on loopback; give its URL."""

    async def handle(request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        most = chain.spec.most_calls
        if isinstance(asked, list) and most is not None and len(asked) > most:
            # As geth: one error, with the id of the first call.
            refusal = {"code": -32600, "message": "batch too large"}
            return web.json_response([{"jsonrpc": "2.0", "id": asked[0].get("id"), "error": refusal}])
        body = b"[%b]" % b",".join(map(chain.answer, asked)) if isinstance(asked, list) else chain.answer(asked)
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/{path:.*}", handle)
    async with serving(app, port) as url:
        yield url


@asynccontextmanager
async def generated_node(spec: ChainSpec) -> AsyncIterator[str]:
    """Run a chain in a process of its own, so that serving costs the caller's event loop nothing; give its URL."""
    with tempfile.TemporaryDirectory(prefix="generated-") as folder:
        references = Path(folder) / "references"
        references.write_text("\n".join(spec.references))
        command = ["--logs", spec.logs, "--blocks", spec.blocks, "--references", references]
        command += ["--chain-id", spec.chain_id, "--proxy", spec.proxy]
        command += ["--max-rows", spec.max_rows] if spec.max_rows is not None else []
        command += ["--max-range", spec.max_range] if spec.max_range is not None else []
        command += ["--most-topics", spec.most_topics] if spec.most_topics is not None else []
        command += ["--most-calls", spec.most_calls] if spec.most_calls is not None else []
        command += ["--needs-address"] if spec.needs_address else []
        command += [word for method in sorted(spec.unserved) for word in ("--unserved", method)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "devnet.evm.generated_node",
            *map(str, command),
            cwd=Path(__file__).parent.parent.parent,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            if process.stdout is None or not (line := await process.stdout.readline()):
                raise RuntimeError(f"the generated node ended with {await process.wait()}")
            yield line.decode().strip()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _main(spec: ChainSpec, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(GeneratedChain(spec), port) as url:
        print(url, flush=True)  # noqa: T201 - whoever started us reads it
        await stop.wait()


def _spec(arguments: argparse.Namespace) -> ChainSpec:
    chosen = arguments.references.read_text().split() if arguments.references else default_references(arguments.waiting)
    return ChainSpec(
        logs=arguments.logs,
        blocks=arguments.blocks,
        references=chosen,
        chain_id=arguments.chain_id,
        proxy=arguments.proxy,
        max_rows=arguments.max_rows,
        max_range=arguments.max_range,
        most_topics=arguments.most_topics,
        most_calls=arguments.most_calls,
        needs_address=arguments.needs_address,
        unserved=frozenset(arguments.unserved),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=100_000)
    parser.add_argument("--blocks", type=int, default=5_000)
    parser.add_argument(
        "--references", type=Path, help="a file of 0x + 16 hex, one a line: what the first intents wait for"
    )
    parser.add_argument("--waiting", type=int, default=10_000, help="how many references to make up without a file")
    parser.add_argument("--chain-id", type=int, default=CHAIN_ID)
    parser.add_argument("--proxy", default=PROXY)
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--max-range", type=int)
    parser.add_argument("--most-topics", type=int, help="values in one topic position")
    parser.add_argument("--most-calls", type=int, help="calls in one batch")
    parser.add_argument("--needs-address", action="store_true", help="refuse logs without an address")
    parser.add_argument("--unserved", action="append", default=[], help="a method it does not know; may be repeated")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(_main(_spec(given), given.port))
