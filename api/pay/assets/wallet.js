// Pays with a wallet of the browser (EIP-1193, found by EIP-6963 or as `window.ethereum`), on both rails.

const SELECTORS = { allowance: "dd62ed3e", approve: "095ea7b3", balanceOf: "70a08231", transfer: "a9059cbb" };
const REJECTED = 4001;
const UNKNOWN_CHAIN = 4902;
const PAUSE_MS = 1500;
const MOST_SHOWN = 200; // characters of what a wallet says
const MOST_WALLETS = 8;

const word = (value) => BigInt(value).toString(16).padStart(64, "0");
const call = (name, ...words) => `0x${SELECTORS[name]}${words.map(word).join("")}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** A refusal with a sentence of its own. */
class Stop extends Error {}

/** Show base units as people read them, exactly. */
export function decimal(amount, decimals) {
  const digits = BigInt(amount).toString().padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = decimals ? digits.slice(-decimals).replace(/0+$/, "") : "";
  return fraction ? `${whole}.${fraction}` : whole;
}

/** Offer the wallets there are in a section of the page, which holds what is to be paid in `data-wallet`. */
export function offerWallets(section, { say, lookAgain }) {
  const list = section.querySelector("#wallets");
  const said = section.querySelector("#wallet-said");
  const found = new Map();
  const sent = `amn-pay ${location.pathname}`;

  function add(id, name, icon, provider) {
    if (found.has(id) || found.size >= MOST_WALLETS) return;
    found.set(id, provider);
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.walletName = name;
    // An icon is shown from the page itself or not at all: no other host is asked for anything.
    if (icon?.startsWith("data:image/")) button.append(Object.assign(new Image(), { src: icon, alt: "" }));
    button.append(say("pay_with", { wallet: name }));
    button.addEventListener("click", () => pay(provider, button));
    list.append(button);
    said.textContent = sessionStorage.getItem(sent) ? say("w_again") : "";
  }

  async function pay(provider, button) {
    if (section.dataset.busy) return;
    section.dataset.busy = "yes";
    for (const each of list.children) each.setAttribute("aria-disabled", "true");
    try {
      await payWith(provider);
    } catch (problem) {
      said.textContent = sentence(problem);
    } finally {
      delete section.dataset.busy;
      for (const each of list.children) each.removeAttribute("aria-disabled");
    }
  }

  function sentence(problem) {
    if (problem instanceof Stop) return problem.message;
    if (problem?.code === REJECTED) return say("w_rejected");
    return say("w_failed", { reason: String(problem?.message ?? problem).slice(0, MOST_SHOWN) });
  }

  async function payWith(provider) {
    const ask = (method, params = []) => provider.request({ method, params });
    const due = () => {
      if (!section.dataset.wallet) throw new Stop(say("w_over"));
      return JSON.parse(section.dataset.wallet);
    };
    let payment = due();
    const shown = (amount) => `${decimal(amount, payment.decimals)} ${payment.symbol}`;

    said.textContent = say("w_connect");
    const [from] = await ask("eth_requestAccounts");
    await choose(ask, payment);

    said.textContent = say("w_check");
    const read = async (name, ...words) => {
      const answer = await ask("eth_call", [{ to: payment.token, data: call(name, ...words) }, "latest"]);
      return answer === "0x" ? 0n : BigInt(answer);
    };
    const balance = await read("balanceOf", from);
    if (balance < BigInt(payment.needed)) {
      throw new Stop(say("w_poor", { balance: shown(balance), amount: shown(payment.needed) }));
    }
    if (payment.proxy) await approve(ask, payment, from, read, shown);

    // A part may have come meanwhile, from another device: what is missing now is what is paid.
    const now = due();
    if (BigInt(now.needed) > BigInt(payment.needed)) return payWith(provider);
    payment = now;
    await onChain(ask, payment);
    said.textContent = say("w_pay");
    const to = payment.proxy ?? payment.token;
    const data = payment.proxy ? payment.calldata : call("transfer", payment.destination, payment.amount);
    const hash = await ask("eth_sendTransaction", [{ from, to, data, value: "0x0" }]);
    sessionStorage.setItem(sent, hash);
    said.textContent = say("w_sent");
    showHash(hash, payment);
    await mined(ask, hash);
    said.textContent = say("w_done");
    await tell(hash);
  }

  /** Have the wallet use the chain of the payment; give it the chain where it does not know it. */
  async function choose(ask, payment) {
    if (BigInt(await ask("eth_chainId")) === BigInt(payment.chainId)) return;
    said.textContent = say("w_switch", { chain: payment.chainName });
    try {
      await ask("wallet_switchEthereumChain", [{ chainId: payment.chainId }]);
    } catch (problem) {
      const code = problem?.code === UNKNOWN_CHAIN ? UNKNOWN_CHAIN : problem?.data?.originalError?.code;
      if (code !== UNKNOWN_CHAIN || !payment.rpcUrls.length) throw problem;
      await ask("wallet_addEthereumChain", [
        {
          chainId: payment.chainId,
          chainName: payment.chainName,
          nativeCurrency: { name: payment.coin, symbol: payment.coin, decimals: 18 },
          rpcUrls: payment.rpcUrls,
          ...(payment.explorer ? { blockExplorerUrls: [payment.explorer] } : {}),
        },
      ]);
      // Some wallets add a chain and stay where they are.
      if (BigInt(await ask("eth_chainId")) !== BigInt(payment.chainId)) {
        await ask("wallet_switchEthereumChain", [{ chainId: payment.chainId }]);
      }
    }
    await onChain(ask, payment);
  }

  /** Refuse to go on elsewhere: the same address on another chain is another contract. */
  async function onChain(ask, payment) {
    if (BigInt(await ask("eth_chainId")) !== BigInt(payment.chainId)) throw new Stop(say("w_chain"));
  }

  /** Let the proxy take what it needs, and no more. */
  async function approve(ask, payment, from, read, shown) {
    const allowed = await read("allowance", from, payment.proxy);
    if (allowed >= BigInt(payment.needed)) return;
    const grant = async (amount) => {
      const data = call("approve", payment.proxy, amount);
      said.textContent = say("w_approve", { amount: shown(payment.needed) });
      const hash = await ask("eth_sendTransaction", [{ from, to: payment.token, data, value: "0x0" }]);
      said.textContent = say("w_approving");
      await mined(ask, hash);
    };
    // Tether on Ethereum refuses to change an allowance that is not zero.
    if (allowed > 0n) {
      const data = call("approve", payment.proxy, payment.needed);
      const refused = await ask("eth_estimateGas", [{ from, to: payment.token, data }]).then(() => false, () => true);
      if (refused) await grant(0);
    }
    await grant(payment.needed);
    if ((await read("allowance", from, payment.proxy)) < BigInt(payment.needed)) throw new Stop(say("w_reverted"));
  }

  async function mined(ask, hash) {
    for (;;) {
      const receipt = await ask("eth_getTransactionReceipt", [hash]).catch(() => null);
      if (receipt && BigInt(receipt.status) === 0n) {
        sessionStorage.removeItem(sent);
        throw new Stop(say("w_reverted"));
      }
      if (receipt) return;
      await pause(PAUSE_MS);
    }
  }

  function showHash(hash, payment) {
    const shown = Object.assign(document.createElement("bdi"), { dir: "ltr", className: "mono", textContent: hash });
    const link = payment.explorer ? document.createElement("a") : document.createElement("span");
    if (payment.explorer) {
      Object.assign(link, { href: `${payment.explorer}/tx/${hash}`, target: "_blank", rel: "noopener noreferrer" });
    }
    link.id = "wallet-hash";
    link.append(shown);
    section.querySelector("#wallet-hash")?.remove();
    section.append(link);
  }

  /** Have the chain looked at until the transaction is found, a few times. */
  async function tell(hash) {
    for (let tries = 0; tries < 4; tries += 1) {
      const looked = await lookAgain(hash);
      if (looked.ok && looked.counts) return;
      if (looked.wait === null) return;
      await pause(looked.wait * 1000);
    }
  }

  addEventListener("eip6963:announceProvider", ({ detail }) => {
    if (!detail?.provider?.request) return;
    add(detail.provider, String(detail.info?.name ?? "").slice(0, 40), detail.info?.icon, detail.provider);
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  // Wallets that announce themselves do so at once; the old name is for those that do not.
  setTimeout(() => {
    if (!found.size && globalThis.ethereum?.request) add(globalThis.ethereum, say("browser_wallet"), null, globalThis.ethereum);
    if (!found.size) said.textContent = say("no_wallet");
  }, 50);
}
