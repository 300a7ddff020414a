/**
 * The acceptance table of the client libraries: a client under load, while keys are rotated and the old key ends at once. Each
 * client, key format and fault has a run of its own, which takes 60 s or, with Secret Manager away, 120 s.
 *
 *   npx tsx packages/load/run.ts                                  TypeScript: 17 minutes
 *   npx tsx packages/load/run.ts --python python3                 TypeScript and Python: 51 minutes
 *   npx tsx packages/load/run.ts --short                          TypeScript with less load: two minutes
 *
 * These options limit the runs: --client typescript|threads|asyncio, --format v1|v2, --only FAULT. Each run's details go to
 * stderr when it ends, and the table for README.md to stdout at the end. Exits with 1 if a run breaks a rule.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { status } from '@grpc/grpc-js';
import { startServices } from '../../emulators/services';

const SECRET = 'projects/load/secrets/key';
const REREAD_EVERY_SECONDS = 20;
const MOST_OPEN = 2;
const READS_PER_ROTATION = 2;
const FAULTS = {
  none: 'no fault',
  stale: '`latest` is stale by one change',
  away: 'Secret Manager is away for 60 s, then the rotations',
  slow: 'calls take up to 400 ms',
  unknown: "Momento doesn't know a new key for 2 s",
  frozen: 'the process is frozen for 20 s',
  garbage: 'the secret contains garbage before a rotation',
} as const;
const CLIENTS = {
  typescript: 'TypeScript',
  threads: 'Python threads',
  asyncio: 'Python asyncio',
} as const;
const FORMATS = ['v1', 'v2'] as const;

type Fault = keyof typeof FAULTS;
type Client = keyof typeof CLIENTS;
type Format = (typeof FORMATS)[number];

/** One client with keys of one format: a column of the table. */
interface Column {
  readonly client: Client;
  readonly format: Format;
}

interface Outcome {
  /** For the table: failed calls, and reads of the secret. */
  readonly cell: string;
  /** The rules that this run broke. */
  readonly problems: readonly string[];
}

interface Result {
  readonly calls: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly mostOpen: number;
  readonly events: readonly string[];
}

interface Plan {
  readonly rate: number;
  readonly seconds: number;
  readonly rotations: number;
  readonly awaySeconds: number;
  readonly frozenSeconds: number;
  readonly unknownMs: number;
}

const LONG: Plan = {
  rate: 200,
  seconds: 60,
  rotations: 11,
  awaySeconds: 60,
  frozenSeconds: 20,
  unknownMs: 2000,
};
const SHORT: Plan = {
  rate: 50,
  seconds: 6,
  rotations: 3,
  awaySeconds: 3,
  frozenSeconds: 2,
  unknownMs: 500,
};

const { values: options } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    python: { type: 'string' },
    only: { type: 'string' },
    client: { type: 'string' },
    format: { type: 'string' },
  },
});

function command(client: Client): [string, string[]] {
  const folder = resolve(__dirname, '..');
  return client === 'typescript'
    ? [process.execPath, ['--import', 'tsx', resolve(folder, 'load/worker.ts')]]
    : [options.python ?? 'python3', [resolve(folder, 'python/load_worker.py')]];
}

