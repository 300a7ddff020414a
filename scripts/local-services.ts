import { FunctionProcess, type StartOptions } from '../test/function-process';
import { startServices, type Services } from '../test/emulators/services';

export const SECRET = 'projects/demo/secrets/momento-api-key';

const DAY_MS = 24 * 3600 * 1000;

export interface LocalServices extends Services {
  readonly rotator: FunctionProcess;
}

/**
 * Starts Secret Manager, Momento and its key API on this machine, stores a key that was issued 29 days ago for 30 days, and
 * starts the function against them in its own process.
 */
export async function startLocalServices(
  options: Omit<StartOptions, 'env'> = {},
): Promise<LocalServices> {
  const services = await startServices();
  const { secretManager, momento } = services;
  const issuedAt = Date.now() - 29 * DAY_MS;
  momento.now = () => issuedAt;
  const { consoleJson } = momento.issueKey({ lifetimeSeconds: (30 * DAY_MS) / 1000 });
  momento.now = Date.now;
  secretManager.createSecret(SECRET);
  secretManager.addVersion(SECRET, consoleJson, { createTime: issuedAt });
  const rotator = await FunctionProcess.start({
    ...options,
    env: { SECRETS: SECRET, ...services.env },
  });
  return {
    ...services,
    rotator,
    stop: async () => {
      await rotator.stop();
      await services.stop();
    },
  };
}
