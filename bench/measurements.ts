import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { uploadedFiles } from '../scripts/artifact';
import { FunctionProcess, ROOT } from './function';
import { measurement, type Measurement } from './report';
import type { Services } from './services';

const HELLO = resolve(__dirname, 'hello');
const OBVIOUS = resolve(__dirname, 'obvious');

/** From the start of the process to the answer of the first rotation, and the memory that it took. */
export async function coldStart(services: Services, runs: number): Promise<Measurement[]> {
  const sources = { hello: HELLO, obvious: OBVIOUS, ours: ROOT };
  const times = { hello: [], obvious: [], ours: [] } as Record<keyof typeof sources, number[]>;
  const peaks = { hello: [], obvious: [], ours: [] } as Record<keyof typeof sources, number[]>;
  // The first round fills the file system's cache and is not counted.
  for (let round = 0; round <= runs; round += 1) {
    for (const [name, source] of Object.entries(sources) as [keyof typeof sources, string][]) {
      const env = services.env(await services.createSecrets(1));
      const startedAt = performance.now();
      const started = await FunctionProcess.start(source, env);
      await started.post();
      const time = performance.now() - startedAt;
      const memory = started.memory();
      await started.stop();
      if (round === 0) continue;
      times[name].push(time);
      if (memory !== undefined) peaks[name].push(memory.peak);
    }
  }
  const ratios = times.ours.map((time, round) => {
    const [hello = NaN, obvious = NaN] = [times.hello[round], times.obvious[round]];
    return (time - hello) / (obvious - hello);
  });
  return [
    measurement('first rotation: hello', 'ms', times.hello),
    measurement('first rotation: obvious', 'ms', times.obvious),
    measurement('first rotation: ours', 'ms', times.ours),
    measurement('(ours - hello) / (obvious - hello)', '', ratios, {
      text: '<= 0.45',
      isMet: (ratio) => ratio <= 0.45,
    }),
    ...(peaks.ours.length === 0
      ? []
      : [
          measurement('peak RSS: hello', 'MiB', peaks.hello),
          measurement('peak RSS: obvious', 'MiB', peaks.obvious),
          measurement('peak RSS: ours', 'MiB', peaks.ours, {
            text: '<= 100',
            isMet: (peak) => peak <= 100,
            of: 'max',
          }),
        ]),
  ];
}

/** How many answers one warm rotation waits for, one after the other, with services that take 50 ms for each. */
export async function roundTrips(services: Services, runs: number): Promise<Measurement[]> {
  const [secret = ''] = await services.createSecrets(1);
  const started = await FunctionProcess.start(ROOT, services.env([secret]));
  const calls: number[] = [];
  const rotations: number[] = [];
  try {
    await started.post();
    await services.access(secret);
    await services.setLatency(50);
    for (let run = 0; run < runs; run += 1) {
      calls.push(await timed(() => services.access(secret)));
      rotations.push(await timed(() => started.post()));
    }
  } finally {
    await services.setLatency(0);
    await started.stop();
  }
  const call = measurement('services take 50 ms: one bare call', 'ms', calls);
  return [
    call,
    measurement('services take 50 ms: a warm rotation', 'ms', rotations),
    measurement(
      'a warm rotation, in bare calls',
      '',
      rotations.map((time) => time / call.median),
      { text: '<= 5.2', isMet: (median) => median <= 5.2 },
    ),
  ];
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
  const secrets = await services.createSecrets(1000);
  const perMinute = 600;
  await services.setQuotas({
    writesPerMinute: perMinute,
    readsPerMinute: perMinute,
    accessesPerMinute: 90_000,
  });
  await services.takeCalls();
  const started = await FunctionProcess.start(ROOT, services.env(secrets));
  try {
    const startedAt = performance.now();
    const { results } = JSON.parse(await started.post()) as { results: { outcome: string }[] };
    const minutes = (performance.now() - startedAt) / 60_000;
    const rotated = results.filter(({ outcome }) => outcome === 'rotated').length;
    const calls = await services.takeCalls();
    const peak = started.memory()?.peak;
    // What one rotation has to ask for at least: gather and verify list, gather asks for permissions; add and disable.
    const [reads, writes] = [3, 2];
    const allowed = perMinute / Math.max(reads, writes);
    const refused = Object.values(calls).reduce((sum, count) => sum + count, 0);
    return [
      measurement('fleet of 1,000: rotated', '', [rotated], {
        text: '1000',
        isMet: (count) => count === secrets.length,
      }),
      measurement('fleet of 1,000: time', 'min', [minutes]),
      measurement(
        'fleet of 1,000: of what quotas allow',
        '%',
        [(100 * rotated) / minutes / allowed],
        {
          text: '>= 95',
          isMet: (share) => share >= 95,
        },
      ),
      measurement('fleet of 1,000: calls per rotation', '', [refused / rotated]),
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
  const started = await FunctionProcess.start(ROOT, services.env(secrets));
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
