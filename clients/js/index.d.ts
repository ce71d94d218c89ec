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
