/**
 * The fault campaign: `npm run faults`. Exits with 1 if anything did not survive.
 *
 *   --only=GROUP[,GROUP]  only these groups
 *   --case=NAME           only this case of them
 *   --short               the part that belongs to `npm test`
 *   --jobs=N              in so many processes (2)
 *   --json                print the scores as JSON instead of a table
 *   --write               write the figures to RESULTS.md
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { play, type Extent, type Group, type Score } from './campaign';
import { GROUPS } from './groups';
import { resultsPage, table } from './results';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    case: { type: 'string' },
    short: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    /** For the processes that this one starts: which of how many it is. */
    shard: { type: 'string' },
  },
});

const groups = GROUPS.filter(({ name }) => options.only?.split(',').includes(name) ?? true);

/** Plays this process's share of the cases, and tells the parent after every group. */
async function playShare(shard: number, shards: number): Promise<void> {
  const extent: Extent = options.short ? 'short' : 'full';
  const playGroup = async (group: Group): Promise<void> => {
    const cases = group
      .cases(extent)
      .filter(({ name }) => options.case === undefined || name === options.case)
      .filter((_, index) => index % shards === shard);
    const score = await play(group, cases);
    process.send?.(score);
  };
  const background = groups.filter((group) => group.inBackground).map(playGroup);
  for (const group of groups.filter((one) => !one.inBackground)) await playGroup(group);
  await Promise.all(background);
}

async function playAll(): Promise<boolean> {
  const jobs = options.case === undefined ? Number(options.jobs) : 1;
  const startedAt = performance.now();
  const scores = new Map<string, Score>();
  const exits = Array.from({ length: jobs }, async (_, shard) => {
    const child = fork(__filename, [...process.argv.slice(2), `--shard=${shard}/${jobs}`]);
    child.on('message', (message) => {
      const score = message as Score;
      const known = scores.get(score.group);
      scores.set(score.group, known === undefined ? score : merged(known, score));
      if (!options.json) process.stdout.write(progress(score, shard));
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  });
  const codes = await Promise.all(exits);
  const all = groups.flatMap(({ name }) => scores.get(name) ?? []);
  const seconds = (performance.now() - startedAt) / 1000;
  const tried = all.reduce((sum, score) => sum + score.tried, 0);
  const survived =
    tried > 0 && codes.every((code) => code === 0) && all.every(({ failed }) => failed === 0);
  if (options.json) process.stdout.write(`${JSON.stringify(all, undefined, 2)}\n`);
  else {
    process.stdout.write(`\n${table(all, seconds)}\n`);
    for (const { group, case: name, violations } of all.flatMap(({ failures }) => failures)) {
      process.stdout.write(
        `\nFAILED: npm run faults -- --only=${group} --case='${name}'\n  ${violations.join('\n  ')}\n`,
      );
    }
    process.stdout.write(survived ? '\nEverything survived.\n' : '\nNOT everything survived.\n');
  }
  const isWhole = !options.short && options.only === undefined && options.case === undefined;
  if (options.write && isWhole) {
    writeFileSync(resolve(__dirname, 'RESULTS.md'), resultsPage(all, seconds, jobs));
  }
  return survived;
}

function merged(one: Score, other: Score): Score {
  return {
    ...one,
    tried: one.tried + other.tried,
    failed: one.failed + other.failed,
    // They ran at the same time.
    seconds: Math.max(one.seconds, other.seconds),
    failures: [...one.failures, ...other.failures],
    notes: [...one.notes, ...other.notes],
  };
}

function progress({ group, tried, failed, seconds }: Score, shard: number): string {
  return `process ${shard + 1}: ${group}, ${tried} tried, ${failed} failed, ${seconds.toFixed(0)} s\n`;
}

const [shard, shards] = options.shard?.split('/').map(Number) ?? [];
if (shard !== undefined && shards !== undefined) {
  // Half of the time would go to reading source maps for errors that are part of the game.
  process.setSourceMapsEnabled(false);
  // Exits by itself: the store has clients that cannot be closed.
  playShare(shard, shards).then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
} else {
  void playAll().then((survived) => {
    process.exitCode = survived ? 0 : 1;
  });
}
