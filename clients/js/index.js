// Verifies the webhooks of AMN Pay Scanner, and its proofs, by the same rules as the Python client.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export { InvalidProof, verifyProof } from "./proof.js";

const PREFIX = "whsec_";
const MAX_SECRET = 1024;
const MAX_DEPTH = 32;
const MAX_TEXT = 4096;
const MAX_NAME = 128;
const MAX_UNITS = 2n ** 256n - 1n;

export class InvalidWebhook extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

export class MalformedWebhook extends InvalidWebhook {
  constructor(message, { eventId = "", eventType = "unreadable", names = [] } = {}) {
    super(message);
    Object.assign(this, { eventId, eventType, names });
  }
}

// What a value may be. Each returns what is handed on, or throws a sentence about the field.

const text = (name, value) => {
  if (typeof value !== "string") throw new Unreadable(`${name} is no text`);
  return value;
};

const integer = (name, value) => {
  if (!Number.isSafeInteger(value)) throw new Unreadable(`${name} is no integer`);
  return value;
};

const unitsFrom = (least) => (name, value) => {
  const isText = typeof value === "string" && /^-?[0-9]{1,79}$/.test(value);
  // A number beyond the safe ones has lost digits already.
  if (!isText && !Number.isSafeInteger(value)) throw new Unreadable(`${name} is no integer`);
  const amount = BigInt(value);
  if (amount < least || amount > MAX_UNITS) throw new Unreadable(`${name} is out of bounds`);
  return amount.toString();
};
const units = unitsFrom(0n); // a negative amount would be credited backwards
const change = unitsFrom(-MAX_UNITS);

const moment = (name, value) => {
  const isMoment = typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value);
  if (!isMoment || Number.isNaN(Date.parse(value))) throw new Unreadable(`${name} is no time`);
  return value;
};

const orNull = (kind) => (name, value) => (value === null ? null : kind(name, value));
const optional = (kind) => Object.assign(orNull(kind), { optional: true });
const listOf = (shape) => (name, value) => {
  if (!Array.isArray(value)) throw new Unreadable(`${name} is no list`);
  return value.map((each) => read(shape, each));
};

const EVENT_TRANSFER = {
  txHash: orNull(text),
  eventKey: optional(text),
  blockNumber: optional(integer),
  blockHash: optional(text),
  token: optional(text),
  sender: optional(text),
  amount: units,
};

const BALANCE_TRANSFER = {
  txHash: orNull(text),
  blockNumber: optional(integer),
  sender: optional(text),
  amount: units,
};

const INTENT_EVENT = {
  eventId: text,
  eventType: text,
  intentId: text,
  paymentReference: optional(text),
  chainId: integer,
  token: text,
  amount: units,
  amountReceived: optional(units),
  txHash: optional(text),
  blockNumber: optional(integer),
  confirmations: optional(integer),
  status: text,
  reason: optional(text),
  missing: optional(units),
  sender: optional(text),
  rail: optional(text),
  destination: optional(text),
  count: optional(integer),
  transfers: optional(listOf(EVENT_TRANSFER)),
  transferCount: optional(integer),
};

const BALANCE_EVENT = {
  eventId: text,
  eventType: text,
  watchId: text,
  chainId: integer,
  chainType: text,
  address: text,
  tokenAddress: orNull(text),
  tokenSymbol: orNull(text),
  decimals: orNull(integer),
  previousBalance: units,
  currentBalance: units,
  delta: change,
  changeCount: integer,
  checkedAt: moment,
  status: text,
  transfers: optional(listOf(BALANCE_TRANSFER)),
  transferCount: optional(integer),
};

class Unreadable extends Error {}

/**
 * Return the event of a webhook that is really the scanner's; give the body as it came, unparsed.
 *
 * `now` in unix seconds, or else this machine's. `X-AMN-Signature` must be there and right; where
 * `webhook-signature` is there too, it must be right and recent. The event id is the signed one.
 * Throws InvalidWebhook (forged, altered or too old), MalformedWebhook (signed, and no event), and
 * TypeError or RangeError for arguments of ours that cannot be used.
 */
export function verifyWebhook(body, headers, secret, { now, toleranceSeconds = 300 } = {}) {
  if (!(body instanceof Uint8Array)) throw new TypeError("body must be the bytes as they came, a Buffer or Uint8Array");
  checkSecret(secret);
  const given = lowerCased(headers);
  if (!isEqual(given.get("x-amn-signature")?.trim().toLowerCase() ?? "", hexOf(body, secret))) {
    throw new InvalidWebhook("X-AMN-Signature is missing or wrong");
  }
  const timestamped = given.has("webhook-signature");
  const moment = now ?? Math.floor(Date.now() / 1000);
  if (timestamped && !isStandard(given, body, secret, moment, toleranceSeconds)) {
    throw new InvalidWebhook("webhook-signature is wrong or too old");
  }
  // Without the second signature `webhook-id` is anybody's word: the body then has to name itself.
  const ownId = timestamped ? given.get("webhook-id") : `sha256:${createHash("sha256").update(body).digest("hex")}`;
  return eventOf(objectOf(body), ownId);
}