async function run(fault: Fault, { client, format }: Column, plan: Plan): Promise<Outcome> {
  const services = await startServices();
  const { secretManager, momento } = services;
  const isAway = fault === 'away';
  const seconds = plan.seconds + (isAway ? plan.awaySeconds : 0);
  try {
    secretManager.createSecret(SECRET);
    let current = '';
    const rotate = (): void => {
      const old = current;
      current = format === 'v1' ? momento.issueKey().apiKey : momento.issueV2Key().apiKey;
      secretManager.addVersion(SECRET, current);
      if (old !== '') momento.revoke(old);
      rotatedAt = Date.now();
    };
    let rotatedAt = 0;
    rotate();
    // The first key is known from the start.
    rotatedAt = 0;
    momento.faults.intercept = async (_call, when) => {
      if (when !== 'before') return undefined;
      if (fault === 'slow') await sleep(Math.random() * 400);
      const isUnknown = fault === 'unknown' && Date.now() < rotatedAt + plan.unknownMs;
      return isUnknown ? { kind: 'error', code: status.UNAUTHENTICATED, when } : undefined;
    };

    const [program, args] = command(client);
    const worker = spawn(program, args, {
      env: {
        ...process.env,
        CLIENT: client,
        SECRET,
        SECRET_MANAGER_HOST: secretManager.host,
        MOMENTO_HOST: momento.host,
        RATE: String(plan.rate),
        SECONDS: String(seconds),
        REREAD_EVERY_SECONDS: String(REREAD_EVERY_SECONDS),
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let output = '';
    let errors = '';
    worker.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    const lines = createInterface(worker.stdout).on('line', (line) => (output += `${line}\n`));
    const said = async (word: string): Promise<void> => {
      while (!output.split('\n').includes(word)) {
        if (worker.exitCode !== null) throw new Error(`the worker exited: ${errors}`);
        await Promise.race([once(lines, 'line'), once(worker, 'exit')]);
      }
    };
    const exited = once(worker, 'exit');
    await said('ready');
    if (fault === 'stale') secretManager.staleLatest = 1;
    secretManager.faults.forget();

    if (isAway) {
      const unavailable = { kind: 'error', code: status.UNAVAILABLE, when: 'before' } as const;
      secretManager.faults.inject('AccessSecretVersion', 'every', unavailable);
      await sleep(plan.awaySeconds * 1000);
      secretManager.faults.clear();
      secretManager.faults.forget();
    }
    const every = (plan.seconds * 1000) / (plan.rotations + 1);
    for (let rotation = 1; rotation <= plan.rotations; rotation += 1) {
      await sleep(every);
      if (fault === 'garbage' && rotation % 2 === 0) {
        secretManager.addVersion(SECRET, 'this is not a key');
        await sleep(every / 2);
      }
      if (fault === 'frozen' && rotation === Math.ceil(plan.rotations / 3)) {
        worker.stdin.write('pause\n');
        await said('pause');
        worker.kill('SIGSTOP');
        rotate();
        await sleep(plan.frozenSeconds * 1000);
        worker.kill('SIGCONT');
        worker.stdin.write('resume\n');
        continue;
      }
      rotate();
    }
    await exited;
    const reads = secretManager.faults.calls.filter(
      ({ method }) => method === 'AccessSecretVersion',
    ).length;
    const result = JSON.parse(output.trim().split('\n').at(-1) ?? '') as Result;
    // Jitter makes the interval up to 20 % shorter.
    const periodic = Math.ceil(seconds / (REREAD_EVERY_SECONDS * 0.8));
    const mostReads = READS_PER_ROTATION * plan.rotations + periodic;
    const failures = Object.entries(result.failed).map(([code, count]) => `${count} x ${code}`);
    const leaks = momento.secrets().filter((secret) => (output + errors).includes(secret)).length;
    const name = `${CLIENTS[client]} ${format}, ${fault}`;
    console.error(
      `${name}: ${result.calls} calls, failed: ${failures.join() || 0}, most clients open: ${result.mostOpen}, ` +
        `reads: ${reads} (at most ${mostReads}), secrets in the output: ${leaks}`,
    );
    if (failures.length > 0) console.error(result.events.slice(0, 50).join('\n'));
    const problems = [
      ...failures,
      ...(result.mostOpen > MOST_OPEN ? [`${result.mostOpen} clients were open`] : []),
      // A secret without a usable newest version is read as often as the backoff allows.
      ...(reads > mostReads && fault !== 'garbage' ? [`${reads} reads`] : []),
      ...(leaks > 0 ? [`${leaks} secrets in the output`] : []),
    ];
    const failed = Object.values(result.failed).reduce((sum, count) => sum + count, 0);
    return {
      cell: `${failed} / ${reads}`,
      problems: problems.map((problem) => `${name}: ${problem}`),
    };
  } finally {
    await services.stop();
  }
}

/** The values of an option: the one that was given, or all. */
function selected<T extends string>(
  name: string,
  value: string | undefined,
  all: readonly T[],
): T[] {
  const found = all.filter((candidate) => value === undefined || candidate === value);
  if (found.length === 0)
    throw new Error(`--${name} ${value} is unknown. Use ${all.join(' or ')}.`);
  return found;
}

async function main(): Promise<void> {
  const plan = options.short ? SHORT : LONG;
  const all = Object.keys(CLIENTS) as Client[];
  const clients =
    options.client === undefined && options.python === undefined
      ? (['typescript'] as const)
      : selected('client', options.client, all);
  const formats = selected('format', options.format, FORMATS);
  const columns = clients.flatMap((client) => formats.map((format) => ({ client, format })));
  const faults = selected('only', options.only, Object.keys(FAULTS) as Fault[]);

  const problems: string[] = [];
  const rows = faults.map((fault) => [`\`${fault}\`: ${FAULTS[fault]}`]);
  // By client, so that a run of one client shows early whether it works.
  for (const column of columns) {
    for (const [index, fault] of faults.entries()) {
      // The other runs of a long table still count.
      const outcome = await run(fault, column, plan).catch((error: unknown) => ({
        cell: 'no result',
        problems: [`${column.client} ${column.format}, ${fault}: ${String(error)}`],
      }));
      rows[index]?.push(outcome.cell);
      problems.push(...outcome.problems);
    }
  }
  const head = ['fault', ...columns.map(({ client, format }) => `${CLIENTS[client]} ${format}`)];
  for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`);
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
