// Verifies proofs of payments, by the same rules as the Python client: no network, no trust in the scanner.
//
// Only hashes are believed: the caller's own hash of each block names the header, the header names the root of the
// receipts, each node of that tree names the next, and the last one holds the receipt with the token's own log.
// Nothing is decoded before its hash is known to be the one that was named.
import { keccak_256 } from "@noble/hashes/sha3.js";

const MAX_TRANSFERS = 1_000;
const MAX_CHARACTERS = 64 * 2 ** 20; // of all headers, receipts and nodes together, in hex
const MAX_INDEX = 2 ** 24 - 1; // of a transaction in its block
const MAX_NUMBER = Number.MAX_SAFE_INTEGER; // of a block, of a chain
const MAX_DEPTH = 64; // lists in lists; a receipt has four

const HASH_BYTES = 32;
const ADDRESS_BYTES = 20;
const HEADER_ITEMS = 15; // at least; later forks and other chains add more at the end
const [ROOT_PLACE, NUMBER_PLACE] = [5, 8]; // of the root of the receipts, and of the block's number
const BRANCH_ITEMS = 17;
const PATH_ITEMS = 2; // of a leaf, or of an extension, which names one node behind a path
const LEAF = 2; // added to the first half byte of a path; 1 is added where the path has an odd length
const KINDS = 4;
const LIST_PREFIX = 0xc0; // a receipt without a type begins with its list
const [STATUS_PLACE, LOGS_PLACE] = [0, 3];
const FOUR = [4];
// By type; 0x7e: deposits of OP chains.
const RECEIPT_ITEMS = new Map([[null, FOUR], [1, FOUR], [2, FOUR], [3, FOUR], [4, FOUR], [0x7e, [4, 5, 6]]]);
const SUCCEEDED = Uint8Array.of(1);
const LOG_ITEMS = 3;
const TRANSFER_TOPICS = 3;
const TRANSFER_TOPIC = keccak_256(Buffer.from("Transfer(address,address,uint256)"));
const PADDING_BYTES = HASH_BYTES - ADDRESS_BYTES;

/** A proof of which a step does not follow from the hashes of the blocks. */
export class InvalidProof extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/**
 * Return what a proof shows to be paid, in its order.
 *
 * `proof` is what GET /intents/{id}/proof answers. `blockHashes` are the hashes, by number, of the blocks it names
 * (an object or a Map), from a node that the caller trusts; that they are deep enough is the caller's to know.
 * `txHash` is a label, and not proven. Throws InvalidProof.
 */
export function verifyProof(proof, blockHashes) {
  const told = isObject(proof) && Object.hasOwn(proof, "proof") ? proof.proof : proof;
  if (!isObject(told)) throw new InvalidProof("the proof is no object");
  const chainId = integer(told, "chainId", MAX_NUMBER);
  const transfers = told.transfers;
  if (!Array.isArray(transfers) || transfers.length === 0) throw new InvalidProof("the proof holds no transfers");
  if (transfers.length > MAX_TRANSFERS) throw new InvalidProof("the proof holds too many transfers");
  const hashes = blockHashes instanceof Map ? blockHashes : new Map(Object.entries(blockHashes).map(([k, v]) => [Number(k), v]));
  const hexes = new HexReader();
  const found = new Map();
  for (const each of transfers) {
    if (!isObject(each)) throw new InvalidProof("a transfer is no object");
    const proven = provenTransfer(each, chainId, hashes, hexes);
    const key = `${proven.blockNumber} ${proven.transactionIndex} ${proven.logPosition}`;
    if (found.has(key)) throw new InvalidProof("a log is given twice"); // one payment would count twice
    found.set(key, proven);
  }
  return [...found.values()];
}

function provenTransfer(told, chainId, hashes, hexes) {
  const blockNumber = integer(told, "blockNumber", MAX_NUMBER);
  const transactionIndex = integer(told, "transactionIndex", MAX_INDEX);
  const logPosition = integer(told, "logPosition", MAX_NUMBER);
  if (!hashes.has(blockNumber)) throw new InvalidProof("no hash was given for a block");
  const trusted = hexes.read(hashes.get(blockNumber));
  if (!isEqual(hexes.read(told.blockHash), trusted)) throw new InvalidProof("the block has another hash than the one given for it");
  const root = receiptsRoot(hexes.read(told.header), blockNumber, trusted);
  const receipt = hexes.read(told.receipt);
  if (!isEqual(valueAt(keyOf(transactionIndex), told.nodes, root, hexes), receipt)) throw new InvalidProof("the receipt is another one than the block's");
  return { chainId, blockNumber, blockHash: hex(trusted), transactionIndex, logPosition, ...moved(logsOf(receipt), logPosition) };
}

