import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { uploadedFiles } from '../tools/artifact';
import { AS_DEPLOYED, FunctionProcess, ROOT } from './function';
import { measurement, timed, type Measurement } from './report';
import type { Env, Keys, Services, Terms } from './services';

const HELLO = resolve(__dirname, 'hello');
const BASELINE = resolve(__dirname, 'baseline');

/** The longest pause of the function's rate limiter between calls of the key API. */
const SPACING_MS = 1_200;

/** From the start of the process to the response of its first rotation, with the peak memory. */
export async function coldStart(services: Services, runs: number): Promise<Measurement[]> {
  const refreshing = async (others: Env): Promise<Env> =>
    services.env(await services.createSecrets(1, 'v1'), others);
  const minting = async (others: Env): Promise<Env> =>
    services.mintingEnv(await services.createSecrets(1, 'v2'), others);
  const hello = subject(HELLO, () => refreshing({}));
  const baseline = subject(BASELINE, () => refreshing({}));
  const v1 = subject(ROOT, () => refreshing(AS_DEPLOYED));
  // Configured as in terraform/examples/v2.
  const v2 = subject(ROOT, () => minting({ ...AS_DEPLOYED, REVOKE: 'true', GRACE_PERIOD: '7d' }));
  // The first round fills the file system's cache, so its figures are dropped.
  for (let round = 0; round <= runs; round += 1) {
    for (const { source, env, starts } of [hello, baseline, v1, v2]) {
      const start = await startOnce(source, await env());
      if (round > 0) starts.push(start);
    }
  }
  const goal = { text: '<= 0.35', isMet: (ratio: number) => ratio <= 0.35 };
  const all = [
    measurement('cold start: hello', 'ms', figures(hello, 'time')),
    measurement('cold start: baseline', 'ms', figures(baseline, 'time')),
    ...Object.entries({ v1, v2 }).flatMap(([name, ours]) => {
      const ratios = (of: keyof Start): number[] => {
        const [floor, ceiling] = [figures(hello, of), figures(baseline, of)];
        return figures(ours, of).map((figure, round) => {
          const [low = NaN, high = NaN] = [floor[round], ceiling[round]];
          return (figure - low) / (high - low);
        });
      };
      return [
        measurement(`cold start: ${name}`, 'ms', figures(ours, 'time')),
        measurement(`(${name} - hello) / (baseline - hello)`, '', ratios('time'), goal),
        measurement('the same in CPU time of the main thread', '', ratios('cpu'), goal),
      ];
    }),
    measurement('peak RSS: hello', 'MiB', figures(hello, 'peak')),
    measurement('peak RSS: baseline', 'MiB', figures(baseline, 'peak')),
    ...Object.entries({ v1, v2 }).map(([name, ours]) =>
      measurement(`peak RSS: ${name}`, 'MiB', figures(ours, 'peak'), {
        text: '<= 100',
        isMet: (peak) => peak <= 100,
        of: 'max',
      }),
    ),
  ];
  // On systems without /proc, some figures are missing.
  return all.filter(({ median }) => !Number.isNaN(median));
}

interface Start {
  readonly time: number;
  readonly cpu?: number | undefined;
  readonly peak?: number | undefined;
}

interface Subject {
  readonly source: string;
  /** Creates a secret with a fresh key for every start. */
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

/** The number of sequential calls in a warm rotation: 500 ms more latency for each call, divided by 500 ms. */
export async function roundTrips(services: Services, runs: number): Promise<Measurement[]> {
  const cases: Warm[] = [
    { name: 'refresh', keys: 'v1', atMost: 5 },
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
  /** The goal for the number of round trips. */
  readonly atMost: number;
  readonly terms?: Terms;
  readonly others?: Env;
  /** Whether Momento has an orphaned key. */
  readonly orphan?: boolean;
}

async function warm(
  services: Services,
  runs: number,
  { name, keys, atMost, terms, others, orphan = false }: Warm,
): Promise<Measurement[]> {
  const secrets = await services.createSecrets(1, keys);
  const settings = { ...AS_DEPLOYED, ...others };
  const env =
    keys === 'v1' ? services.env(secrets, settings) : services.mintingEnv(secrets, settings, terms);
  // Every rotation starts with one version, because a run reads every version that could contain an orphaned key.
  const before = async (): Promise<void> => {
    await services.resetSecrets(secrets, keys);
    if (orphan) await services.leaveOrphans(secrets);
    if (keys === 'v2') await sleep(SPACING_MS);
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
  try {
    await before();
    await started.post();
    await services.access();
    const [near, far] = [await measure(50), await measure(550)];
    return [
      measurement(
        `warm ${name}: sequential round trips`,
        '',
        far.rotations.map(
          (time, run) => (time - (near.rotations[run] ?? NaN)) / (far.call - near.call),
        ),
        { text: `<= ${atMost + 0.2}`, isMet: (median) => median <= atMost + 0.2 },
      ),
    ];
  } finally {
    await services.setLatency(0);
    await started.stop();
  }
}

/** Zips of the uploaded source and of the bundle. */
export function sizes(): Measurement[] {
  const goal = { text: '<= 1.5', isMet: (size: number) => size <= 1.5 };
  const megabytes = (files: readonly string[]): number[] => [zipSize(files) / 1e6];
  return [
    measurement('zip of the source', 'MB', megabytes(uploadedFiles()), goal),
    measurement('zip of the bundle', 'MB', megabytes(globSync('dist/*', { cwd: ROOT })), goal),
  ];
}

/** The size of a zip of these files. */
function zipSize(files: readonly string[]): number {
  // Bytes that the format adds: a header and a directory entry for each file, and an end.
  const [header, entry, end] = [30, 46, 22];
  return files.reduce((sum, file) => {
    const data = deflateRawSync(readFileSync(resolve(ROOT, file)), { level: 9 });
    return sum + data.length + header + entry + 2 * Buffer.byteLength(file);
  }, end);
}
