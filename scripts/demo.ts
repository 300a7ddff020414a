/** Shows one rotation from beginning to end, and exits with 1 if anything is not as it says. */
import { Credential } from '../src/credential';
import { RefreshIssuer } from '../src/momento';
import { SecretManagerStore } from '../src/secret-manager';
import { parseSecretName } from '../src/secret-name';
import { SECRET, startLocalServices } from './local-services';

const secret = parseSecretName(SECRET) ?? fail('the demo has no secret');

interface Result {
  outcome: string;
  reason: string;
  version: string;
}

async function demo(): Promise<void> {
  say(
    'Starting Secret Manager, Momento and the function on this machine (no cloud account is used).',
  );
  const { secretManager, momento, rotator, stop } = await startLocalServices();
  // What an application would use to read the secret and to reach Momento.
  const store = new SecretManagerStore(secretManager.host);
  const issuer = new RefreshIssuer(momento.host);

  const readKey = async (version: number | 'latest'): Promise<string> => {
    const found = await store.access(secret, version);
    if (found === undefined) return 'does not open';
    const credential = Credential.parse(found.payload);
    return `key ${credential.fingerprint}, which Momento ${(await issuer.verify(credential)) === 'accepted' ? 'accepts' : 'REJECTS'}`;
  };
  const showVersions = async (): Promise<void> => {
    const versions = await store.list(secret);
    say('');
    say('  version  state     created           key       expires');
    for (const { number, state, createdAt } of versions.toSorted((a, b) => b.number - a.number)) {
      const found = await store.access(secret, number);
      const key = found && Credential.parse(found.payload);
      const columns = [
        String(number).padEnd(8),
        state.padEnd(9),
        minute(createdAt).padEnd(17),
        (key?.fingerprint ?? '-').padEnd(9),
        key === undefined ? '-' : minute(key.expiresAt),
      ];
      say(`  ${columns.join(' ')}`);
    }
    say('');
  };
  const runJob = async (scheduleTime: string): Promise<Result> => {
    say(`Cloud Scheduler calls the function (scheduled for ${minute(Date.parse(scheduleTime))}):`);
    const { status, body } = await rotator.post(undefined, {
      'x-cloudscheduler-scheduletime': scheduleTime,
    });
    const [result] = (body as { results: [Result] }).results;
    say(
      `  ${status} ${result.outcome}: version ${result.version} is the newest (${result.reason})`,
    );
    return result;
  };

  try {
    say(`${SECRET}, before:`);
    await showVersions();
    const before = await readKey('latest');

    const scheduleTime = new Date().toISOString();
    expect('the outcome', (await runJob(scheduleTime)).outcome, 'rotated');

    say('The secret, after:');
    await showVersions();
    const after = await readKey('latest');
    say(`Readers of latest get ${after}.`);
    say(`Version 1 ${await readKey(1)}.`);
    say('');
    expect('the key is a new one', after !== before, true);
    expect('the new key', after.endsWith('accepts'), true);
    expect('version 1', await readKey(1), 'does not open');

    say('The same scheduled run once more, as Cloud Scheduler may send it twice.');
    expect('the second outcome', (await runJob(scheduleTime)).outcome, 'already_rotated');
    expect('the number of versions', (await store.list(secret)).length, 2);
    const leaked = momento.secrets().filter((text) => rotator.output.includes(text));
    expect('secrets in the log', leaked.length, 0);
  } finally {
    await stop();
  }
}

function expect(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) {
    throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
  }
}

function fail(message: string): never {
  throw new Error(message);
}

function minute(epochMs: number): string {
  return new Date(epochMs).toISOString().slice(0, 16).replace('T', ' ');
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

demo().then(
  () => say('\nEverything is as it should be, and no secret is on the screen or in the log.'),
  (error: unknown) => {
    console.error('\nNOT AS EXPECTED:', error);
    process.exitCode = 1;
  },
);
