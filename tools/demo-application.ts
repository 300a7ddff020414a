/**
 * Rotates an application's key every few seconds while the application is under load, and exits with 1 if a request fails.
 * Draws requests and keys; with --write into docs/images/application.svg, the picture in the README.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RotationResult } from '../src/rotation/result';
import { ApplicationProcess } from '../test/application-process';
import type { Key } from '../emulators/account';
import { startServices } from '../emulators/services';
import { FunctionProcess } from '../test/function-process';
import { draw, pictureFile, type KeyLife } from './application-picture';
import { Load, type Sent } from './load';

const SECRET = 'projects/demo/secrets/cache-key';
const MANAGEMENT_SECRET = 'projects/demo/secrets/momento-management-key';

const REQUESTS_PER_SECOND = 300;
const ROTATE_EVERY_MS = 5000;
const GRACE_SECONDS = 3;

/** In the first rotations the old key keeps its grace period. In later rotations the demo revokes the old key at once. */
const GRACEFUL_ROTATIONS = 6;
const ROTATIONS = 8;

/** Requests that begin this close to a swap of keys have their own line in the report. */
const AROUND_MS = 500;

/**
 * The rotator never revokes a key younger than an hour, because another run might be about to store it. The emulators' clock is
 * two hours behind, so to the rotator every key is two hours old, and the demo doesn't have to wait.
 */
const BEHIND_MS = 2 * 3600 * 1000;

/** When the application began to use a version. */
interface Swap {
  readonly version: number;
  readonly at: number;
}

/** @returns the file with the picture */
async function demo(): Promise<string> {
  say(
    'This demo runs the rotator and an application against emulators. It uses no cloud account.\n',
  );
  const services = await startServices({ now: () => Date.now() - BEHIND_MS });
  const stops = [services.stop];
  try {
    const { secretManager, momento, env } = services;
    for (const name of [SECRET, MANAGEMENT_SECRET]) secretManager.createSecret(name);
    secretManager.addVersion(MANAGEMENT_SECRET, momento.issueV2Key({ role: 'r-operator' }).apiKey);
    const keys = (): Key[] => momento.account.keys(`momento-key-rotator ${SECRET}`);

    const rotator = await FunctionProcess.start({
      env: {
        ...env,
        SECRETS: JSON.stringify([{ name: SECRET, role: 'r-viewer', lifetime: '30d' }]),
        MANAGEMENT_KEY: MANAGEMENT_SECRET,
        REVOKE: 'true',
        GRACE_PERIOD: `${BEHIND_MS / 1000 + GRACE_SECONDS}s`,
      },
    });
    stops.push(() => rotator.stop());
    await rotate(rotator);

    const swaps: Swap[] = [];
    const application = await ApplicationProcess.start(
      {
        ...env,
        SECRET,
        CACHE: 'cache',
        MOMENTO_ENDPOINT: 'cell-1.momento.invalid',
        REREAD_EVERY: '2s',
      },
      (text) => swaps.push(...swapsIn(text)),
    );
    stops.push(() => application.stop());

    const load = new Load(application.url, REQUESTS_PER_SECOND);
    await load.start();
    const startedAt = Date.now();
    for (let rotations = 1; rotations <= ROTATIONS; rotations += 1) {
      await sleep(startedAt + rotations * ROTATE_EVERY_MS - Date.now());
      const old = keys().at(-1);
      const version = await rotate(rotator);
      const isGraceful = rotations <= GRACEFUL_ROTATIONS;
      if (!isGraceful && old !== undefined) momento.revoke(old.apiKey);
      const end = isGraceful ? 'works for its grace period' : 'is revoked at once';
      say(`${seconds(Date.now() - startedAt)} s: version ${version}; the old key ${end}`);
    }
    await sleep(ROTATE_EVERY_MS);
    const sent = await load.stop();
    const endedAt = Date.now();

    const lives = keys().map((key, index) => life(key, swaps, index + 1, startedAt, endedAt));
    const picture = pictureFile(process.argv.slice(2));
    writeFileSync(
      picture,
      draw({
        endedAt: endedAt - startedAt,
        requests: sent.map(({ at, failed }) => ({ at: at - startedAt, failed })),
        keys: lives,
      }),
    );
    report(sent, swaps);
    const output = `${rotator.output}${application.output}`;
    const failures = sent.filter(({ failed }) => failed).map(({ outcome }) => outcome);
    expect('failed requests', outcomes(failures), '');
    expect('new keys that the application used', swaps.length - 1, ROTATIONS);
    expect(
      'secrets in the logs',
      momento.secrets().filter((text) => output.includes(text)).length,
      0,
    );
    return picture;
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

/** Requests a rotation, and returns the number of the newest version. */
async function rotate(rotator: FunctionProcess): Promise<string> {
  const { body } = await rotator.post();
  const [result] = (body as { results: [RotationResult] }).results;
  expect('the outcome of a rotation', result.outcome, 'rotated');
  return result.version ?? '';
}

function swapsIn(log: string): Swap[] {
  return [...log.matchAll(/version in use: (\d+)"/g)].map(([, version]) => ({
    version: Number(version),
    at: Date.now(),
  }));
}

function life(
  { issuedAt, revoked }: Key,
  swaps: readonly Swap[],
  version: number,
  startedAt: number,
  endedAt: number,
): KeyLife {
  const sinceStart = (at: number): number => Math.max(0, at - startedAt);
  const from = swaps.find((swap) => swap.version === version)?.at;
  const until = swaps.find((swap) => swap.version > version)?.at ?? endedAt;
  return {
    name: `version ${version}`,
    issuedAt: sinceStart(issuedAt + BEHIND_MS),
    used: from === undefined ? undefined : { from: sinceStart(from), until: sinceStart(until) },
    revokedAt: revoked && sinceStart(revoked.at + BEHIND_MS),
  };
}

function report(sent: readonly Sent[], swaps: readonly Swap[]): void {
  const isAround = ({ at }: Sent): boolean =>
    swaps.slice(1).some((swap) => Math.abs(swap.at - at) < AROUND_MS);
  const failed = sent.filter((request) => request.failed).length;
  say(`\n${sent.length} requests, ${failed} failed. ${swaps.length - 1} rotations.\n`);
  say('                  requests     p50      p99');
  for (const [name, some] of [
    ['calm', sent.filter((request) => !isAround(request))],
    ['around a swap', sent.filter(isAround)],
  ] as const) {
    const times = some.map(({ took }) => took).sort((a, b) => a - b);
    const columns = [
      name.padEnd(15),
      String(times.length).padStart(10),
      ...[0.5, 0.99].map((share) => milliseconds(times[Math.floor(times.length * share)] ?? NaN)),
    ];
    say(`  ${columns.join(' ')}`);
  }
  say('');
}

/** How often each outcome occurred. */
function outcomes(all: readonly string[]): string {
  return [...new Set(all)]
    .map((outcome) => `${all.filter((each) => each === outcome).length} × ${outcome}`)
    .join(', ');
}

function expect(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) {
    throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
  }
}

function milliseconds(ms: number): string {
  return `${ms.toFixed(1)} ms`.padStart(8);
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1).padStart(5);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

demo().then(
  (picture) => say(`No request failed, and no secret is in a log. The picture: ${picture}`),
  (error: unknown) => {
    console.error('\nFAILED:', error);
    process.exitCode = 1;
  },
);
