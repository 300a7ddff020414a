/** Shows rotations from beginning to end, and exits with 1 if anything is not as it says. */
import { systemClock } from '../src/clock';
import { MomentoKeys } from '../src/momento/issuer';
import type { RotationResult } from '../src/rotation/result';
import { parseSecretName, type SecretName } from '../src/secret-name';
import { SecretManagerStore } from '../src/secret-manager/store';
import { startLocalWorld, V1_SECRET, V2_SECRET, type LocalWorld } from './local-services';

const HOUR_MS = 3600 * 1000;

async function demo(): Promise<void> {
  say('Secret Manager, Momento and the function, on this machine. No cloud account is used.');
  const world = await startLocalWorld();
  try {
    await rotateV1(world);
    await mintAndRevoke(world);
    const secrets = world.momento.secrets();
    const leaked = secrets.filter((text) => world.rotator.output.includes(text));
    expect('secrets in the log', leaked.length, 0);
  } finally {
    await world.stop();
  }
}

/** A key from before December 2025, which its refresh token renews. */
async function rotateV1(world: LocalWorld): Promise<void> {
  const secret = nameOf(V1_SECRET);
  say(`\n1. A v1 key that expires tomorrow, in ${secret.name}.\n`);
  await showVersions(world, secret);
  const scheduled = new Date().toISOString();
  expect('the outcome', (await runJob(world, secret, scheduled)).outcome, 'rotated');
  await showVersions(world, secret);
  say('The same scheduled run once more, as Cloud Scheduler may send it twice.');
  expect('the second outcome', (await runJob(world, secret, scheduled)).outcome, 'already_rotated');
}

/** v2 keys, which a management key makes and revokes. */
async function mintAndRevoke(world: LocalWorld): Promise<void> {
  const secret = nameOf(V2_SECRET);
  say(`\n2. An empty secret, ${secret.name}: its keys are minted, and nobody ever sees one.\n`);
  const first = await world.earlier(2 * HOUR_MS, () => runJob(world, secret));
  expect('the first outcome', first.outcome, 'rotated');
  await showVersions(world, secret);
  say("Two hours later, by the services' clock:");
  const second = await runJob(world, secret);
  expect('the second outcome', second.outcome, 'rotated');
  expect('what is revoked', second.revoked?.join(), first.keyId);
  await showVersions(world, secret);
}

async function runJob(
  { rotator }: LocalWorld,
  { id }: SecretName,
  scheduleTime?: string,
): Promise<RotationResult> {
  const { status, body } = await rotator.post(
    { secrets: [id] },
    scheduleTime === undefined ? {} : { 'x-cloudscheduler-scheduletime': scheduleTime },
  );
  const [result] = (body as { results: [RotationResult] }).results;
  const { outcome, version, reason, issuedBy, revoked = [] } = result;
  say(
    `POST / answers ${status} ${outcome}: version ${version ?? '-'} is the newest (${reason ?? ''}` +
      `${issuedBy === undefined ? '' : `, by ${issuedBy}`})`,
  );
  if (revoked.length > 0) say(`  and the key before it is revoked at Momento: ${revoked.join()}`);
  say('');
  return result;
}

/** The versions, the newest first, as an application sees them. */
async function showVersions({ secretManager, env }: LocalWorld, secret: SecretName): Promise<void> {
  const store = new SecretManagerStore({ emulator: secretManager.host, clock: systemClock });
  const keys = new MomentoKeys({
    emulator: env.MOMENTO_EMULATOR_HOST,
    keyApiEmulator: env.MOMENTO_KEY_API_EMULATOR_HOST,
    clock: systemClock,
  });
  const session = keys.open(undefined);
  say('  version  state     key       expires           Momento');
  for (const { version, state } of secretManager.versions(secret.name)) {
    const limits = { deadline: systemClock.monotonic() + 10_000 };
    const access = await store.access(secret, Number(version), limits);
    const credential = access.kind === 'payload' ? keys.parse(access.payload) : undefined;
    const columns = [
      version.padEnd(8),
      state.padEnd(9),
      (credential?.fingerprint ?? '-').padEnd(9),
      (credential === undefined ? '-' : minute(credential.expiresAt)).padEnd(17),
      credential === undefined ? '-' : (await session.verifyNew(credential, limits)).verdict,
    ];
    say(`  ${columns.join(' ')}`);
  }
  say('');
  session.close();
}

function nameOf(name: string): SecretName {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`${name} is not the name of a secret`);
  return secret;
}

function expect(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) {
    throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
  }
}

function minute(epochMs: number): string {
  return new Date(epochMs).toISOString().slice(0, 16).replace('T', ' ');
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

demo().then(
  () => say('Everything is as it should be, and no secret is on the screen or in the log.'),
  (error: unknown) => {
    console.error('\nNOT AS EXPECTED:', error);
    process.exitCode = 1;
  },
);
