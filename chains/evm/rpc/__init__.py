"""JSON-RPC as EVM nodes speak it: the client, the structs of its answers, and what provider errors mean."""
