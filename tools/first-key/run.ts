/** Generates the first v1 key of a secret with a super user key: from the arguments to the exit code. */
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

const DEPRECATED = `Momento has deprecated v1 keys. Existing v1 keys still work, but Momento might remove them. Use v2 keys for new secrets: give
the rotator a management key and the secret a role. Then the rotator mints the first key.
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
      throw new Problem(`no key was generated: ${options.join('; ')}.\n\n${USAGE}`);
    }
    await generateFirstKey(options, terminal);
    return 0;
  } catch (thrown) {
    terminal.stderr.write(`first-key: ${explain(thrown)}\n`);
    return 1;
  }
}

async function generateFirstKey(
  options: Options,
  { stdin, stdout, stderr }: Terminal,
): Promise<void> {
  const { from, to, momento, secretManagerEmulator } = options;
  stderr.write(DEPRECATED);
  const store = new SecretManagerStore({ emulator: secretManagerEmulator, clock: systemClock });
  // The check precedes the generation, because a v1 key that can't be stored can't be revoked either.
  if (to !== undefined) await checkEmpty(store, to);
  const superUserKey = readSuperUserKey(
    from === undefined ? await readInput(stdin) : await readSecret(store, from),
  );
  const key = await generate(superUserKey, options, momento.emulator);
  const generated = `Momento generated a v1 key that expires at ${isoTime(key.expiresAt)} (fingerprint ${key.fingerprint})`;
  if (to === undefined) {
    stdout.write(`${key.serialize().toString()}\n`);
    stderr.write(`${generated}.\n`);
  } else {
    const number = await add(store, to, key, generated);
    stderr.write(
      `${generated}. It is version ${number} of ${to.name}. The rotator can rotate this secret now.\n`,
    );
  }
}

async function checkEmpty(store: SecretManagerStore, secret: SecretName): Promise<void> {
  const missing = await store.missingPermissions(secret, ['access', 'add'], limits());
  if (missing.length > 0) {
    throw new Problem(
      `You lack ${missing.map(iamName).join(' and ')} on ${secret.name}, or the secret doesn't exist. No key was generated.`,
    );
  }
  // Access by number doesn't lag, and shows a version in any state.
  if ((await store.access(secret, 1, limits())).kind !== 'absent') {
    throw new Problem(
      `${secret.name} already has a version. No key was generated. Choose an empty secret.`,
    );
  }
}

function readInput(stdin: Terminal['stdin']): Promise<Buffer> {
  if (stdin.isTTY !== true) return buffer(stdin);
  throw new Problem(
    'The super user key is missing. No key was generated. Pass it from a file or a pipe (< FILE), or from a secret (--from SECRET).',
  );
}

async function readSecret(store: SecretManagerStore, secret: SecretName): Promise<Uint8Array> {
  const access = await store.access(secret, 'latest', limits());
  if (access.kind === 'payload') return access.payload;
  throw new Problem(
    `${secret.name} has no version that can be read. No key was generated. Enable a version, or choose another secret.`,
  );
}

async function add(
  store: SecretManagerStore,
  secret: SecretName,
  key: Credential,
  generated: string,
): Promise<number> {
  const deadlines = new Deadlines(systemClock, limits().deadline);
  try {
    return (await deadlines.retry((each) => store.add(secret, key.serialize(), each))).number;
  } catch (thrown) {
    if (!(thrown instanceof RotationError)) throw thrown;
    throw new Problem(
      `${generated}, but Secret Manager might not have stored it (${thrown.code}). If the secret has no version, the key is ` +
        "lost. It can't be revoked, so it stays valid until it expires. Then run this again.",
    );
  }
}

/** Enough time for one call of Secret Manager and its retries. */
function limits(): { readonly deadline: number } {
  return { deadline: systemClock.monotonic() + 2 * RETRY_FOR };
}

/** Describes an error. Never quotes errors of libraries, because they can contain a secret. */
function explain(thrown: unknown): string {
  if (thrown instanceof Problem) return thrown.message;
  if (thrown instanceof RotationError) {
    return `No key was generated. ${thrown.code}: ${thrown.message}`;
  }
  const name = thrown instanceof Error ? thrown.name : typeof thrown;
  return `An unexpected ${name} ended this tool. Report it.`;
}
