/** A test bed on this machine: the emulators, three secrets to rotate, and the function in a process of its own. */
import { FunctionProcess, type StartOptions } from '../test/function-process';
import { PubSubEmulator } from '../emulators/pubsub';
import { startServices, type Services } from '../emulators/services';

/** Contains a v1 key, as Momento's console issued it until December 2025. */
export const V1_SECRET = 'projects/demo/secrets/old-cache-key';

/** Empty: its first key is minted. */
export const V2_SECRET = 'projects/demo/secrets/cache-key';

/** Contains a v1 key without a refresh token. No run can renew this key, so every run fails. */
export const STUCK_SECRET = 'projects/demo/secrets/stuck-cache-key';

/** Contains the key that mints and revokes keys. */
const MANAGEMENT_SECRET = 'projects/demo/secrets/momento-management-key';

/** The topic for operator requests. */
export const REQUESTS_TOPIC = 'projects/demo/topics/momento-key-rotator-requests';

const DAY_MS = 24 * 3600 * 1000;

export interface LocalTestBed extends Services {
  readonly rotator: FunctionProcess;
  readonly pubsub: PubSubEmulator;
  /** Sets the clock of the emulators back while `action` runs. */
  readonly earlier: <T>(ms: number, action: () => T | Promise<T>) => Promise<T>;
}

export async function startLocalTestBed(
  options: Omit<StartOptions, 'env'> = {},
): Promise<LocalTestBed> {
  let behindMs = 0;
  const services = await startServices({ now: () => Date.now() - behindMs });
  const earlier: LocalTestBed['earlier'] = async (ms, action) => {
    behindMs = ms;
    try {
      return await action();
    } finally {
      behindMs = 0;
    }
  };
  const { secretManager, momento } = services;
  for (const name of [V1_SECRET, V2_SECRET, STUCK_SECRET, MANAGEMENT_SECRET]) {
    secretManager.createSecret(name);
  }
  await earlier(29 * DAY_MS, () => {
    const { consoleJson } = momento.issueKey({ lifetimeSeconds: (30 * DAY_MS) / 1000 });
    secretManager.addVersion(V1_SECRET, consoleJson);
    const { apiKey } = momento.account.issueV2Key({ role: 'r-operator' });
    secretManager.addVersion(MANAGEMENT_SECRET, apiKey);
  });
  const { apiKey, validUntil } = momento.issueKey({ lifetimeSeconds: (7 * DAY_MS) / 1000 });
  secretManager.addVersion(STUCK_SECRET, JSON.stringify({ apiKey, validUntil }));
  const env = {
    ...services.env,
    SECRETS: JSON.stringify([
      V1_SECRET,
      STUCK_SECRET,
      { name: V2_SECRET, role: 'r-viewer', lifetime: '30d', payload: 'key' },
    ]),
    MANAGEMENT_KEY: MANAGEMENT_SECRET,
    REVOKE: 'true',
  };
  let rotator: FunctionProcess;
  try {
    rotator = await FunctionProcess.start({ ...options, env });
  } catch (error) {
    await services.stop();
    throw error;
  }
  const pubsub = await PubSubEmulator.start();
  pubsub.createTopic(REQUESTS_TOPIC);
  pubsub.subscribe({
    name: 'projects/demo/subscriptions/momento-key-rotator-requests',
    topic: REQUESTS_TOPIC,
    pushEndpoint: rotator.url,
  });
  return {
    ...services,
    rotator,
    pubsub,
    earlier,
    stop: async () => {
      await pubsub.stop();
      await rotator.stop();
      await services.stop();
    },
  };
}
