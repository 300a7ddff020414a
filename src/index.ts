/** The composition root: builds the real clients from the environment and registers the function `rotate`. */
import { http } from '@google-cloud/functions-framework';
import { systemClock as clock } from './clock';
import { parseConfig, type Config } from './config/config';
import { toRotationError } from './errors';
import { guardFramework } from './http/framework-guard';
import { createHandler } from './http/handler';
import { writeLog } from './log';
import { MomentoKeys } from './momento/issuer';
import { normalizeProxyEnvironment } from './proxy';
import { Rotator } from './rotation/rotator';
import { SecretManagerStore } from './secret-manager/store';
import { GracefulShutdown } from './shutdown';

const config = readConfig();
// Before any client exists: libraries read these variables in different ways.
normalizeProxyEnvironment();
const store = new SecretManagerStore({ emulator: config.secretManagerEmulator, clock });
store.warmUp(config.secrets);
const keys = new MomentoKeys({ ...config.momento, clock });
const rotator = new Rotator({ ...config, store, keys, clock });
const handler = createHandler({ ...config, rotator, clock, log: writeLog });
const shutdown = new GracefulShutdown();

http('rotate', (request, response) => shutdown.during(() => handler(request, response)));
guardFramework();

function readConfig(): Config {
  try {
    return parseConfig(process.env);
  } catch (thrown) {
    const { code, message } = toRotationError(thrown);
    writeLog({ severity: 'CRITICAL', message: `${code}: ${message}`, event: 'start' });
    process.exit(1);
  }
}
