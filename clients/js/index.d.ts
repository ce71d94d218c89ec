/** A webhook that is not the scanner's, too old, or altered on its way: answer 401. */
export class InvalidWebhook extends Error {}

/** A webhook with a good signature whose body is no event. */
export class MalformedWebhook extends InvalidWebhook {
  eventId: string;
  eventType: string;
  names: string[];
}

export interface EventTransfer {
  txHash: string | null;
  eventKey: string | null;
  blockNumber: number | null;
  blockHash: string | null;
  token: string | null;
  sender: string | null;
  amount: string;
}

export interface IntentEvent {
  eventId: string;
  eventType: string;
  intentId: string;
  paymentReference: string | null;
  chainId: number;
  token: string;
  amount: string;
  amountReceived: string | null;
  txHash: string | null;
  blockNumber: number | null;
  confirmations: number | null;
  status: string;
  reason: string | null;
  missing: string | null;
  sender: string | null;
  rail: string | null;
  destination: string | null;
  count: number | null;
  transfers: EventTransfer[] | null;
  transferCount: number | null;
}

export interface BalanceTransfer {
  txHash: string | null;
  blockNumber: number | null;
  sender: string | null;
  amount: string;
}

export interface BalanceEvent {
  eventId: string;
  eventType: string;
  watchId: string;
  chainId: number;
  chainType: string;
  address: string;
  tokenAddress: string | null;
  tokenSymbol: string | null;
  decimals: number | null;
  previousBalance: string;
  currentBalance: string;
  delta: string;
  changeCount: number;
  checkedAt: string;
  status: string;
  transfers: BalanceTransfer[] | null;
  transferCount: number | null;
}

export type Event = IntentEvent | BalanceEvent;

/**
 * Return the event of a webhook that is really the scanner's; give the body as it came, unparsed.
 * `now` in unix seconds, or else this machine's.
 */
export function verifyWebhook(
  body: Uint8Array,
  headers: Headers | Record<string, string | string[] | undefined>,
  secret: string,
  options?: { now?: number; toleranceSeconds?: number },
): Event;

/** A proof of which a step does not follow from the hashes of the blocks: it shows nothing. */
export class InvalidProof extends Error {}

/** One transfer of a token that is in a block, whoever said so. */
export interface ProvenTransfer {
  chainId: number;
  blockNumber: number;
  blockHash: string;
  transactionIndex: number;
  logPosition: number;
  token: string;
  sender: string;
  recipient: string;
  amount: string;
}

/**
 * Return what a proof shows to be paid, by the hashes of the blocks it names, from a node that the caller trusts.
 * `proof` is what GET /intents/{id}/proof answers.
 */
export function verifyProof(proof: unknown, blockHashes: Map<number, string> | Record<number, string>): ProvenTransfer[];
