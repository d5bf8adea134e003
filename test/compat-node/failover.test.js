// What the SDKs notice of a failing key: nothing. What they notice of an answer
// that breaks: an error, never a short answer. The simulator's log is the witness.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { clients } from './clients.js';
import { simulate } from './gateway.js';

// cold: the key is not asked again for now.
const faults = [
  { fault: 'rate_limit', cold: true },
  { fault: 'invalid_key', cold: true },
  { fault: 'credit', cold: true },
  { fault: 'overloaded' },
  { fault: 'server_error' },
  { fault: 'reset' },
  { fault: 'truncate' },
  { fault: 'error_first' },
  { fault: 'error_after_preamble' },
];

// counted makes an `on` of clients.js whose requests, repeated ones too, are counted.
function counted(gateway, retries) {
  const on = {
    url: gateway.url,
    retries,
    sent: 0,
    fetch: (...request) => {
      on.sent++;
      return fetch(...request);
    },
  };
  return on;
}

const mode = (retries) => `retries ${retries ? 'on' : 'off'}`;

describe('a failing key is not noticed', { concurrency: 18 }, () => {
  for (const { fault, cold } of faults) {
    for (const retries of [false, true]) {
      test(`${fault}, ${mode(retries)}`, async (t) => {
        const broken = (t) => simulate(t, { key: 'k0', fault });
        const shared = cold ? undefined : await broken(t);
        for (const client of clients) {
          await t.test(`${client.name}, text`, async (t) => {
            const gateway = shared ?? (await broken(t));
            const on = counted(gateway, retries);
            assert.deepEqual(await client.text(on), { text: `You said: Hi (simulated ${client.model})`, finished: true, error: undefined });
            assert.deepEqual(await gateway.log(), [`k0 ${fault}`, 'k1']);
            assert.equal(on.sent, 1, 'requests that the SDK sent');
          });
          await t.test(`${client.name}, tool`, async (t) => {
            const gateway = shared ?? (await broken(t));
            const on = counted(gateway, retries);
            const called = [];
            const said = await client.trip(on, async (name, { city }) => {
              called.push([name, typeof city]);
              assert.deepEqual(await gateway.log(), [`k0 ${fault}`, 'k1'], 'the first call');
              return '17 degrees';
            });
            assert.equal(said, `The tool said: 17 degrees (simulated ${client.model})`);
            assert.deepEqual(called, [['weather', 'string']]);
            assert.deepEqual(await gateway.log(), ['k1'], 'the second call, which stays where its prompt is cached');
            assert.equal(on.sent, 2, 'requests that the SDK sent');
          });
        }
      });
    }
  }
});

describe('a stream that breaks after content is an error', { concurrency: 18 }, () => {
  for (const fault of ['cut_after_content', 'error_after_content']) {
    for (const retries of [false, true]) {
      test(`${fault}, ${mode(retries)}`, async (t) => {
        const gateway = await simulate(t, { key: 'k0', fault });
        for (const client of clients.filter(({ stream }) => stream)) {
          await t.test(client.name, async () => {
            const on = counted(gateway, retries);
            const { text, finished, error } = await client.text(on);
            const whole = `You said: Hi (simulated ${client.model})`;
            assert.ok(error, 'an error');
            assert.ok(text && text !== whole && whole.startsWith(text), `what came before the break, not ${JSON.stringify(text)}`);
            assert.equal(finished, false);
            assert.deepEqual(await gateway.log(), [`k0 ${fault}`]);
            assert.equal(on.sent, 1, 'requests that the SDK sent');
          });
        }
      });
    }
  }
});

// x-should-retry is the official SDKs' header; the AI SDK does not know it.
describe('retries are called off when no key can help for long', { concurrency: 18 }, () => {
  for (const [fault, wait, status] of [['rate_limit', '2m', 429], ['invalid_key', '0s', 502]]) {
    for (const client of clients.filter(({ name }) => !name.startsWith('ai,'))) {
      test(`${fault}, ${client.name}`, async (t) => {
        const gateway = await simulate(t, { fault, wait });
        const on = counted(gateway, true);
        const { error } = await client.text(on);
        assert.equal(error?.status, status, `${error}`);
        assert.deepEqual(await gateway.log(), ['k0', 'k1', 'k2'].map((key) => `${key} ${fault}`));
        assert.equal(on.sent, 1, 'requests that the SDK sent');
      });
    }
  }
});
