/** Shows rotations from beginning to end, and exits with 1 if anything isn't as described. */
import { systemClock } from '../src/clock';
import { MomentoKeys } from '../src/momento/issuer';
import type { RotationResult } from '../src/rotation/result';
import { parseSecretName, type SecretName } from '../src/secret-name';
import { SecretManagerStore } from '../src/secret-manager/store';
import {
  REQUESTS_TOPIC,
  startLocalTestBed,
  V1_SECRET,
  V2_SECRET,
  type LocalTestBed,
} from './local-services';

const HOUR_MS = 3600 * 1000;

async function demo(): Promise<void> {
  say(
    'This demo runs the function against emulators of Secret Manager and Momento. It uses no cloud account.',
  );
  const bed = await startLocalTestBed();
  try {
    await rotateV1(bed);
    await mintAndRevoke(bed);
    await respondToLeak(bed);
    const secrets = bed.momento.secrets();
    const leaked = secrets.filter((text) => bed.rotator.output.includes(text));
    expect('secrets in the log', leaked.length, 0);
  } finally {
    await bed.stop();
  }
}

/** A key from before December 2025, which its refresh token renews. */
async function rotateV1(bed: LocalTestBed): Promise<void> {
  const secret = nameOf(V1_SECRET);
  say(`\n1. A v1 key that expires tomorrow, in ${secret.name}.\n`);
  await showVersions(bed, secret);
  const scheduled = new Date().toISOString();
  expect('the outcome', (await runJob(bed, secret, scheduled)).outcome, 'rotated');
  await showVersions(bed, secret);
  say('Cloud Scheduler can send a request twice. The same scheduled run again:');
  expect('the second outcome', (await runJob(bed, secret, scheduled)).outcome, 'already_rotated');
}

/** v2 keys, which a management key makes and revokes. */
async function mintAndRevoke(bed: LocalTestBed): Promise<void> {
  const secret = nameOf(V2_SECRET);
  say(
    `\n2. An empty secret, ${secret.name}: the rotator mints its keys, and no person sees them.\n`,
  );
  const first = await bed.earlier(2 * HOUR_MS, () => runJob(bed, secret));
  expect('the first outcome', first.outcome, 'rotated');
  await showVersions(bed, secret);
  say("Two hours later, by the emulators' clock:");
  const second = await runJob(bed, secret);
  expect('the second outcome', second.outcome, 'rotated');
  expect('what is revoked', second.revoked?.join(), first.keyId);
  await showVersions(bed, secret);
}

/** A key leaked. An operator publishes one message. */
async function respondToLeak(bed: LocalTestBed): Promise<void> {
  const { secretManager, momento, pubsub } = bed;
  const secret = nameOf(V2_SECRET);
  say(`\n3. A key leaked: the newest one of ${secret.name}. One command:\n`);
  const request = JSON.stringify({ secrets: [secret.id], compromised: true, reason: 'INC-42' });
  const [, project, , topic] = REQUESTS_TOPIC.split('/');
  say(`  gcloud pubsub topics publish ${topic} --project=${project} --message='${request}'\n`);
  await showVersions(bed, secret);

  // After each change, an application that reads `latest` must get a key that Momento accepts.
  const newestKey = (): string => secretManager.latest(secret.name)?.toString() ?? '';
  const leaked = newestKey();
  const accepted: boolean[] = [];
  const check = (): void => void accepted.push(momento.accepts(newestKey()));
  const ends = [secretManager.onChange(check), momento.onChange(check)];
  const messageId = pubsub.publish(REQUESTS_TOPIC, { data: request });
  await pubsub.settled();
  for (const end of ends) end();

  const delivery = pubsub.deliveries.find((each) => each.messageId === messageId);
  const { results } = JSON.parse(delivery?.body ?? '') as { results: [RotationResult] };
  const [{ version, contained, compromisedKeys = [] }] = results;
  say(
    `Pub/Sub pushes the message. The function answers ${delivery?.status}, contained: ${contained}`,
  );
  for (const { keyId, rejectedAt } of compromisedKeys) {
    say(`  Momento rejects the old key ${keyId} since ${rejectedAt?.slice(11, 19)}`);
  }
  say(
    `  Version ${version} is the newest. Momento accepted the key in \`latest\` after each of ${accepted.length} changes`,
  );
  say('');
  await showVersions(bed, secret);
  expect('contained', contained, true);
  expect('the verdict on the leaked key', momento.accepts(leaked), false);
  expect('changes after which latest failed', accepted.filter((works) => !works).length, 0);
}

async function runJob(
  { rotator }: LocalTestBed,
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
  if (revoked.length > 0) say(`  and revoked the previous key at Momento: ${revoked.join()}`);
  say('');
  return result;
}

/** The versions, the newest first, as an application sees them. */
async function showVersions(
  { secretManager, env }: LocalTestBed,
  secret: SecretName,
): Promise<void> {
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
  () => say('Every step succeeded. Neither the screen nor the log contains a secret.'),
  (error: unknown) => {
    console.error('\nNOT AS EXPECTED:', error);
    process.exitCode = 1;
  },
);
