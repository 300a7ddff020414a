/**
 * An application under load, in its own process, with momento-rotating-client. It reads `pause` and `resume` from stdin, and
 * prints one line of JSON when it ends: see `Result` in run.ts. packages/python/load_worker.py does the same in Python.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheClient, Configurations, NoopMomentoLoggerFactory } from '@gomomento/sdk';
import { localMomento, localSecretManager } from '../../emulators/clients';
import { RotatingCacheClient, secretManager } from '../momento-rotating-client/src/index';

const { SECRET = '', SECRET_MANAGER_HOST = '', MOMENTO_HOST = '' } = process.env;
const RATE = Number(process.env.RATE);
const SECONDS = Number(process.env.SECONDS);
const TICK_MS = 5;

let open = 0;
let mostOpen = 0;
const create = CacheClient.create.bind(CacheClient);
CacheClient.create = async (props) => {
  open += 1;
  mostOpen = Math.max(mostOpen, open);
  const client = await create(props);
  const close = client.close.bind(client);
  client.close = () => {
    open -= 1;
    close();
  };
  return client;
};

const events: string[] = [];
const client = new RotatingCacheClient({
  source: secretManager(SECRET, localSecretManager(SECRET_MANAGER_HOST)),
  cache: 'cache',
  endpoint: 'cell-1.momento.invalid',
  rereadEveryMs: 20_000,
  configuration: Configurations.InRegion.Default.latest(
    new NoopMomentoLoggerFactory(),
  ).withClientTimeoutMillis(15_000),
  defaultTtlSeconds: 60,
  redirect: localMomento(MOMENTO_HOST),
  onEvent: (event) => void events.push(JSON.stringify(event)),
});

let isPaused = false;
let calls = 0;
const failed: Record<string, number> = {};
const inProgress = new Set<Promise<void>>();

async function call(): Promise<void> {
  calls += 1;
  let code = '';
  try {
    const answer = await client.use((momento) => momento.get('cache', 'item'));
    if ('errorCode' in answer) code = answer.errorCode();
  } catch (error) {
    code = String(error);
  }
  if (code !== '') failed[code] = (failed[code] ?? 0) + 1;
}

async function main(): Promise<void> {
  createInterface(process.stdin).on('line', (line) => {
    isPaused = line === 'pause';
    void Promise.all(inProgress).then(() => console.log(line));
  });
  await call();
  console.log('ready');
  const startedAt = performance.now();
  let last = startedAt;
  let due = 0;
  while (performance.now() < startedAt + SECONDS * 1000) {
    const now = performance.now();
    // A process that was paused or frozen doesn't catch up.
    if (!isPaused) due += Math.min((now - last) / 1000, 1) * RATE;
    last = now;
    for (; due >= 1 && !isPaused; due -= 1) {
      const one = call().finally(() => inProgress.delete(one));
      inProgress.add(one);
    }
    await sleep(TICK_MS);
  }
  await Promise.all(inProgress);
  await client.close();
  console.log(JSON.stringify({ calls, failed, mostOpen, events }));
  process.exit();
}

void main();
