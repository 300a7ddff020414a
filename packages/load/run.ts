/**
 * The acceptance table of the client libraries: a client under load, while keys are rotated and the old key ends at once. Each
 * fault has a run of its own. Options: --short, --python INTERPRETER, --only FAULT, --format v1|v2. Exits with 1 if a run breaks a rule.
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
const FAULTS = ['none', 'stale', 'away', 'slow', 'unknown', 'frozen', 'garbage'] as const;

type Fault = (typeof FAULTS)[number];
type Format = 'v1' | 'v2';

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
    format: { type: 'string' },
  },
});

function command(): [string, string[]] {
  const folder = resolve(__dirname, '..');
  return options.python === undefined
    ? [process.execPath, ['--import', 'tsx', resolve(folder, 'load/worker.ts')]]
    : [options.python, [resolve(folder, 'python/load_worker.py')]];
}

/** @returns the rules that this run broke */
async function run(fault: Fault, format: Format, plan: Plan): Promise<string[]> {
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

    const [program, args] = command();
    const worker = spawn(program, args, {
      env: {
        ...process.env,
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
    const columns = [format, fault, result.calls, failures.join() || 0, result.mostOpen, reads];
    console.log(`| ${columns.join(' | ')} (at most ${mostReads}) | ${leaks} |`);
    if (failures.length > 0) console.error(result.events.slice(0, 50).join('\n'));
    return [
      ...failures,
      ...(result.mostOpen > MOST_OPEN ? [`${result.mostOpen} clients were open`] : []),
      // A secret without a usable newest version is read as often as the backoff allows.
      ...(reads > mostReads && fault !== 'garbage' ? [`${reads} reads`] : []),
      ...(leaks > 0 ? [`${leaks} secrets in the output`] : []),
    ].map((problem) => `${format}, ${fault}: ${problem}`);
  } finally {
    await services.stop();
  }
}

async function main(): Promise<void> {
  const plan = options.short ? SHORT : LONG;
  console.log('| key | fault | calls | failed | most clients open | reads | secrets in output |');
  console.log('|---|---|---|---|---|---|---|');
  const problems: string[] = [];
  for (const format of ['v1', 'v2'] as const) {
    for (const fault of FAULTS) {
      if (options.only !== undefined && options.only !== fault) continue;
      if (options.format !== undefined && options.format !== format) continue;
      problems.push(...(await run(fault, format, plan)));
    }
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
