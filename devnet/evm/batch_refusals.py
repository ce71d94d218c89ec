"""How an endpoint says that a JSON-RPC batch is too large: public endpoints were seen to do each of these."""

from __future__ import annotations

from aiohttp import web

from devnet.evm.rpc_defects import Json, rpc_error
from devnet.fault_server import cut, json_response

BATCH_REFUSALS = (
    *("object", "first_id", "each", "sentence", "nothing"),
    *("400", "403", "405", "413", "429", "500", "502", "503", "504", "cut"),
)


def refuse_batch(request: web.Request, calls: list[Json], how: str, limit: int) -> web.Response:
    text = f"Batch of more than {limit} requests are not allowed"
    match how:
        case "object":
            return json_response(rpc_error(None, -32600, text))
        case "first_id":
            refusal = rpc_error(calls[0].get("id"), -32600, "batch too large")
            return json_response([refusal])
        case "each":
            refusals = [rpc_error(call.get("id"), 31, text) for call in calls]
            return json_response(refusals, 500)
        case "sentence" | "nothing":
            return web.Response(text=text if how == "sentence" else "")
        case "cut":
            return cut(request)
        case _:
            return web.Response(status=int(how), text=text)
