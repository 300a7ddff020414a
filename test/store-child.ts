/**
 * Reads secrets in a process of its own, whose environment a test chooses. Each line of the input is a JSON list of names,
 * and each line of the output is the JSON list of the results of accesses to their latest versions.
 */
import { createInterface } from 'node:readline';
import { systemClock } from '../src/clock';
import { toRotationError } from '../src/errors';
import { MINUTE } from '../src/duration';
import { normalizeProxyEnvironment } from '../src/proxy';
import { SecretManagerStore } from '../src/secret-manager/store';
import { parseSecretName } from '../src/secret-name';

normalizeProxyEnvironment();
const store = new SecretManagerStore({
  emulator: process.env.SECRET_MANAGER_EMULATOR_HOST,
  clock: systemClock,
});

async function access(name: string): Promise<object> {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`invalid name of a secret: ${name}`);
  try {
    const limits = { deadline: systemClock.monotonic() + MINUTE };
    const answer = await store.access(secret, 'latest', limits);
    return { kind: answer.kind };
  } catch (thrown) {
    const { code, problem, action, retryable, outcomeUnknown } = toRotationError(thrown);
    return { code, problem, action, retryable, outcomeUnknown };
  }
}

async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const results = await Promise.all((JSON.parse(line) as string[]).map(access));
    process.stdout.write(`${JSON.stringify(results)}\n`);
  }
  process.exit();
}

void serve();
