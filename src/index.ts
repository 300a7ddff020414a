/** The composition root: builds the real clients from the environment and registers the function `rotate`. */
import { http } from '@google-cloud/functions-framework';
import { parseConfig, type Config } from './config';
import { toRotationError } from './errors';
import { createHandler } from './handler';
import { takeOverRequests } from './http/take-over';
import { writeLog } from './log';
import { RefreshIssuer } from './momento';
import { systemClock } from './retry';
import { Rotator } from './rotator';
import { SecretManagerStore } from './secret-manager';
import { GracefulShutdown } from './shutdown';

const config = readConfig();
const store = new SecretManagerStore(config.secretManagerEmulator);
store.warmUp(config.secrets);
const issuer = new RefreshIssuer(config.momentoEmulator);
const { policy, verify } = config;
const rotator = new Rotator({ store, issuer, policy, verify, clock: systemClock });
const handler = createHandler({ config, rotator, clock: systemClock, log: writeLog });
const shutdown = new GracefulShutdown();

http('rotate', (request, response) => shutdown.during(() => handler(request, response)));

takeOverRequests(writeLog);

function readConfig(): Config {
  try {
    return parseConfig(process.env);
  } catch (thrown) {
    const { code, message } = toRotationError(thrown);
    writeLog({ severity: 'CRITICAL', message: `${code}: ${message}`, event: 'start' });
    process.exit(1);
  }
}
