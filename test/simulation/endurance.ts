/** The function runs for long, and for many secrets at once. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { resolve } from 'node:path';
import { json } from 'node:stream/consumers';
import { status } from '@grpc/grpc-js';
import { FunctionProcess } from '../function-process';
import type { Reply } from '../server-process';
import type { Call, Fault, Moment } from '../../emulators/faults';
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import { startServices } from '../../emulators/services';
import { leaks } from '../leaks';
import { Invariants } from './invariants';
import { keyIn } from './keys';
import type { Case, Group } from './simulation';

const SECRETS_AT_A_TIME = 100;
/** One process writes at most eight times a second to a project. In one project, 1,000 rotations would take five minutes. */
const PROJECTS = 10;
/** Requests that aren't measured, because modules are still loaded. */
const WARM_UP = 20;
/** By how many bytes memory can grow with every rotation. A leaked object is larger. */
const ALLOWED_GROWTH = 100;

interface Measured {
  readonly bytes: number;
  readonly handles: number;
  readonly files: number;
}

interface Many {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly names: readonly string[];
  readonly process: FunctionProcess;
}

async function withMany(count: number, run: (many: Many) => Promise<string[]>): Promise<string[]> {
  const { secretManager, momento, env, stop } = await startServices();
  const names = Array.from(
    { length: count },
    (_, index) => `projects/p${index % PROJECTS}/secrets/s${index}`,
  );
  for (const name of names) {
    secretManager.createSecret(name);
    secretManager.addVersion(name, momento.issueKey().consoleJson);
  }
  const process = await FunctionProcess.start({
    env: {
      ...env,
      SECRETS: names.join(),
      NODE_OPTIONS: `--expose-gc --import=${resolve(__dirname, 'probe.mjs')}`,
    },
  });
  try {
    return await run({ secretManager, momento, names, process });
  } finally {
    await process.stop();
    await stop();
  }
}

async function measure(process: FunctionProcess): Promise<Measured> {
  const seen = process.output.split('PROBE').length;
  process.signal('SIGUSR2');
  for (;;) {
    await new Promise((next) => setTimeout(next, 10));
    const printed = process.output.split('PROBE ');
    const line = printed.length > seen ? printed.at(-1)?.split('\n', 2) : undefined;
    if (line?.length === 2) return JSON.parse(line[0] ?? '') as Measured;
  }
}

/** The median of the slopes between all pairs of values (Theil and Sen), which a few outliers don't move. */
function growth(values: readonly number[]): number {
  const slopes = values.flatMap((later, j) =>
    values.slice(0, j).map((earlier, i) => (later - earlier) / (j - i)),
  );
  return slopes.toSorted((a, b) => a - b)[Math.floor(slopes.length / 2)] ?? 0;
}

/** @param checksMemory false for few rotations, because the first rotations load code */
function manyRotations(rotations: number, checksMemory: boolean): Case {
  let note = '';
  return {
    name: `${rotations} rotations in one process`,
    count: () => rotations,
    note: () => note,
    run: () =>
      withMany(SECRETS_AT_A_TIME, async ({ momento, process }) => {
        const violations: string[] = [];
        const measures: Measured[] = [];
        const requests = rotations / SECRETS_AT_A_TIME;
        for (let request = 0; request < requests; request += 1) {
          const { status: answered } = await process.post();
          if (answered !== 200) violations.push(`request ${request} was answered with ${answered}`);
          if (request >= Math.min(WARM_UP, requests / 2)) measures.push(await measure(process));
        }
        const perRotation = growth(measures.map(({ bytes }) => bytes)) / SECRETS_AT_A_TIME;
        const [first, last] = [measures.at(0), measures.at(-1)];
        const mib = (bytes = 0) => (bytes / 2 ** 20).toFixed(1);
        note =
          `memory ${mib(first?.bytes)} MiB after the warm-up, ${mib(last?.bytes)} MiB in the end ` +
          `(${perRotation.toFixed(1)} bytes for each rotation); handles ${first?.handles ?? 0} and ${last?.handles ?? 0}, ` +
          `open files ${first?.files ?? 0} and ${last?.files ?? 0}`;
        if (checksMemory && perRotation > ALLOWED_GROWTH) violations.push(`memory grows: ${note}`);
        for (const what of ['handles', 'files'] as const) {
          // A connection of the last request can still be closing.
          if (growth(measures.map((measured) => measured[what])) > 0) {
            violations.push(`${what} are left over: ${note}`);
          }
        }
        violations.push(...leaks(momento.secrets().slice(-300), [process.output.slice(-200_000)]));
        return violations;
      }),
  };
}