function receiptsRoot(header, number, trusted) {
  if (!isEqual(keccak_256(header), trusted)) throw new InvalidProof("the header is another one than the block's");
  const items = itemsOf(header);
  if (items.length < HEADER_ITEMS) throw new InvalidProof("the header has too few items");
  if (!isEqual(items[NUMBER_PLACE], bytesOf(number))) throw new InvalidProof("the header has another number");
  return items[ROOT_PLACE];
}

/** Return what a tree holds under a key; `nodes` are those on the way, the first named by `root`. */
function valueAt(key, nodes, root, hexes) {
  if (!Array.isArray(nodes)) throw new InvalidProof("the nodes are no list");
  const path = halfBytes(key);
  let named = root;
  for (const [place, text] of nodes.entries()) {
    const node = hexes.read(text);
    // A receipt is longer than a hash, so that no node on the way to one lies inside another.
    if (!isEqual(named, keccak_256(node))) throw new InvalidProof("a node is another one than the one that is named");
    const below = follow(path, itemsOf(node));
    named = below.named;
    if (!below.isLeaf) continue;
    if (place !== nodes.length - 1) throw new InvalidProof("there are nodes after the last one");
    return named;
  }
  throw new InvalidProof("the nodes end before the receipt");
}

/** Take the way through one node off a path; return whether it is a leaf, and what it names or holds. */
function follow(path, node) {
  if (node.length === BRANCH_ITEMS) {
    if (path.length === 0) throw new InvalidProof("a path ends in a branch");
    return { isLeaf: false, named: node[path.shift()] };
  }
  if (node.length !== PATH_ITEMS) throw new InvalidProof("a node has a number of items that no node has");
  const { isLeaf, shared } = sharedPath(node[0]);
  if (shared.some((half, at) => half !== path[at])) throw new InvalidProof("a node is on the way to another transaction");
  path.splice(0, shared.length);
  if (isLeaf && path.length > 0) throw new InvalidProof("a path ends before its key does");
  return { isLeaf, named: node[1] };
}

function sharedPath(item) {
  if (!(item instanceof Uint8Array) || item.length === 0) throw new InvalidProof("a node has no path");
  const [kind, ...path] = halfBytes(item);
  if (kind >= KINDS) throw new InvalidProof("a node is of no kind");
  if (kind % 2 === 0 && path.shift() !== 0) throw new InvalidProof("a path is filled up with something");
  return { isLeaf: kind >= LEAF, shared: path };
}

function halfBytes(bytes) {
  return [...bytes].flatMap((byte) => [byte >> 4, byte & 15]);
}

/** Return the logs of a receipt, whatever its type, of a transaction that did not fail. */
function logsOf(receipt) {
  if (receipt.length === 0) throw new InvalidProof("the receipt is empty");
  const [kind, rest] = receipt[0] >= LIST_PREFIX ? [null, receipt] : [receipt[0], receipt.subarray(1)];
  if (!RECEIPT_ITEMS.has(kind)) throw new InvalidProof("the receipt is of an unknown type");
  const items = itemsOf(rest);
  if (!RECEIPT_ITEMS.get(kind).includes(items.length)) throw new InvalidProof("the receipt has another number of items than its type has");
  if (!isEqual(items[STATUS_PLACE], SUCCEEDED)) throw new InvalidProof("the transaction failed, or its receipt does not say");
  return items[LOGS_PLACE];
}

