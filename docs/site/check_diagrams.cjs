// Whether the script that draws the diagrams understands them: what it does not understand it draws as an error.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const [folder, ...pages] = process.argv.slice(2); // where the script is installed, and what to look at
const script = path.join(folder, "node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js");
vm.runInThisContext(fs.readFileSync(script, "utf8"));

async function main() {
  let diagrams = 0;
  let wrong = 0;
  for (const page of pages) {
    for (const [, text] of fs.readFileSync(page, "utf8").matchAll(/^```mermaid\n([^]*?)^```/gm)) {
      diagrams += 1;
      await globalThis.mermaid.parse(text).catch((error) => {
        wrong += 1;
        console.log(`${path.basename(page)}: ${error.message}`);
      });
    }
  }
  console.log(`${diagrams} diagrams, ${wrong} wrong`);
  process.exitCode = wrong === 0 && diagrams > 0 ? 0 : 1;
}

main();
