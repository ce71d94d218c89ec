// Runs real jetton transfers in a local TON virtual machine and writes down what a chain would hold of them.
//
// How to run it: see README.md beside this file. The output is the same at every run.

import { writeFileSync } from 'node:fs';
import { Address, beginCell, Cell, contractAddress, storeMessage, storeStateInit, toNano } from '@ton/core';
import { Blockchain } from '@ton/sandbox';
import { JettonMinter } from '@ton-community/assets-sdk/dist/jetton/JettonMinter.js';
import { JettonWallet } from '@ton-community/assets-sdk/dist/jetton/JettonWallet.js';

const START = 1_760_000_000; // unix seconds of the first transaction
const AMOUNT = 5_000_000n; // 5 units of a token with 6 decimals

const raw = (address) => (address ? `${address.workChain}:${address.hash.toString('hex').toUpperCase()}` : null);
const boc = (cell) => cell.toBoc({ idx: false, crc32: true }).toString('base64');
const base64 = (bigint) => Buffer.from(bigint.toString(16).padStart(64, '0'), 'hex').toString('base64');
const opcodeOf = (body) => {
  const slice = body.beginParse();
  return slice.remainingBits >= 32 ? `0x${slice.loadUint(32).toString(16).padStart(8, '0')}` : null;
};

// --- rows as TonCenter v3 shows them ----------------------------------------------------------------

function messageRow(message) {
  const { info, body, init } = message;
  const internal = info.type === 'internal';
  return {
    hash: beginCell().store(storeMessage(message, { forceRef: false })).endCell().hash().toString('base64'),
    source: raw(info.src ?? null),
    destination: raw(info.dest ?? null),
    value: internal ? info.value.coins.toString() : null,
    fwd_fee: internal ? info.forwardFee.toString() : null,
    ihr_fee: internal ? info.ihrFee.toString() : null,
    created_lt: info.createdLt?.toString() ?? null,
    created_at: info.createdAt?.toString() ?? null,
    opcode: opcodeOf(body),
    ihr_disabled: internal ? info.ihrDisabled : null,
    bounce: internal ? info.bounce : null,
    bounced: internal ? info.bounced : null,
    import_fee: info.importFee?.toString() ?? null,
    message_content: { hash: body.hash().toString('base64'), body: boc(body), decoded: null },
    init_state: init
      ? { hash: beginCell().store(storeStateInit(init)).endCell().hash().toString('base64'), body: null }
      : null,
  };
}

function descriptionRow(description) {
  const { computePhase: compute, actionPhase: action, bouncePhase: bounce } = description;
  return {
    type: 'ord',
    aborted: description.aborted,
    destroyed: description.destroyed,
    credit_first: description.creditFirst,
    compute_ph:
      compute.type === 'skipped'
        ? { skipped: true, reason: compute.reason.replace('-', '_') }
        : {
            skipped: false,
            success: compute.success,
            account_activated: compute.accountActivated,
            gas_used: compute.gasUsed.toString(),
            exit_code: compute.exitCode,
            vm_steps: compute.vmSteps,
          },
    action: action
      ? {
          success: action.success,
          valid: action.valid,
          no_funds: action.noFunds,
          result_code: action.resultCode,
          tot_actions: action.totalActions,
          skipped_actions: action.skippedActions,
          msgs_created: action.messagesCreated,
        }
      : null,
    bounce: bounce ? { type: bounce.type === 'ok' ? 'ok' : bounce.type } : null,
  };
}

function transactionRow(transaction, account, traceId) {
  return {
    account: raw(account),
    hash: transaction.hash().toString('base64'),
    lt: transaction.lt.toString(),
    now: transaction.now,
    trace_id: traceId,
    prev_trans_hash: base64(transaction.prevTransactionHash),
    prev_trans_lt: transaction.prevTransactionLt.toString(),
    orig_status: transaction.oldStatus === 'uninitialized' ? 'uninit' : transaction.oldStatus.replace('non-existing', 'nonexist'),
    end_status: transaction.endStatus === 'uninitialized' ? 'uninit' : transaction.endStatus.replace('non-existing', 'nonexist'),
    total_fees: transaction.totalFees.coins.toString(),
    description: descriptionRow(transaction.description),
    in_msg: messageRow(transaction.inMessage),
    out_msgs: transaction.outMessages.values().map(messageRow),
    emulated: false,
  };
}

// The row of the SENDER's jetton wallet, as the indexer derives it from a transfer message.
function transferRow(row, owner, master) {
  const slice = Cell.fromBase64(row.in_msg.message_content.body).beginParse();
  slice.loadUint(32);
  const queryId = slice.loadUintBig(64);
  const amount = slice.loadCoins();
  const destination = slice.loadAddress();
  const response = slice.loadMaybeAddress();
  const custom = slice.loadMaybeRef();
  const forwardTon = slice.loadCoins();
  const payload = slice.loadBit() ? slice.loadRef() : slice.asCell();
  return {
    query_id: queryId.toString(),
    source: raw(owner),
    destination: raw(destination),
    amount: amount.toString(),
    source_wallet: row.account,
    jetton_master: raw(master),
    transaction_hash: row.hash,
    transaction_lt: row.lt,
    transaction_now: row.now,
    transaction_aborted: row.description.aborted,
    response_destination: raw(response),
    custom_payload: custom ? boc(custom) : null,
    decoded_custom_payload: null,
    forward_ton_amount: forwardTon.toString(),
    forward_payload: boc(payload),
    decoded_forward_payload: null,
    trace_id: row.trace_id,
  };
}

