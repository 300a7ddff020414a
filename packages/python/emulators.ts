/**
 * The emulators for the Python tests, in their own process. Reads commands from stdin: each line is a JSON array of a name and
 * arguments. Prints a line of JSON for each command. Ends when stdin ends.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { pubsub } from '@gomomento/generated-types';
import { status } from '@grpc/grpc-js';
import type { Fault, Moment } from '../../emulators/faults';
import { startServices } from '../../emulators/services';

type Request = InstanceType<typeof pubsub.cache_client.pubsub._SubscriptionRequest>;

const CACHE = 'cache';

async function main(): Promise<void> {
  const { secretManager, momento, stop } = await startServices();
  const { topics } = momento;
  const keys: string[] = [];
  let secret = '';
  let release = (): void => undefined;

  // A proxy in front of Momento's emulator, so that a test can drop connections.
  const sockets = new Set<Socket>();
  const [host, port] = momento.host.split(':');
  const proxy = createServer((socket) => {
    const onward = connect({ host, port: Number(port) });
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket) && onward.destroy());
    onward.on('close', () => socket.destroy());
    for (const end of [socket, onward]) end.on('error', () => end.destroy());
    socket.pipe(onward).pipe(socket);
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const momentoHost = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;

  const commands: Record<string, (...args: never[]) => unknown> = {
    hosts: () => ({ secretManager: secretManager.host, momento: momentoHost }),
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
    reset_topic: (topic: string) => topics.reset(CACHE, topic),
    retain: (items: number) => {
      topics.retained = items;
    },
    send_again: (topic: string) => topics.sendAgain(CACHE, topic),
    subscribers: (topic: string) => topics.subscribers(CACHE, topic),
    /** Where the newest subscription began: number and page. */
    began_at: () => {
      const request = momento.faults.calls.findLast(
        ({ method }) => method === 'Subscribe',
      )?.request;
      const { resume_at_topic_sequence_number: number, sequence_page: page } = request as Request;
      return [number, page];
    },
    drop_connections: () => {
      for (const socket of sockets) socket.destroy();
    },
    /** Injects a fault into the nth call, or into every call: the name of a gRPC status, or the kind of another fault. */
    inject: (method: string, nth: number | 'every', fault: string, when: Moment = 'before') => {
      const { faults } = method === 'AccessSecretVersion' ? secretManager : momento;
      const code = status[fault as keyof typeof status] as status | undefined;
      const kind = code === undefined ? fault : 'error';
      faults.inject(method, nth, { kind, code, when } as Fault);
    },
    /** Delays the calls of a method until `release`. */
    hold: (method: string) => {
      const released = Promise.withResolvers<undefined>();
      release = () => released.resolve(undefined);
      momento.faults.intercept = async (call, when) => {
        if (when === 'before' && call.method === method) await released.promise;
        return undefined;
      };
    },
    release: () => release(),
    /** How often a method was called in this test. */
    calls: (method: string) =>
      [...secretManager.faults.calls, ...momento.faults.calls].filter(
        (call) => call.method === method,
      ).length,
  };

  for await (const line of createInterface(process.stdin)) {
    const [name, ...args] = JSON.parse(line) as [string, ...never[]];
    console.log(JSON.stringify(commands[name]?.(...args) ?? null));
  }
  proxy.close();
  for (const socket of sockets) socket.destroy();
  await stop();
}

void main();
