// The payment page, live: shows what happens, counts down, asks to look again, and offers wallets to pay with.

import { enliven } from "./kit.js";
import { offerWallets } from "./wallet.js";

const page = document.getElementById("payment");
const texts = JSON.parse(page.dataset.texts);
const PARTS = ["status", "time", "due"];
const wallet = document.getElementById("wallet");
const CLOSED = new Set(["paid", "cancelled"]); // nothing to look for any more
const LEAVE_MS = 5000;
const AWAY_MS = 30_000;

let leaving = null;

/** Return a text with its values in place. */
export function say(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// --- time left

let ends = null;

function restartCountdown() {
  const left = document.getElementById("left");
  // Counted from when it was told, by a clock that nobody sets.
  ends = left ? performance.now() + Number(left.dataset.seconds) * 1000 : null;
  tick();
}

function tick() {
  const left = document.getElementById("left");
  if (!left || ends === null) return;
  const seconds = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  // Without a connection nobody else says that it is over, and whoever pays now pays too late.
  if (seconds === 0) askForNothing(true);
  left.textContent = (hours ? `${hours}:${two(minutes)}` : `${minutes}`) + `:${two(seconds % 60)}`;
}

function askForNothing(over) {
  document.getElementById("over").hidden = !over;
  document.getElementById("due").hidden = over;
  if (over) offer(null);
}

// --- what happens

function show(told) {
  askForNothing(false);
  if (told.state === "paid" && page.dataset.state !== "paid" && told.redirect) leave(told.redirect);
  if (told.state !== "paid") stay(); // a reorganisation took it away meanwhile
  page.dataset.state = told.state;
  for (const name of PARTS) replace(document.getElementById(name), told.parts[name]);
  restartCountdown();
  offer(told.wallet);
  document.getElementById("check").hidden = CLOSED.has(told.state);
}

function replace(part, { html, digest }) {
  // What has not changed is left alone: a focus, a selection and a screen reader stay where they are.
  if (part.dataset.digest === digest) return;
  part.dataset.digest = digest;
  const focused = part.contains(document.activeElement) ? document.activeElement.dataset.copy : undefined;
  part.innerHTML = html;
  enliven(part);
  if (focused) part.querySelector(`[data-copy="${CSS.escape(focused)}"]`)?.focus();
}

/** Go on to where the seller wants, once the buyer has had the time to see that it is paid. */
function leave(url) {
  document.getElementById("leaving").hidden = false;
  leaving = setTimeout(() => location.assign(url), LEAVE_MS);
}

function stay() {
  document.getElementById("leaving").hidden = true;
  clearTimeout(leaving);
}

function offer(payment) {
  // Whoever has paid here goes on seeing what they sent.
  wallet.hidden = payment === null && !wallet.dataset.busy && !wallet.querySelector("#wallet-hash");
  document.getElementById("wallets").hidden = payment === null;
  wallet.dataset.wallet = payment === null ? "" : JSON.stringify(payment);
}

let source = null;
let away = null;

function listen() {
  source?.close();
  const mine = (source = new EventSource(page.dataset.events));
  const offline = document.getElementById("offline");
  source.addEventListener("open", () => (offline.hidden = true));
  source.addEventListener("payment", (event) => show(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    offline.hidden = false;
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => mine === source && listen(), 15_000); // it was refused: a browser gives up then
  });
}

// A phone that slept may hold a connection that is dead and does not know it: what is shown would stay for good.
document.addEventListener("visibilitychange", () => {
  const now = Date.now(); // it goes on during sleep, unlike the clock that nobody sets
  if (document.visibilityState === "hidden") away = now;
  else if (away !== null && now - away >= AWAY_MS) listen();
});

// --- looking again

/** Have the chain looked at; return what to say about it. */
export async function lookAgain(txHash) {
  const body = JSON.stringify(txHash ? { txHash } : {});
  const headers = { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(page.dataset.recheck, { method: "POST", headers, body });
  } catch {
    return { ok: false, said: say("c_failed"), wait: 10 };
  }
  if (response.status === 429) {
    const wait = Number(response.headers.get("Retry-After") ?? 10);
    return { ok: false, said: say("c_wait", { seconds: wait }), wait };
  }
  if (response.status === 400) return { ok: false, said: say("c_bad_hash"), wait: null };
  if (!response.ok) return { ok: false, said: say("c_failed"), wait: 10 };
  const answer = await response.json();
  return { ok: true, said: answer.message, counts: answer.counts || answer.state === "paid", wait: 11 };
}

document.getElementById("recheck").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  const said = document.getElementById("recheck-said");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true"); // not `disabled`: the focus would be lost
  said.textContent = say("c_looking");
  try {
    said.textContent = (await lookAgain(form.elements.txHash.value.trim())).said;
  } finally {
    button.removeAttribute("aria-disabled");
  }
});

document.getElementById("check").hidden = CLOSED.has(page.dataset.state);
offer(wallet.dataset.wallet ? JSON.parse(wallet.dataset.wallet) : null);
offerWallets(wallet, { say, lookAgain });
restartCountdown();
setInterval(tick, 1000);
listen();
