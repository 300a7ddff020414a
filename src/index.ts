/** The composition root: builds the real clients from the environment and registers the function `rotate`. */
import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import { http } from '@google-cloud/functions-framework';
import { parseConfig, type Config } from './config';
import { toRotationError } from './errors';
import { createHandler } from './handler';
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

// Handed on as JSON, a broken body would be answered by functions-framework, in HTML and quoting it.
subscribe('http.server.request.start', (message) => {
  const { request } = message as { request: IncomingMessage };
  request.headers['content-type'] = 'application/octet-stream';
  delete request.headers['content-encoding'];
});

function readConfig(): Config {
  try {
    return parseConfig(process.env);
  } catch (thrown) {
    const { code, message } = toRotationError(thrown);
    writeLog({ severity: 'CRITICAL', message: `${code}: ${message}`, event: 'start' });
    process.exit(1);
  }
}
