/** Makes the first v1 key of a secret, with a super user key: from the arguments to the exit code. */
import { buffer } from 'node:stream/consumers';
import type { Environment } from '../../src/config/variables';
import { systemClock } from '../../src/clock';
import { isoTime } from '../../src/duration';
import { RotationError } from '../../src/errors';
import type { Credential } from '../../src/momento/credential';
import { Deadlines, RETRY_FOR } from '../../src/rotation/deadlines';
import type { SecretName } from '../../src/secret-name';
import { iamName } from '../../src/secret-manager/errors';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { Terminal } from '../terminal';
import { generate, Problem, readSuperUserKey } from './generate';
import { parseOptions, USAGE, type Options } from './options';

const DEPRECATED = `Momento has deprecated v1 keys: existing ones go on working, but support for them may be removed. For new secrets, use
v2 keys: give the rotator a management key and the secret a role, and it mints the first key itself.
`;

export async function firstKey(
  args: readonly string[],
  env: Environment,
  terminal: Terminal,
): Promise<0 | 1> {
  if (args.includes('--help')) {
    terminal.stdout.write(USAGE);
    return 0;
  }
  try {
    const options = parseOptions(args, env);
    if (Array.isArray(options)) {
      throw new Problem(`no key was made: ${options.join('; ')}.\n\n${USAGE}`);
    }
    await makeFirstKey(options, terminal);
    return 0;
  } catch (thrown) {
    terminal.stderr.write(`first-key: ${explain(thrown)}\n`);
    return 1;
  }
}

async function makeFirstKey(options: Options, { stdin, stdout, stderr }: Terminal): Promise<void> {
  const { from, to, momento, secretManagerEmulator } = options;
  stderr.write(DEPRECATED);
  const store = new SecretManagerStore({ emulator: secretManagerEmulator, clock: systemClock });
  // First of all: what cannot be stored must not be made, for nobody can revoke it.
  if (to !== undefined) await checkEmpty(store, to);
  const superUserKey = readSuperUserKey(
    from === undefined ? await readInput(stdin) : await readSecret(store, from),
  );
  const key = await generate(superUserKey, options, momento.emulator);
  const made = `A v1 key was made that expires at ${isoTime(key.expiresAt)} (fingerprint ${key.fingerprint})`;
  if (to === undefined) {
    stdout.write(`${key.serialize().toString()}\n`);
    stderr.write(`${made}.\n`);
  } else {
    const number = await add(store, to, key, made);
    stderr.write(
      `${made}. It is version ${number} of ${to.name}, which can be rotated from now on.\n`,
    );
  }
}

async function checkEmpty(store: SecretManagerStore, secret: SecretName): Promise<void> {
  const missing = await store.missingPermissions(secret, ['access', 'add'], limits());
  if (missing.length > 0) {
    throw new Problem(
      `You lack ${missing.map(iamName).join(' and ')} on ${secret.name}, or it does not exist. No key was made.`,
    );
  }
  // By its number: that shows a version of whatever state, and at once.
  if ((await store.access(secret, 1, limits())).kind !== 'absent') {
    throw new Problem(
      `${secret.name} has a version already, so this would not be its first key. No key was made.`,
    );
  }
}

function readInput(stdin: Terminal['stdin']): Promise<Buffer> {
  if (stdin.isTTY !== true) return buffer(stdin);
  throw new Problem(
    'The super user key has to come from a file or a pipe (< FILE), or out of a secret (--from SECRET). No key was made.',
  );
}

async function readSecret(store: SecretManagerStore, secret: SecretName): Promise<Uint8Array> {
  const access = await store.access(secret, 'latest', limits());
  if (access.kind === 'payload') return access.payload;
  throw new Problem(`${secret.name} has no version that can be read. No key was made.`);
}

async function add(
  store: SecretManagerStore,
  secret: SecretName,
  key: Credential,
  made: string,
): Promise<number> {
  const deadlines = new Deadlines(systemClock, limits().deadline);
  try {
    return (await deadlines.retry((each) => store.add(secret, key.serialize(), each))).number;
  } catch (thrown) {
    if (!(thrown instanceof RotationError)) throw thrown;
    throw new Problem(
      `${made}, but it could not be stored (${thrown.code}) and is lost; nobody can revoke it, so it ends at its own ` +
        'expiry. See whether the secret has a version all the same, and if not, run this again.',
    );
  }
}

/** For a few calls of Secret Manager. */
function limits(): { readonly deadline: number } {
  return { deadline: systemClock.monotonic() + 2 * RETRY_FOR };
}

/** Messages of foreign errors can contain a secret, so they aren't passed on. */
function explain(thrown: unknown): string {
  if (thrown instanceof Problem) return thrown.message;
  if (thrown instanceof RotationError) {
    return `No key was made. ${thrown.code}: ${thrown.message}`;
  }
  const name = thrown instanceof Error ? thrown.name : typeof thrown;
  return `An unexpected ${name} stopped this. Please report it.`;
}
