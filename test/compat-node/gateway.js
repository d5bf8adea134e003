// A built keybridge, started without any key: its own simulator, with three keys
// for each provider, is the upstream.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const binary = process.env.KEYBRIDGE ?? new URL('../../bin/keybridge', import.meta.url).pathname;
const greeting = /serves on (http:\/\/\S+)[^]*Metrics +(http:\/\/[^/]+)\/metrics[^]*\/readyz\n/;
const patience = 20_000;

// simulate runs a gateway until the test ends, with the fault on the keys that it
// is for. If there is no fault nothing is broken.
export async function simulate(t, fault) {
  const home = await mkdtemp(join(tmpdir(), 'keybridge-compat-'));
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'], { env: { HOME: home } });
  const ended = new Promise((resolve) => child.once('close', resolve));
  t.after(async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(late);
    await rm(home, { recursive: true, force: true });
  });
  let printed = '';
  const [, url, admin] = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`keybridge did not start within ${patience} ms:\n${printed}`)), patience);
    const read = (text) => {
      printed += text;
      const found = greeting.exec(printed);
      if (found) {
        clearTimeout(late);
        resolve(found);
      }
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
    child.once('error', (err) => reject(new Error(`${binary} cannot be run (make build makes it): ${err.message}`)));
    child.once('close', () => reject(new Error(`keybridge ended:\n${printed}`)));
  });
  const gateway = {
    url,
    // log is what the simulator was asked since the last call: "k0 FAULT" or "k1".
    async log() {
      const calls = await operate('GET', 'log');
      await operate('DELETE', 'log');
      return calls.map(({ key, fault }) => (fault ? `${key} ${fault}` : key));
    },
  };
  async function operate(method, path, body) {
    const answer = await fetch(`${admin}/simulator/${path}`, { method, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
  if (fault) await operate('PUT', 'faults', fault);
  return gateway;
}
