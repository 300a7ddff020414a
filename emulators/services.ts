import { normalizeProxyEnvironment } from '../src/proxy';
import { KeyApiEmulator } from './key-api';
import { MomentoEmulator } from './momento';
import { SecretManagerEmulator } from './secret-manager';

/** Three emulators, and the environment variables that direct the function to the emulators. */
export interface Services {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly keyApi: KeyApiEmulator;
  readonly env: {
    readonly SECRET_MANAGER_EMULATOR_HOST: string;
    readonly MOMENTO_EMULATOR_HOST: string;
    readonly MOMENTO_KEY_API_EMULATOR_HOST: string;
  };
  readonly stop: () => Promise<void>;
}

/** Starts the three emulators on free loopback ports, with one clock and one account at Momento. */
export async function startServices(options: { now?: () => number } = {}): Promise<Services> {
  // Without this, some clients in this process would connect to the emulators through a proxy.
  normalizeProxyEnvironment();
  const momento = await MomentoEmulator.start(options);
  const { account } = momento;
  const [secretManager, keyApi] = await Promise.all([
    SecretManagerEmulator.start(options),
    KeyApiEmulator.start({ account }),
  ]);
  return {
    secretManager,
    momento,
    keyApi,
    env: {
      SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
      MOMENTO_EMULATOR_HOST: momento.host,
      MOMENTO_KEY_API_EMULATOR_HOST: keyApi.host,
    },
    stop: async () => {
      await Promise.all([secretManager.stop(), momento.stop(), keyApi.stop()]);
    },
  };
}