function eventOf(told, ownId) {
  const named = isEmpty(told.eventId) ? { ...told, eventId: ownId } : told;
  const isWatch = "watchId" in told && (told.eventType == null || told.eventType === "balance_changed");
  try {
    if (typeof named.eventId !== "string" || !/^[\x21-\x7e]{1,200}$/.test(named.eventId)) {
      throw new Unreadable("eventId is no id");
    }
    checkSizes(named);
    return isWatch
      ? read(BALANCE_EVENT, { eventType: "balance_changed", ...named })
      : read(INTENT_EVENT, { eventType: `payment.${told.status}`, ...named });
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    const kind = told.eventType;
    throw new MalformedWebhook(error.message, {
      eventId: ownId,
      eventType: typeof kind === "string" && [...kind].length <= MAX_NAME ? kind : "unreadable",
      names: [told.intentId, told.watchId].filter((name) => typeof name === "string"),
    });
  }
}

function read(shape, told) {
  if (told === null || typeof told !== "object" || Array.isArray(told)) throw new Unreadable("a transfer is no object");
  const found = {};
  for (const [name, kind] of Object.entries(shape)) {
    const isThere = Object.hasOwn(told, name);
    if (!isThere && !kind.optional) throw new Unreadable(`${name} is missing`);
    found[name] = isThere ? kind(name, told[name]) : null;
  }
  return found;
}

function objectOf(body) {
  let told;
  try {
    told = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    throw new MalformedWebhook("the body is not a JSON object");
  }
  if (told === null || typeof told !== "object" || Array.isArray(told) || !isShallow(told)) {
    throw new MalformedWebhook("the body is not a JSON object");
  }
  return told;
}

function isShallow(told) {
  let level = [told];
  for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
    level = level.flatMap((value) => (value !== null && typeof value === "object" ? Object.values(value) : []));
    if (level.length === 0) return true;
  }
  return false;
}

function checkSizes(told) {
  const waiting = [told];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (value !== null && typeof value === "object") {
      for (const each of Object.values(value)) waiting.push(each);
    } else if (typeof value === "string") {
      if ([...value].length > MAX_TEXT) throw new Unreadable(`a text is longer than ${MAX_TEXT} characters`);
      if (!value.isWellFormed()) throw new Unreadable("a text holds half a character");
    }
  }
}

// An empty id of the body does not hide the signed one.
function isEmpty(value) {
  return !value || (typeof value === "object" && Object.keys(value).length === 0);
}

function lowerCased(headers) {
  const pairs = typeof headers?.entries === "function" ? headers.entries() : Object.entries(headers ?? {});
  const given = new Map();
  for (const [name, value] of pairs) {
    if (typeof value === "string") given.set(name.toLowerCase(), value);
  }
  return given;
}

function isStandard(given, body, secret, now, toleranceSeconds) {
  const id = given.get("webhook-id") ?? "";
  const stamp = given.get("webhook-timestamp") ?? "";
  if (id === "" || !/^[0-9]{1,12}$/.test(stamp)) return false;
  if (!(Math.abs(now - Number(stamp)) <= toleranceSeconds)) return false; // also where `now` is no number
  const signed = createHmac("sha256", keyOf(secret)).update(`${id}.${Number(stamp)}.`).update(body).digest("base64");
  return given.get("webhook-signature").split(" ").some((each) => isEqual(each, `v1,${signed}`));
}

function hexOf(body, secret) {
  return createHmac("sha256", Buffer.from(secret, "utf8")).update(body).digest("hex");
}

function isEqual(given, expected) {
  const [one, other] = [Buffer.from(given, "utf8"), Buffer.from(expected, "utf8")];
  return one.length === other.length && timingSafeEqual(one, other);
}

function keyOf(secret) {
  return secret.startsWith(PREFIX) ? Buffer.from(secret.slice(PREFIX.length), "base64") : Buffer.from(secret, "utf8");
}

// An empty key would accept everybody's signature, and a lenient reader of base64 any key.
function checkSecret(secret) {
  if (typeof secret !== "string" || secret === "") throw new RangeError("the secret must not be empty");
  if ([...secret].length > MAX_SECRET) throw new RangeError(`the secret must be at most ${MAX_SECRET} characters`);
  if (/[\x00-\x1f\x7f-\x9f]/.test(secret) || !secret.isWellFormed()) {
    throw new RangeError("the secret must not contain control characters or lone surrogates");
  }
  if (!secret.startsWith(PREFIX)) return;
  const encoded = secret.slice(PREFIX.length);
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded)) {
    throw new RangeError("after whsec_ must come base64");
  }
  if (encoded === "") throw new RangeError("after whsec_ must come at least one byte of base64");
}

// For the tests, which compare them with what the scanner says.
export const SHAPES = { EVENT_TRANSFER, BALANCE_TRANSFER, INTENT_EVENT, BALANCE_EVENT };
