/** Many secrets in one request, and many requests to one process. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AS_DEPLOYED, FunctionProcess, ROOT } from './function';
import { measurement, timed, type Measurement } from './report';
import type { Env, Services } from './services';

const SECOND = 1_000;
const MINUTE = 60_000;

/** Secret Manager's default quotas of a project. */
const QUOTAS = { writesPerMinute: 600, readsPerMinute: 600, accessesPerMinute: 90_000 };

/** Momento's documented limit of an account. */
const CALLS_PER_SECOND = 5;

/** One request for 1,000 secrets with v1 keys. */
export async function manyRefreshed(services: Services): Promise<Measurement[]> {
  // The secrets get their own project, because earlier measurements used some of this minute's quota.
  const secrets = await services.createSecrets(1000, 'v1', 'refreshed');
  // A rotation reads three times (the list twice, the permissions once) and writes twice, so reads are the bottleneck.
  // Quotas count whole minutes. The request starts with a minute and can end when the last required minute starts.
  const least = (Math.ceil((3 * secrets.length) / QUOTAS.readsPerMinute) - 1) * MINUTE;
  const env = services.env(secrets, AS_DEPLOYED);
  return measureRequest(services, { secrets, env, least, share: 95 });
}

/** One request for 200 secrets whose keys are minted and revoked. */
export async function manyMinted(services: Services): Promise<Measurement[]> {
  const secrets = await services.createSecrets(200, 'v2', 'minted');
  // Each key is minted and verified. The list is read once.
  const calls = 2 * secrets.length + 1;
  const least = (Math.ceil(calls / CALLS_PER_SECOND) - 1) * SECOND;
  const env = services.mintingEnv(secrets, { ...AS_DEPLOYED, REVOKE: 'true' });
  // Momento might count the limit over any second, and calls can arrive earlier or later than they were sent. So the
  // rate limiter uses 110 % of the time.
  return measureRequest(services, { secrets, env, least, share: 85 });
}

interface RequestOptions {
  readonly secrets: readonly string[];
  readonly env: Env;
  /** The shortest duration in ms that the limits allow. */
  readonly least: number;
  /** The goal for `least`, in percent of the measured duration. */
  readonly share: number;
}

async function measureRequest(
  services: Services,
  { secrets, env, least, share }: RequestOptions,
): Promise<Measurement[]> {
  const name = `${secrets.length.toLocaleString('en')} secrets`;
  await services.setQuotas(QUOTAS);
  await services.setLimit(CALLS_PER_SECOND);
  await services.takeCalls();
  const started = await FunctionProcess.start(ROOT, env);
  try {
    await sleep(MINUTE - (Date.now() % MINUTE));
    let answer = '';
    const time = await timed(async () => (answer = await started.post()));
    const { results } = JSON.parse(answer) as { results: { outcome: string }[] };
    const rotated = results.filter(({ outcome }) => outcome === 'rotated').length;
    const calls = Object.values(await services.takeCalls()).reduce((sum, count) => sum + count, 0);
    const { peak } = started.memory() ?? {};
    return [
      measurement(`${name}: rotated`, '', [rotated], {
        text: String(secrets.length),
        isMet: (count) => count === secrets.length,
      }),
      measurement(`${name}: time`, 's', [time / SECOND]),
      measurement(
        `${name}: share of the time that the limits require`,
        '%',
        [(100 * least) / time],
        {
          text: `>= ${share}`,
          isMet: (reached) => reached >= share,
        },
      ),
      measurement(`${name}: calls per rotation, with rejected calls`, '', [calls / rotated]),
      ...(peak === undefined ? [] : [measurement(`${name}: peak RSS`, 'MiB', [peak])]),
    ];
  } finally {
    await services.setQuotas({});
    await services.setLimit(undefined);
    await started.stop();
  }
}

/** 10,000 rotations in one process. Its memory must not grow. */
export async function endurance(services: Services): Promise<Measurement[]> {
  const secrets = await services.createSecrets(100, 'v1');
  const started = await FunctionProcess.start(ROOT, services.env(secrets, AS_DEPLOYED));
  const held: number[] = [];
  try {
    for (let thousand = 1; thousand <= 10; thousand += 1) {
      for (let round = 0; round < 10; round += 1) await started.post();
      const memory = started.memory();
      if (memory !== undefined) held.push(memory.now);
      await services.resetSecrets(secrets, 'v1');
      await services.takeCalls();
    }
    if (held.length === 0) return [];
    const [early, late] = [held.slice(2, 6), held.slice(6)].map(
      (part) => part.reduce((sum, value) => sum + value, 0) / part.length,
    );
    return [
      measurement('10,000 rotations: RSS after each thousand', 'MiB', held),
      measurement(
        '10,000 rotations: growth, last 4,000 over 4,000 before',
        '%',
        [100 * ((late ?? NaN) / (early ?? NaN) - 1)],
        {
          text: '<= 5',
          isMet: (growth) => growth <= 5,
        },
      ),
    ];
  } finally {
    await started.stop();
  }
}
