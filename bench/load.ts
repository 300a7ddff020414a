/** What many rotations cost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AS_DEPLOYED, FunctionProcess, ROOT } from './function';
import { measurement, timed, type Measurement } from './report';
import type { Env, Services } from './services';

const SECOND = 1_000;
const MINUTE = 60_000;

/** What a project may ask of Secret Manager. */
const QUOTAS = { writesPerMinute: 600, readsPerMinute: 600, accessesPerMinute: 90_000 };

/** What an account may ask of Momento. */
const CALLS_PER_SECOND = 5;

/** One request for 1,000 secrets with v1 keys, under the quotas that a project has. */
export async function refreshedFleet(services: Services): Promise<Measurement[]> {
  // In a project of its own: what was measured before has used up some of this minute's quota.
  const secrets = await services.createSecrets(1000, 'v1', 'refreshed');
  // A rotation reads three times (twice the list, once the permissions) and writes twice, so reads are what it waits for.
  // Quotas are counted by whole minutes, so the request begins with one, and can end when the last that it needs begins.
  const least = (Math.ceil((3 * secrets.length) / QUOTAS.readsPerMinute) - 1) * MINUTE;
  const env = services.env(secrets, AS_DEPLOYED);
  return fleet(services, { secrets, env, least, share: 95 });
}

/** One request for 200 secrets whose keys are minted and revoked, under Momento's limit too. */
export async function mintedFleet(services: Services): Promise<Measurement[]> {
  const secrets = await services.createSecrets(200, 'v2', 'minted');
  // Each key is made and proved, and the list is read once.
  const calls = 2 * secrets.length + 1;
  const least = (Math.ceil(calls / CALLS_PER_SECOND) - 1) * SECOND;
  const env = services.mintingEnv(secrets, { ...AS_DEPLOYED, REVOKE: 'true' });
  // The limit may be counted by any second, and calls arrive a little sooner or later than they were sent: the function
  // spreads its calls over a tenth more.
  return fleet(services, { secrets, env, least, share: 85 });
}

interface FleetOptions {
  readonly secrets: readonly string[];
  readonly env: Env;
  /** In ms: what the limits allow. */
  readonly least: number;
  /** Of the time that it takes, in per cent. */
  readonly share: number;
}

async function fleet(
  services: Services,
  { secrets, env, least, share }: FleetOptions,
): Promise<Measurement[]> {
  const name = `fleet of ${secrets.length.toLocaleString('en')}`;
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
      measurement(`${name}: least time that limits allow, of that`, '%', [(100 * least) / time], {
        text: `>= ${share}`,
        isMet: (reached) => reached >= share,
      }),
      measurement(`${name}: calls per rotation, refused ones too`, '', [calls / rotated]),
      ...(peak === undefined ? [] : [measurement(`${name}: peak RSS`, 'MiB', [peak])]),
    ];
  } finally {
    await services.setQuotas({});
    await services.setLimit(undefined);
    await started.stop();
  }
}

/** 10,000 rotations in one process: does it hold ever more memory? */
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
