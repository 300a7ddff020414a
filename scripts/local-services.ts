/** A small world on this machine: the local services, three secrets that are to be rotated, and the function in its own process. */
import { FunctionProcess, type StartOptions } from '../test/function-process';
import { startServices, type Services } from '../test/emulators/services';

/** Holds a v1 key, as Momento's console gave it to everybody until December 2025. */
export const V1_SECRET = 'projects/demo/secrets/old-cache-key';

/** Empty: its first key is minted. */
export const V2_SECRET = 'projects/demo/secrets/cache-key';

/** Holds a v1 key that was stored without its refresh token: no run can renew it, and each says so. */
export const STUCK_SECRET = 'projects/demo/secrets/stuck-cache-key';

/** Holds the key by which keys are minted and revoked. */
const MANAGEMENT_SECRET = 'projects/demo/secrets/momento-management-key';

const DAY_MS = 24 * 3600 * 1000;

export interface LocalWorld extends Services {
  readonly rotator: FunctionProcess;
  /** Lets the services take the present for this long ago, while `action` lasts. */
  readonly earlier: <T>(ms: number, action: () => T | Promise<T>) => Promise<T>;
}

export async function startLocalWorld(
  options: Omit<StartOptions, 'env'> = {},
): Promise<LocalWorld> {
  let behindMs = 0;
  const services = await startServices({ now: () => Date.now() - behindMs });
  const earlier: LocalWorld['earlier'] = async (ms, action) => {
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
  const rotator = await FunctionProcess.start({
    ...options,
    env: {
      ...services.env,
      SECRETS: JSON.stringify([
        V1_SECRET,
        STUCK_SECRET,
        { name: V2_SECRET, role: 'r-viewer', lifetime: '30d', payload: 'key' },
      ]),
      MANAGEMENT_KEY: MANAGEMENT_SECRET,
      REVOKE: 'true',
    },
  });
  return {
    ...services,
    rotator,
    earlier,
    stop: async () => {
      await rotator.stop();
      await services.stop();
    },
  };
}