/** A number from 0 to 1 that is always the same for a text. */
function chance(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32;
}

/** RESOURCE_EXHAUSTED is missing, because it pauses all calls of a project. The group `scale` tests quotas. */
const CODES = [status.UNAVAILABLE, status.INTERNAL];

/** A tenth of all calls fails, half of them after their effect. */
function unreliable({ service, method, n }: Call, when: Moment): Fault | undefined {
  const name = `${service} ${method} ${n}`;
  if (chance(name) >= 0.1 || when !== (chance(`when ${name}`) < 0.5 ? 'before' : 'after')) {
    return undefined;
  }
  const code = CODES[Math.floor(chance(`which ${name}`) * CODES.length)];
  return code === undefined ? undefined : { kind: 'error', code, when };
}

/** Waits longer than `fetch`, which gives up after 300 s without an answer. */
async function post({ url }: FunctionProcess): Promise<Reply> {
  const sent = request(url, { method: 'POST' }).end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  return { status: answer.statusCode ?? 0, body: await json(answer) };
}

function manySecrets(count: number): Case {
  let note = '';
  return {
    name: `${count} secrets in one request, a tenth of the calls fails`,
    count: () => count,
    note: () => note,
    run: () =>
      withMany(count, async ({ secretManager, momento, names, process }) => {
        // To check every change for all secrets would take hours, so one secret in fifty is watched.
        const watched = names
          .filter((_, index) => index % 50 === 0)
          .map((name) => new Invariants({ secretManager, momento, secret: name }));
        secretManager.faults.intercept = momento.faults.intercept = unreliable;
        const startedAt = performance.now();
        const first = await post(process);
        const seconds = (performance.now() - startedAt) / 1000;
        secretManager.faults.clear();
        momento.faults.clear();
        const second = await process.post();
        note = `${count} secrets in ${seconds.toFixed(1)} s, answered with ${first.status}, then with ${second.status}`;
        const violations = watched.flatMap((invariants) => invariants.violations);
        if (second.status !== 200) violations.push(`without faults: ${second.status}`);
        const results = (first.body as { results: { outcome: string }[] }).results;
        const bad = results.filter(({ outcome }) => outcome === 'failed');
        if (bad.length > count / 100) violations.push(`${bad.length} of ${count} failed`);
        for (const name of names) {
          const enabled = secretManager.versions(name).filter(({ state }) => state === 'ENABLED');
          const payload = secretManager.latest(name);
          if (enabled.length !== 1 || !momento.accepts(keyIn(payload))) {
            violations.push(`${name} has ${enabled.length} enabled versions in the end`);
          }
        }
        violations.push(
          ...leaks(momento.secrets().slice(0, 300), [process.output.slice(-200_000)]),
        );
        return violations;
      }),
  };
}

export const endurance: Group = {
  name: 'endurance',
  title: '10,000 rotations in one process; 1,000 secrets at once',
  concurrency: 1,
  // This process mostly waits for the function, which runs in a process of its own.
  inBackground: true,
  caseLimitMs: 900_000,
  cases: (extent) =>
    extent === 'full'
      ? [manyRotations(10_000, true), manySecrets(1000)]
      : [manyRotations(200, false), manySecrets(16)],
};
