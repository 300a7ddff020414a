import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { uploadedFiles } from '../tools/artifact';
import { AS_DEPLOYED, FunctionProcess, ROOT } from './function';
import { measurement, timed, type Measurement } from './report';
import type { Env, Keys, Services, Terms } from './services';

const HELLO = resolve(__dirname, 'hello');
const OBVIOUS = resolve(__dirname, 'obvious');

/** How long the function may hold back a call of the key API for the sake of those before it. */
const PACE_MS = 1_200;

/** From the start of the process to the answer of the first rotation, and the memory that it took. */
export async function coldStart(services: Services, runs: number): Promise<Measurement[]> {
  const refreshing = async (others: Env): Promise<Env> =>
    services.env(await services.createSecrets(1, 'v1'), others);
  const minting = async (others: Env): Promise<Env> =>
    services.mintingEnv(await services.createSecrets(1, 'v2'), others);
  const hello = subject(HELLO, () => refreshing({}));
  const obvious = subject(OBVIOUS, () => refreshing({}));
  const v1 = subject(ROOT, () => refreshing(AS_DEPLOYED));
  // Configured as in terraform/examples/v2.
  const v2 = subject(ROOT, () => minting({ ...AS_DEPLOYED, REVOKE: 'true', GRACE_PERIOD: '7d' }));
  // The first round fills the file system's cache and is not counted.
  for (let round = 0; round <= runs; round += 1) {
    for (const { source, env, starts } of [hello, obvious, v1, v2]) {
      const start = await startOnce(source, await env());
      if (round > 0) starts.push(start);
    }
  }
  const goal = { text: '<= 0.30', isMet: (ratio: number) => ratio <= 0.3 };
  const all = [
    measurement('first rotation: hello', 'ms', figures(hello, 'time')),
    measurement('first rotation: obvious', 'ms', figures(obvious, 'time')),
    ...Object.entries({ v1, v2 }).flatMap(([name, ours]) => {
      const ratios = (of: keyof Start): number[] => {
        const [floor, ceiling] = [figures(hello, of), figures(obvious, of)];
        return figures(ours, of).map((figure, round) => {
          const [low = NaN, high = NaN] = [floor[round], ceiling[round]];
          return (figure - low) / (high - low);
        });
      };
      return [
        measurement(`first rotation: ${name}`, 'ms', figures(ours, 'time')),
        measurement(`(${name} - hello) / (obvious - hello)`, '', ratios('time'), goal),
        measurement('the same in CPU time of the main thread', '', ratios('cpu'), goal),
      ];
    }),
    measurement('peak RSS: hello', 'MiB', figures(hello, 'peak')),
    measurement('peak RSS: obvious', 'MiB', figures(obvious, 'peak')),
    ...Object.entries({ v1, v2 }).map(([name, ours]) =>
      measurement(`peak RSS: ${name}`, 'MiB', figures(ours, 'peak'), {
        text: '<= 95',
        isMet: (peak) => peak <= 95,
        of: 'max',
      }),
    ),
  ];
  // Without /proc there are no figures for some.
  return all.filter(({ median }) => !Number.isNaN(median));
}

interface Start {
  readonly time: number;
  readonly cpu?: number | undefined;
  readonly peak?: number | undefined;
}

interface Subject {
  readonly source: string;
  /** With a secret of its own, whose key is fresh. */
  readonly env: () => Promise<Env>;
  readonly starts: Start[];
}

function subject(source: string, env: () => Promise<Env>): Subject {
  return { source, env, starts: [] };
}

function figures({ starts }: Subject, of: keyof Start): number[] {
  return starts.flatMap((start) => start[of] ?? []);
}

async function startOnce(source: string, env: Env): Promise<Start> {
  const startedAt = performance.now();
  const started = await FunctionProcess.start(source, env);
  await started.post();
  const time = performance.now() - startedAt;
  const start = { time, cpu: started.cpuTime(), peak: started.memory()?.peak };
  await started.stop();
  return start;
}

/**
 * How many answers one warm rotation waits for, one after the other: how much longer it takes when every answer takes
 * 500 ms longer. And what it takes with services that take 50 ms, the work of all processes counted in.
 */
