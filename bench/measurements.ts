import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { uploadedFiles } from '../scripts/artifact';
import { FunctionProcess, ROOT } from './function';
import { measurement, type Measurement } from './report';
import type { Services } from './services';

const HELLO = resolve(__dirname, 'hello');
const OBVIOUS = resolve(__dirname, 'obvious');
const MINUTE = 60_000;

/** What Terraform sets for the default memory of 256 MiB. */
const AS_DEPLOYED = { NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=192' };

/** From the start of the process to the answer of the first rotation, and the memory that it took. */
export async function coldStart(services: Services, runs: number): Promise<Measurement[]> {
  const hello = { source: HELLO, env: {}, starts: [] as Start[] };
  const obvious = { source: OBVIOUS, env: {}, starts: [] as Start[] };
  const ours = { source: ROOT, env: AS_DEPLOYED, starts: [] as Start[] };
  // The first round fills the file system's cache and is not counted.
  for (let round = 0; round <= runs; round += 1) {
    for (const { source, env, starts } of [hello, obvious, ours]) {
      const secrets = await services.createSecrets(1);
      const start = await startOnce(source, services.env(secrets, env));
      if (round > 0) starts.push(start);
    }
  }
  const figures = ({ starts }: { starts: readonly Start[] }, of: keyof Start): number[] =>
    starts.flatMap((start) => start[of] ?? []);
  const ratios = (of: keyof Start): number[] => {
    const [floor, ceiling] = [figures(hello, of), figures(obvious, of)];
    return figures(ours, of).map((figure, round) => {
      const [low = NaN, high = NaN] = [floor[round], ceiling[round]];
      return (figure - low) / (high - low);
    });
  };
  const all = [
    measurement('first rotation: hello', 'ms', figures(hello, 'time')),
    measurement('first rotation: obvious', 'ms', figures(obvious, 'time')),
    measurement('first rotation: ours', 'ms', figures(ours, 'time')),
    measurement('(ours - hello) / (obvious - hello)', '', ratios('time'), {
      text: '<= 0.30',
      isMet: (ratio) => ratio <= 0.3,
    }),
    measurement('the same in CPU time of the main thread', '', ratios('cpu')),
    measurement('peak RSS: hello', 'MiB', figures(hello, 'peak')),
    measurement('peak RSS: obvious', 'MiB', figures(obvious, 'peak')),
    measurement('peak RSS: ours', 'MiB', figures(ours, 'peak'), {
      text: '<= 95',
      isMet: (peak) => peak <= 95,
      of: 'max',
    }),
  ];
  // Without /proc there are no figures for some.
  return all.filter(({ median }) => !Number.isNaN(median));
}

interface Start {
  readonly time: number;
  readonly cpu?: number | undefined;
  readonly peak?: number | undefined;
}

async function startOnce(source: string, env: Readonly<Record<string, string>>): Promise<Start> {
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
 * 100 ms longer. And what it takes with services that take 50 ms, the work of all processes counted in.
 */
export async function roundTrips(services: Services, runs: number): Promise<Measurement[]> {
  const [secret = ''] = await services.createSecrets(1);
  const started = await FunctionProcess.start(ROOT, services.env([secret], AS_DEPLOYED));
  const measure = async (latencyMs: number): Promise<{ call: Measurement; rotation: number[] }> => {
    const calls: number[] = [];
    const rotation: number[] = [];
    await services.setLatency(latencyMs);
    for (let run = 0; run < runs; run += 1) {
      calls.push(await timed(() => services.access(secret)));
      rotation.push(await timed(() => started.post()));
    }
    return {
      call: measurement(`services take ${latencyMs} ms: one bare call`, 'ms', calls),
      rotation,
    };
  };
  try {
    await started.post();
    await services.access(secret);
    const [near, far] = [await measure(50), await measure(150)];
    const longer = far.call.median - near.call.median;
    return [
      near.call,
      measurement('services take 50 ms: a warm rotation', 'ms', near.rotation),
      measurement(
        'a warm rotation, in bare calls',
        '',
        near.rotation.map((time) => time / near.call.median),
        { text: '<= 5.2', isMet: (median) => median <= 5.2 },
      ),
      measurement(
        'round trips one after the other, from 100 ms more for each',
        '',
        far.rotation.map((time, run) => (time - (near.rotation[run] ?? NaN)) / longer),
        { text: '<= 5.2', isMet: (median) => median <= 5.2 },
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

/** One request for 1,000 secrets, under the quotas that a project has. */
export async function fleet(services: Services): Promise<Measurement[]> {
  // In a project of its own: what was measured before has used up some of this minute's quota.
  const secrets = await services.createSecrets(1000, 'fleet');
  const perMinute = 600;
  await services.setQuotas({
    writesPerMinute: perMinute,
    readsPerMinute: perMinute,
    accessesPerMinute: 90_000,
  });
  await services.takeCalls();
  const started = await FunctionProcess.start(ROOT, services.env(secrets, AS_DEPLOYED));
  try {
    // A rotation reads three times (twice the list, once the permissions) and writes twice, so reads are what it waits for.
    // Quotas are counted by whole minutes, so the request begins with one, and can end when the last that it needs begins.
    const least = (Math.ceil((3 * secrets.length) / perMinute) - 1) * MINUTE;
    await sleep(MINUTE - (Date.now() % MINUTE));
    let answer = '';
    const time = await timed(async () => (answer = await started.post()));
    const { results } = JSON.parse(answer) as { results: { outcome: string }[] };
    const rotated = results.filter(({ outcome }) => outcome === 'rotated').length;
    const calls = Object.values(await services.takeCalls()).reduce((sum, count) => sum + count, 0);
    const { peak } = started.memory() ?? {};
    return [
      measurement('fleet of 1,000: rotated', '', [rotated], {
        text: '1000',
        isMet: (count) => count === secrets.length,
      }),
      measurement('fleet of 1,000: time', 's', [time / 1000]),
      measurement(
        'fleet of 1,000: least time that quotas allow, of that',
        '%',
        [(100 * least) / time],
        {
          text: '>= 95',
          isMet: (share) => share >= 95,
        },
      ),
      measurement('fleet of 1,000: calls per rotation, refused ones too', '', [calls / rotated]),
      ...(peak === undefined ? [] : [measurement('fleet of 1,000: peak RSS', 'MiB', [peak])]),
    ];
  } finally {
    await services.setQuotas({});
    await started.stop();
  }
}

/** 10,000 rotations in one process: does it hold ever more memory? */
export async function endurance(services: Services): Promise<Measurement[]> {
  const secrets = await services.createSecrets(100);
  const started = await FunctionProcess.start(ROOT, services.env(secrets, AS_DEPLOYED));
  const held: number[] = [];
  try {
    for (let thousand = 1; thousand <= 10; thousand += 1) {
      for (let round = 0; round < 10; round += 1) await started.post();
      const memory = started.memory();
      if (memory !== undefined) held.push(memory.now);
      await services.resetSecrets(secrets);
      await services.takeCalls();
    }
    if (held.length === 0) return [];
    const [early, late] = [held.slice(2, 6), held.slice(6)].map(
      (part) => part.reduce((sum, value) => sum + value, 0) / part.length,
    );
    return [
      measurement('10,000 rotations: RSS after each thousand', 'MiB', held),
      measurement(
        '10,000 rotations: growth, last 4,000 over 4,000 before',
        '%',
        [100 * ((late ?? NaN) / (early ?? NaN) - 1)],
        {
          text: '<= 5',
          isMet: (growth) => growth <= 5,
        },
      ),
    ];
  } finally {
    await started.stop();
  }
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
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
