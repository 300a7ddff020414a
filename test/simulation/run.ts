/**
 * The simulation: `npm run simulation`. Exits with 1 after any violation.
 *
 *   --only=GROUP[,GROUP]  only these groups
 *   --case=NAME           only this case of these groups
 *   --short               a part of each group, for CI: about a minute
 *   --jobs=N              the number of processes (default: 2)
 *   --write               write the figures to RESULTS.md
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { answers } from './answers';
import { calls, hangs } from './calls';
import { compromise } from './compromise';
import { endurance } from './endurance';
import { input } from './input';
import { killed } from './killed';
import { operators } from './operators';
import { races } from './races';
import { random } from './random';
import { table, withResults } from './results';
import { scale } from './scale';
import { runCases, type Extent, type Group, type Score } from './simulation';
import { time } from './time';

/** In the order in which they run. */
const GROUPS: readonly Group[] = [
  hangs,
  endurance,
  killed,
  calls,
  races,
  operators,
  compromise,
  random,
  time,
  input,
  answers,
  scale,
];

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    case: { type: 'string' },
    short: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
    write: { type: 'boolean', default: false },
    /** The index of this process, and the number of processes. */
    shard: { type: 'string' },
  },
});

const EXTENT: Extent = options.short ? 'short' : 'full';
const groups = GROUPS.filter(({ name }) => options.only?.split(',').includes(name) ?? true);

/** Runs this process's share of the cases, and sends its scores to the parent process. */
async function runShare(shard: number, shards: number): Promise<void> {
  const runGroup = async (group: Group): Promise<void> => {
    const cases = group
      .cases(EXTENT)
      .filter(({ name }) => options.case === undefined || name === options.case)
      .filter((_, index) => index % shards === shard);
    const score = await runCases(group, cases);
    process.send?.(score);
  };
  const background = groups.filter((group) => group.inBackground).map(runGroup);
  for (const group of groups.filter((one) => !one.inBackground)) await runGroup(group);
  await Promise.all(background);
}

async function runAll(): Promise<boolean> {
  const jobs = options.case === undefined ? Number(options.jobs) : 1;
  const startedAt = performance.now();
  const scores = new Map<string, Score>();
  const exits = Array.from({ length: jobs }, async (_, shard) => {
    const child = fork(__filename, [...process.argv.slice(2), `--shard=${shard}/${jobs}`]);
    child.on('message', (message) => {
      const score = message as Score;
      const known = scores.get(score.group);
      scores.set(score.group, known === undefined ? score : merged(known, score));
      process.stdout.write(progress(score, shard));
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  });
  const codes = await Promise.all(exits);
  const all = groups.flatMap(({ name }) => scores.get(name) ?? []);
  const seconds = (performance.now() - startedAt) / 1000;
  const isGreen =
    all.some(({ cases }) => cases > 0) &&
    codes.every((code) => code === 0) &&
    all.every(({ failed }) => failed === 0);
  process.stdout.write(`\n${table(all, seconds)}\n`);
  for (const { group, case: name, violations } of all.flatMap(({ failures }) => failures)) {
    process.stdout.write(
      `\nFAILED: npm run simulation -- --only=${group} --case='${name}'\n  ${violations.join('\n  ')}\n`,
    );
  }
  process.stdout.write(isGreen ? '\nNo violations.\n' : '\nThere are violations.\n');
  const isWhole = options.only === undefined && options.case === undefined;
  if (options.write && isWhole) {
    const path = resolve(__dirname, 'RESULTS.md');
    writeFileSync(path, withResults(readFileSync(path, 'utf8'), EXTENT, all, seconds));
  }
  return isGreen;
}

function merged(one: Score, other: Score): Score {
  return {
    ...one,
    cases: one.cases + other.cases,
    failed: one.failed + other.failed,
    // The processes ran at the same time.
    seconds: Math.max(one.seconds, other.seconds),
    failures: [...one.failures, ...other.failures],
    notes: [...one.notes, ...other.notes],
  };
}

function progress({ group, cases, failed, seconds }: Score, shard: number): string {
  return `process ${shard + 1}: ${group}, ${cases} cases, ${failed} failed, ${seconds.toFixed(0)} s\n`;
}

const [shard, shards] = options.shard?.split('/').map(Number) ?? [];
if (shard !== undefined && shards !== undefined) {
  // Reading source maps for the errors of injected faults would take half of the time.
  process.setSourceMapsEnabled(false);
  // The process must call exit, because the store's clients can't be closed.
  runShare(shard, shards).then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
} else {
  void runAll().then((isGreen) => {
    process.exitCode = isGreen ? 0 : 1;
  });
}
