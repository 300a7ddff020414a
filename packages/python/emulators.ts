/**
 * The emulators for the Python tests, in a process of their own. Reads one command a line from stdin, as a JSON array of its
 * name and arguments, and prints one line of JSON for each. Ends when stdin ends.
 */
import { createInterface } from 'node:readline';
import { status } from '@grpc/grpc-js';
import type { Fault } from '../../emulators/faults';
import { startServices } from '../../emulators/services';

const CACHE = 'cache';

async function main(): Promise<void> {
  const { secretManager, momento, stop } = await startServices();
  const { topics } = momento;
  const keys: string[] = [];
  let secret = '';

  const commands: Record<string, (...args: never[]) => unknown> = {
    hosts: () => ({ secretManager: secretManager.host, momento: momento.host }),
    /** Ends the faults of the previous test, and creates a secret without versions. */
    createSecret: (name: string) => {
      for (const { faults } of [secretManager, momento]) {
        faults.clear();
        faults.forget();
      }
      topics.retained = Infinity;
      keys.length = 0;
      secret = name;
      secretManager.createSecret(secret);
    },
    /** Adds a version with a new v2 key. */
    rotate: () => {
      const { apiKey } = momento.issueV2Key();
      keys.push(apiKey);
      secretManager.addVersion(secret, apiKey);
    },
    /** Revokes the key of a version. */
    revoke: (version: number) => momento.revoke(keys[version - 1] ?? ''),
    publish: (topic: string, texts: readonly string[]) => {
      for (const text of texts) momento.publish(CACHE, topic, text);
    },
    reset: (topic: string) => topics.reset(CACHE, topic),
    retain: (items: number) => {
      topics.retained = items;
    },
    sendAgain: (topic: string) => topics.sendAgain(CACHE, topic),
    subscribers: (topic: string) => topics.subscribers(CACHE, topic),
    /** Injects a fault of Momento into a call: the name of a gRPC status, or the kind of another fault. */
    inject: (method: string, nth: number | 'every', fault: string) => {
      const error = { kind: 'error', code: status[fault as keyof typeof status], when: 'before' };
      const other = { kind: fault, when: 'before' };
      momento.faults.inject(method, nth, (fault in status ? error : other) as Fault);
    },
    hangReads: () => secretManager.faults.inject('AccessSecretVersion', 'every', { kind: 'hang', when: 'before' }),
    calls: (method: string) =>
      [secretManager, momento].flatMap(({ faults }) => faults.calls).filter((call) => call.method === method).length,
  };

  for await (const line of createInterface(process.stdin)) {
    const [name = '', ...args] = JSON.parse(line) as [string, ...never[]];
    console.log(JSON.stringify(commands[name]?.(...args) ?? null));
  }
  await stop();
}

void main();
