// Compile Solidity files to {contract: creation bytecode}: node compile.cjs OUTPUT SOURCE...
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const [output, ...files] = process.argv.slice(2);
const sources = {};
for (const file of files) sources[path.basename(file)] = { content: fs.readFileSync(file, "utf8") };
const input = {
  language: "Solidity",
  sources,
  settings: {
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    metadata: { appendCBOR: false }, // the same code for the same contract, whatever else the file holds
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const compiled = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (compiled.errors || []).filter((e) => e.severity === "error");
if (errors.length) {
  console.error(errors.map((e) => e.formattedMessage).join("\n"));
  process.exit(1);
}
const found = {};
for (const contracts of Object.values(compiled.contracts)) {
  for (const [name, contract] of Object.entries(contracts)) found[name] = "0x" + contract.evm.bytecode.object;
}
// The real proxy: the compiled contract its authors publish. Its module wants a web library, so it is read as text.
const factory = require.resolve(
  "@requestnetwork/smart-contracts/types/factories/src/contracts/ERC20FeeProxy__factory.js"
);
found.ERC20FeeProxy = /_bytecode = "(0x[0-9a-f]+)"/.exec(fs.readFileSync(factory, "utf8"))[1];
fs.writeFileSync(output, JSON.stringify(found));
