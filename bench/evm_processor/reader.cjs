// Reads the logs of one contract and event up to a block, keeps none, and prints how many they were and the seconds.
"use strict";

const { EvmBatchProcessor } = require("@subsquid/evm-processor");

const [url, address, topic, last] = process.argv.slice(2);
let found = 0;

const nowhere = {
  supportsHotBlocks: false,
  connect: async () => ({ height: -1, hash: "0x" }),
  transact: async (_, work) => work({}),
  advance: async () => {},
};

const processor = new EvmBatchProcessor()
  .setRpcEndpoint({ url, maxBatchCallSize: 100 })
  .setFinalityConfirmation(0)
  .setBlockRange({ from: 1, to: Number(last) })
  .addLog({ address: [address], topic0: [topic] })
  .setFields({ log: { topics: true, data: true, transactionHash: true } });

const started = process.hrtime.bigint();
process.on("exit", () => console.log(found, Number(process.hrtime.bigint() - started) / 1e9)); // it ends the process
processor.run(nowhere, async ({ blocks }) => {
  for (const block of blocks) found += block.logs.length;
});
