import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { http } from '@google-cloud/functions-framework';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import type { ErrorCode } from '../../../src/errors';
import { guardFramework } from '../../../src/http/framework-guard';
import { createHandler } from '../../../src/http/handler';
import type { LogEntry } from '../../../src/log';
import type { SecretStore } from '../../../src/rotation/ports';
import { Rotator } from '../../../src/rotation/rotator';
import { SECRET, testBed, type Plan } from '../rotation/test-bed';
import { inTurn, NOW, SECOND, secretName, version } from '../support';

export const A = 'projects/p/secrets/a';
export const B = 'projects/p/secrets/b';

let removeGuard: () => void;
beforeAll(() => (removeGuard = guardFramework()));
afterAll(() => removeGuard());

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const close of cleanUp.splice(0)) close();
});

interface Body {
  results?: { secret: string; outcome: string }[];
  secrets?: object[];
  error?: { code: ErrorCode; message: string; retryable: boolean };
}

/** The handler with a rotator on planned ports, behind the framework's real server. By default it rotates version 4 to 5. */
export function serve(plan: Plan = {}, { secrets = [A, B], timeoutMs = 540 * SECOND } = {}) {
  const store = { add: inTurn(version(5, 'ENABLED', NOW)), ...plan.store };
  const { environment, calls, clock } = testBed({ ...plan, store });
  const touched = new Set<string>();
  const access: SecretStore['access'] = (secret, number, limits) => {
    touched.add(secret.name);
    return environment.store.access(secret, number, limits);
  };
  const rotator = new Rotator({
    ...environment,
    store: { ...environment.store, access },
    secrets: secrets.map((name) => ({ ...SECRET, ...secretName(name) })),
  });
  const entries: LogEntry[] = [];
  const log = (entry: LogEntry) => void entries.push(entry);
  const handler = createHandler({ rotator, timeoutMs, traceProject: 'traces', clock, log });
  const handled: { isAnswered: Promise<boolean>; closed: Promise<unknown> }[] = [];
  http('rotate', (request, response) => {
    const closed = once(response, 'close');
    // Not `writableFinished`: Node 22 sets it for an answer that nobody received.
    let isSent = false;
    response.once('finish', () => (isSent = true));
    const isAnswered = handler(request, response).then(() => isSent);
    handled.push({ isAnswered, closed });
  });
  const server = getTestServer('rotate').listen(0, '127.0.0.1');
  const listening = once(server, 'listening');
  cleanUp.push(() => {
    server.close();
    server.closeAllConnections();
  });

  async function call(path: string, init: RequestInit = {}) {
    await listening;
    const { port } = server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
    const text = await response.text();
    const body = (text === '' ? undefined : JSON.parse(text)) as Body;
    return { status: response.status, headers: response.headers, text, body };
  }
  const post = (body: unknown = {}, headers: Record<string, string> = {}) =>
    call('/', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  return { call, post, entries, touched, handled, calls, clock };
}
