import { FunctionProcess, type StartOptions } from '../test/function-process';
import { MomentoEmulator } from '../test/emulators/momento';
import { SecretManagerEmulator } from '../test/emulators/secret-manager';

export const SECRET = 'projects/demo/secrets/momento-api-key';

const DAY_MS = 24 * 3600 * 1000;

export interface LocalServices {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly rotator: FunctionProcess;
  readonly stop: () => Promise<void>;
}

/**
 * Starts Secret Manager and Momento on this machine, stores a key that was issued 29 days ago for 30 days, and starts the
 * function against them in its own process.
 */
export async function startLocalServices(
  options: Omit<StartOptions, 'env'> = {},
): Promise<LocalServices> {
  const secretManager = await SecretManagerEmulator.start();
  const momento = await MomentoEmulator.start();
  const issuedAt = Date.now() - 29 * DAY_MS;
  momento.now = () => issuedAt;
  const { consoleJson } = momento.issueKey({ lifetimeSeconds: (30 * DAY_MS) / 1000 });
  momento.now = Date.now;
  secretManager.createSecret(SECRET);
  secretManager.addVersion(SECRET, consoleJson, { createTime: issuedAt });
  const rotator = await FunctionProcess.start({
    ...options,
    env: {
      SECRETS: SECRET,
      SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
      MOMENTO_EMULATOR_HOST: momento.host,
    },
  });
  return {
    secretManager,
    momento,
    rotator,
    stop: async () => {
      await rotator.stop();
      await Promise.all([secretManager.stop(), momento.stop()]);
    },
  };
}