/** Return what a log that is a `Transfer` of a token moved. */
function moved(logs, position) {
  if (!Array.isArray(logs) || position >= logs.length) throw new InvalidProof("the receipt holds no log at this position");
  const log = logs[position];
  if (!Array.isArray(log) || log.length !== LOG_ITEMS) throw new InvalidProof("a log has another number of items than three");
  const [token, topics, amount] = log;
  if (!isBytes(token, ADDRESS_BYTES)) throw new InvalidProof("the log is of no contract");
  if (!Array.isArray(topics) || topics.length !== TRANSFER_TOPICS) throw new InvalidProof("the log has another number of topics than a Transfer");
  if (!isEqual(topics[0], TRANSFER_TOPIC)) throw new InvalidProof("the log is of another event than a Transfer");
  if (!isBytes(amount, HASH_BYTES)) throw new InvalidProof("the log holds no amount");
  return { token: hex(token), sender: address(topics[1]), recipient: address(topics[2]), amount: BigInt(hex(amount)).toString() };
}

function address(topic) {
  if (!isBytes(topic, HASH_BYTES)) throw new InvalidProof("a topic has another length than 32 bytes");
  if (topic.subarray(0, PADDING_BYTES).some((byte) => byte !== 0)) throw new InvalidProof("a topic is no address");
  return hex(topic.subarray(PADDING_BYTES));
}

/** Reads hex, and no more of it than a proof may hold. */
class HexReader {
  left = MAX_CHARACTERS;

  read(text) {
    if (typeof text !== "string" || !text.startsWith("0x")) throw new InvalidProof("a text is no hex");
    this.left -= text.length;
    if (this.left < 0) throw new InvalidProof("the proof is too large");
    const found = Buffer.from(text.slice(2), "hex"); // it stops at the first thing that is no hex
    // It takes letters of other alphabets for hex, by their last byte.
    const isHex = 2 * found.length === text.length - 2 && !/[^0-9a-fA-F]/.test(text.slice(2));
    if (!isHex) throw new InvalidProof("a text has digits that are no hex");
    return found;
  }
}

function integer(told, name, most) {
  const value = told[name];
  if (!Number.isSafeInteger(value) || value < 0 || value > most) throw new InvalidProof(`${name} is no number within its bounds`);
  return value;
}

function itemsOf(encoded) {
  const { item, end } = decoded(encoded, 0, encoded.length, 0);
  if (end !== encoded.length) throw new InvalidProof("something is no RLP");
  if (!Array.isArray(item)) throw new InvalidProof("something is no list");
  return item;
}

/** Decode one item of RLP, which has one form alone. */
function decoded(bytes, start, limit, depth) {
  if (start >= limit || depth > MAX_DEPTH) throw new InvalidProof("something is no RLP");
  const first = bytes[start];
  if (first < 0x80) return { item: bytes.subarray(start, start + 1), end: start + 1 };
  const isList = first >= LIST_PREFIX;
  const short = first - (isList ? LIST_PREFIX : 0x80);
  const { length, from } = short < 56 ? { length: short, from: start + 1 } : longLength(bytes, start + 1, short - 55, limit);
  const end = from + length;
  if (end > limit) throw new InvalidProof("something is no RLP");
  if (!isList) {
    if (length === 1 && bytes[from] < 0x80) throw new InvalidProof("something is no RLP");
    return { item: bytes.subarray(from, end), end };
  }
  const items = [];
  for (let at = from; at < end; ) {
    const next = decoded(bytes, at, end, depth + 1);
    items.push(next.item);
    at = next.end;
  }
  return { item: items, end };
}

function longLength(bytes, start, size, limit) {
  if (size > 6 || start + size > limit || bytes[start] === 0) throw new InvalidProof("something is no RLP");
  const length = Buffer.from(bytes.subarray(start, start + size)).readUIntBE(0, size);
  if (length < 56) throw new InvalidProof("something is no RLP");
  return { length, from: start + size };
}

/** Return the bytes of a number, without zeros before them. */
function bytesOf(number) {
  if (number === 0) return Buffer.alloc(0);
  const digits = number.toString(16);
  return Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex");
}

/** Return the key of a transaction's receipt: its place in RLP. */
function keyOf(index) {
  const bytes = bytesOf(index);
  return bytes.length === 1 && bytes[0] < 0x80 ? bytes : Buffer.concat([Buffer.of(0x80 + bytes.length), bytes]);
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isBytes = (item, length) => item instanceof Uint8Array && item.length === length;
const isEqual = (item, bytes) => item instanceof Uint8Array && Buffer.compare(item, bytes) === 0;
const hex = (bytes) => `0x${Buffer.from(bytes).toString("hex")}`;