// --- the chain --------------------------------------------------------------------------------------

const chain = await Blockchain.create();
chain.now = START;
const buyer = await chain.treasury('buyer');
const admin = await chain.treasury('admin');
const shop = await chain.treasury('shop'); // its wallet contract exists: `treasury` deploys it

const account = (text) => new Address(0, beginCell().storeStringTail(text).endCell().hash());
const undeployed = account('an owner without a wallet contract');

async function deployMaster(symbol) {
  const content = beginCell().storeUint(1, 8).storeStringTail(`memory://${symbol}`).endCell();
  const minter = chain.openContract(
    JettonMinter.createFromConfig({ admin: admin.address, content }, undefined, 0, undefined),
  );
  await minter.sendDeploy(admin.getSender(), toNano('1'));
  await minter.sendMint(admin.getSender(), buyer.address, 1_000n * AMOUNT, { value: toNano('1') });
  return minter;
}

const walletOf = (minter, owner) => minter.getWalletAddress(owner);

async function transfer(minter, { to, amount = AMOUNT, forwardTon = toNano('0.02'), comment = null, value = toNano('0.2') }) {
  const body = beginCell()
    .storeUint(0x0f8a7ea5, 32)
    .storeUint(chain.now, 64) // query_id
    .storeCoins(amount)
    .storeAddress(to)
    .storeAddress(buyer.address)
    .storeBit(false)
    .storeCoins(forwardTon);
  if (comment === null) body.storeBit(false);
  else body.storeBit(true).storeRef(beginCell().storeUint(0, 32).storeStringTail(comment).endCell());
  const wallet = await walletOf(minter, buyer.address);
  return buyer.send({ to: wallet, value, body: body.endCell(), bounce: true });
}

async function recordCase(name, minter, options) {
  chain.now += 60;
  const { transactions } = await transfer(minter, options);
  const traceId = transactions[0].hash().toString('base64');
  const rows = transactions.map((transaction) => {
    const address = new Address(0, Buffer.from(transaction.address.toString(16).padStart(64, '0'), 'hex'));
    return transactionRow(transaction, address, traceId);
  });
  const sender = rows.find((row) => row.in_msg.opcode === '0x0f8a7ea5');
  return {
    name,
    owner: raw(options.to),
    destination_wallet: raw(await walletOf(minter, options.to)),
    transfer: transferRow(sender, buyer.address, minter.address),
    transactions: rows,
    cells: Object.fromEntries(transactions.map((transaction) => [transaction.hash().toString('base64'), boc(transaction.raw)])),
  };
}

const usd = await deployMaster('USD');
const fake = await deployMaster('FAKE');

// A wallet whose code refuses what it is sent: the receiving leg of a transfer to its owner bounces.
const refusing = account('an owner whose jetton wallet refuses');
await transfer(usd, { to: refusing });
const refusingWallet = await chain.getContract(await walletOf(usd, refusing));
const state = refusingWallet.account;
state.account.storage.state.state.data = beginCell().endCell();
await chain.setShardAccount(await walletOf(usd, refusing), state);

const cases = [
  await recordCase('success', usd, { to: shop.address }),
  await recordCase('comment', usd, { to: shop.address, comment: 'order 42' }),
  await recordCase('nanoton_forward', usd, { to: shop.address, forwardTon: 1n }), // as most wallets send it
  await recordCase('zero_forward', usd, { to: shop.address, forwardTon: 0n }),
  await recordCase('owner_not_deployed', usd, { to: undeployed }),
  await recordCase('bounce', usd, { to: refusing }),
  await recordCase('overdraw', usd, { to: shop.address, amount: 1_000_000n * AMOUNT }),
  await recordCase('other_jetton', fake, { to: shop.address }),
];

const code = JettonWallet.code;
const samples = [buyer.address, shop.address, undeployed, refusing, account('somebody else')];

writeFileSync(
  new URL('recorded.json', import.meta.url),
  JSON.stringify(
    {
      master: raw(usd.address),
      other_master: raw(fake.address),
      buyer: raw(buyer.address),
      shop: raw(shop.address),
      wallet_code: { boc: boc(code), hash: code.hash().toString('base64'), depth: code.depth() },
      wallets: Object.fromEntries(
        await Promise.all(samples.map(async (owner) => [raw(owner), raw(await walletOf(usd, owner))])),
      ),
      cases,
    },
    null,
    1,
  ) + '\n',
);
for (const { name, transactions } of cases) {
  console.log(name);
  for (const { account, in_msg, description } of transactions) {
    console.log('  ', account.slice(0, 10), in_msg.opcode, `aborted=${description.aborted}`, JSON.stringify(description.compute_ph));
  }
}