export async function roundTrips(services: Services, runs: number): Promise<Measurement[]> {
  const cases: Warm[] = [
    { name: 'refresh', keys: 'v1', atMost: 5, inCalls: 5.2 },
    { name: 'mint', keys: 'v2', atMost: 5 },
    { name: 'mint, role from the list', keys: 'v2', atMost: 6, terms: { lifetime: '30d' } },
    { name: 'mint, nothing to revoke', keys: 'v2', atMost: 5, others: { REVOKE: 'true' } },
    {
      name: 'mint, a key to revoke',
      keys: 'v2',
      atMost: 7,
      others: { REVOKE: 'true' },
      orphan: true,
    },
  ];
  const all: Measurement[] = [];
  for (const each of cases) all.push(...(await warm(services, runs, each)));
  return all;
}

interface Warm {
  readonly name: string;
  readonly keys: Keys;
  /** Round trips. */
  readonly atMost: number;
  /** The goal for all of the time, the work of all processes counted in. */
  readonly inCalls?: number;
  readonly terms?: Terms;
  readonly others?: Env;
  /** Whether there is a key at Momento that nobody holds. */
  readonly orphan?: boolean;
}

async function warm(
  services: Services,
  runs: number,
  { name, keys, atMost, inCalls, terms, others, orphan = false }: Warm,
): Promise<Measurement[]> {
  const secrets = await services.createSecrets(1, keys);
  const settings = { ...AS_DEPLOYED, ...others };
  const env =
    keys === 'v1' ? services.env(secrets, settings) : services.mintingEnv(secrets, settings, terms);
  /** As it is before every rotation that is measured: a run reads every version that may hold a key to revoke. */
  const before = async (): Promise<void> => {
    await services.resetSecrets(secrets, keys);
    if (orphan) await services.leaveOrphans(secrets);
    if (keys === 'v2') await sleep(PACE_MS);
  };
  const started = await FunctionProcess.start(ROOT, env);
  const measure = async (latencyMs: number): Promise<{ call: number; rotations: number[] }> => {
    const calls: number[] = [];
    const rotations: number[] = [];
    await services.setLatency(latencyMs);
    for (let run = 0; run < runs; run += 1) {
      await before();
      calls.push(await timed(() => services.access()));
      rotations.push(await timed(() => started.post()));
    }
    return { call: measurement('', '', calls).median, rotations };
  };
  const goal = (limit: number) => ({
    text: `<= ${limit}`,
    isMet: (median: number) => median <= limit,
  });
  try {
    await before();
    await started.post();
    await services.access();
    const [near, far] = [await measure(50), await measure(550)];
    return [
      measurement(
        `warm ${name}: round trips one after the other`,
        '',
        far.rotations.map(
          (time, run) => (time - (near.rotations[run] ?? NaN)) / (far.call - near.call),
        ),
        goal(atMost + 0.2),
      ),
      measurement(
        `warm ${name}: in bare calls of 50 ms`,
        '',
        near.rotations.map((time) => time / near.call),
        inCalls === undefined ? undefined : goal(inCalls),
      ),
    ];
  } finally {
    await services.setLatency(0);
    await started.stop();
  }
}

/** What is uploaded, and what is deployed beside functions-framework, each as the zip that it would be. */
export function sizes(): Measurement[] {
  const goal = { text: '<= 1.5', isMet: (size: number) => size <= 1.5 };
  const megabytes = (files: readonly string[]): number[] => [zipSize(files) / 1e6];
  return [
    measurement('zip of the source', 'MB', megabytes(uploadedFiles()), goal),
    measurement('zip of the bundle', 'MB', megabytes(globSync('dist/*', { cwd: ROOT })), goal),
  ];
}

/** The size of the zip that holds these files, without making it. */
function zipSize(files: readonly string[]): number {
  // What the format writes beside the data: a header before each file, a directory entry for it, and an end.
  const [header, entry, end] = [30, 46, 22];
  return files.reduce((sum, file) => {
    const data = deflateRawSync(readFileSync(resolve(ROOT, file)), { level: 9 });
    return sum + data.length + header + entry + 2 * Buffer.byteLength(file);
  }, end);
}
