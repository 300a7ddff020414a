/** Connections of Momento's SDK: certificates, proxies, silence. The SDK's own code makes them, over real sockets. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { promisify } from 'node:util';
import { setLogger } from '@grpc/grpc-js';
import { systemClock } from '../../../src/clock';
import { grpcLogger } from '../../../src/connection-errors';
import { toRotationError } from '../../../src/errors';
import { callFailed, Sdk } from '../../../src/momento/sdk';
import { refresh } from '../../../src/momento/refresh';
import type { NextKey } from '../../../src/rotation/ports';
import { selfSigned } from '../../certificate';
import { ConnectProxy } from '../../connect-proxy';
import { MomentoEmulator } from '../../../emulators/momento';
import { ManualClock } from '../manual-clock';
import { DAY, NOW, SECOND, secretName, v1Key } from '../support';
import { inSeconds, limits, parse, SECRET, v2Key } from './support';

const ENDPOINT = 'cell-1.example.com';
const CONTROL = `control.${ENDPOINT}`;
const V1 = {
  apiKey: v1Key(SECRET, ENDPOINT),
  refreshToken: 'token',
  validUntil: inSeconds(NOW + DAY),
};
const AUTHORITY = selfSigned([CONTROL, `cache.${ENDPOINT}`]);

setLogger(grpcLogger);

let server: Server;
let connections: number;
let proxy: ConnectProxy;
let proxyHost: string;

beforeEach(async () => {
  connections = 0;
  // Accepts connections for HTTP/2, and says nothing.
  server = createServer({ ...AUTHORITY, ALPNProtocols: ['h2'] }, (socket) => {
    connections += 1;
    socket.on('error', () => undefined);
  });
  server.on('tlsClientError', () => undefined);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  proxy = new ConnectProxy({ [CONTROL]: (server.address() as AddressInfo).port });
  proxyHost = await proxy.listen();
});

afterEach(() => {
  delete process.env.https_proxy;
  proxy.stop();
  server.close();
});

function nextKey(emulator?: string): NextKey {
  return refresh(secretName('projects/p/secrets/s'), parse(V1), {
    sdk: new Sdk(systemClock, emulator),
    api: { refresh: () => Promise.reject(new Error('not called')) },
    now: () => NOW,
  });
}

const check = (payload: string | object) =>
  new Sdk(systemClock, undefined).check(parse(payload), ENDPOINT, limits());

const failedRefresh = async (emulator?: string) =>
  toRotationError(
    await nextKey(emulator)
      .issue(limits())
      .catch((thrown: unknown) => thrown),
  );

test.each([
  ['a v1 key', V1],
  ['a v2 key', v2Key('key-1')],
])('a check of %s names the host whose certificate is not trusted', async (_name, payload) => {
  process.env.https_proxy = `http://${proxyHost}`;
  expect(await check(payload)).toEqual({
    verdict: 'inconclusive',
    problem: `The TLS certificate of ${CONTROL} isn't trusted: it or its authority is self-signed`,
  });
  expect(proxy.asked).toContain(`${CONTROL}:443`);
});

test('a refresh fails for good, and sends nothing, when the certificate is not trusted', async () => {
  process.env.https_proxy = `http://${proxyHost}`;
  const error = await failedRefresh();
  expect(error).toMatchObject({ code: 'CERTIFICATE_NOT_TRUSTED', outcomeUnknown: false });
  expect(error.problem).toContain(CONTROL);
  expect(error.action).toContain('NODE_EXTRA_CA_CERTS');
});

test('a refresh names the proxy that refuses the connection, and nothing was sent', async () => {
  proxy.refusal = 403;
  process.env.https_proxy = `http://user:${SECRET}@${proxyHost}`;
  const error = await failedRefresh();
  expect(error).toMatchObject({
    code: 'MOMENTO_UNAVAILABLE',
    outcomeUnknown: false,
    problem: `${CONTROL} couldn't be reached through the proxy ${proxyHost} (HTTP status 403).`,
  });
});

test.each([
  ['127.0.0.1:1', "127.0.0.1:1 couldn't be reached (ECONNREFUSED)."],
  ['nobody.invalid:443', "nobody.invalid:443 couldn't be reached (ENOTFOUND)."],
])('a refresh names the host %s and the cause, and nothing was sent', async (host, problem) => {
  expect(await failedRefresh(host)).toMatchObject({
    code: 'MOMENTO_UNAVAILABLE',
    outcomeUnknown: false,
    problem,
  });
});

const error = (message: string) => ({
  errorCode: () => 'SERVER_UNAVAILABLE' as never,
  innerException: () => new Error(message),
});

const LOST = 'lost the connection before its answer was complete';

test.each([
  ['14 UNAVAILABLE: Connection dropped', `${LOST}.`],
  ['14 UNAVAILABLE: read ECONNRESET', `${LOST} (ECONNRESET).`],
  ['4 DEADLINE_EXCEEDED: Deadline exceeded after 60.001s', "didn't answer in time."],
  ['14 UNAVAILABLE: Received HTTP status code 502', 'answered HTTP 502.'],
  ['14 UNAVAILABLE: self-signed certificate ECONNREFUSED', 'answered SERVER_UNAVAILABLE.'],
])('%s is reported as: host %s', (message, problem) => {
  const failure = callFailed('host', error(message));
  expect(failure.problem).toBe(`host ${problem}`);
  expect(failure).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true });
});

test('a check that fails leaves no client behind', async () => {
  const timers = jest.spyOn(globalThis, 'setTimeout');
  const sdk = new Sdk(systemClock, '127.0.0.1:1');
  expect(await sdk.check(parse(V1), '', limits())).toMatchObject({ verdict: 'inconclusive' });
  // The SDK's own close() keeps a failed client for twice its timeout.
  expect(timers.mock.calls.map(([, ms]) => ms)).not.toContain(120_000);
  timers.mockRestore();
});

test('an error contains no text of a server', () => {
  for (const message of [
    `14 UNAVAILABLE: ${SECRET}`,
    `14 UNAVAILABLE: No connection established. Last error: ${SECRET}`,
    `14 UNAVAILABLE: Name resolution failed for target dns:${SECRET}`,
  ]) {
    expect(callFailed('host', error(message)).message).not.toContain(SECRET);
  }
});

describe('silence', () => {
  const tenMinutes = 600 * SECOND;

  test.each([
    ['ListCaches', tenMinutes, 10 * SECOND],
    ['ListCaches', 3 * SECOND, 3 * SECOND],
    ['RefreshApiToken', tenMinutes, 60 * SECOND],
  ] as const)('ends %s, with %d ms left, after %d ms', async (method, left, expected) => {
    const momento = await MomentoEmulator.start();
    const clock = new ManualClock();
    const sdk = new Sdk(clock, momento.host);
    const credential = parse(momento.issueKey().consoleJson);
    const arrived = new Promise<void>((resolve) => {
      momento.faults.intercept = () => {
        resolve();
        return { kind: 'hang', when: 'before' };
      };
    });
    const isCheck = method === 'ListCaches';
    const deadline = { deadline: clock.monotonic() + left };
    let isOver = false;
    const answer = (
      isCheck ? sdk.check(credential, '', deadline) : sdk.refresh(credential, deadline)
    )
      .catch(toRotationError)
      .finally(() => (isOver = true));
    await arrived;
    await clock.advance(expected - 1);
    expect(isOver).toBe(false);
    await clock.advance(1);
    const problem = `${momento.host} didn't answer in time`;
    expect(await answer).toMatchObject(
      isCheck
        ? { verdict: 'inconclusive', problem }
        : { code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true },
    );
    await momento.stop();
  });

  test('of a connection is not shared with the next call', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sdk-'));
    const authority = join(folder, 'authority.pem');
    await writeFile(authority, AUTHORITY.cert);
    // In a process of its own: Node.js reads the authority when it starts.
    const calls = `
      import { systemClock } from './src/clock';
      import { Credential } from './src/momento/credential';
      import { Sdk } from './src/momento/sdk';
      const sdk = new Sdk(systemClock, undefined);
      const credential = Credential.parse(Buffer.from('${V1.apiKey}'));
      for (let n = 0; n < 2; n += 1) {
        const { problem } = await sdk.check(credential, '', { deadline: systemClock.monotonic() + 1000 });
        console.log(problem);
      }
      process.exit();
    `;
    const env = {
      ...process.env,
      NODE_EXTRA_CA_CERTS: authority,
      // It would replace the authorities for gRPC.
      GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: '',
      https_proxy: `http://${proxyHost}`,
    };
    const parameters = ['--import', 'tsx', '--input-type=module', '--eval', calls];
    const { stdout } = await promisify(execFile)(process.execPath, parameters, { env });
    await rm(folder, { recursive: true });
    expect(stdout.trim().split('\n')).toEqual(Array(2).fill(`${CONTROL} didn't answer in time`));
    expect(connections).toBe(2);
  });
});

test('at most 24 calls are in progress, and a call that waits fails at its deadline', async () => {
  const momento = await MomentoEmulator.start();
  const clock = new ManualClock();
  const sdk = new Sdk(clock, momento.host);
  const credential = parse(momento.issueKey().consoleJson);
  let calls = 0;
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const full = new Promise<void>((resolve) => {
    momento.faults.intercept = async (_call, when) => {
      if (when === 'after') return;
      calls += 1;
      if (calls === 24) resolve();
      await released;
    };
  });
  const start = clock.monotonic();
  const checks = [...Array(26).keys()].map((n) =>
    sdk.check(credential, '', { deadline: start + (n === 24 ? 1_000 : 9_000) }).then(
      ({ verdict }) => verdict,
      (thrown: unknown) => toRotationError(thrown).code,
    ),
  );
  await full;
  await clock.advance(1_000);
  expect(await checks[24]).toBe('DEADLINE_EXCEEDED');
  expect(calls).toBe(24);
  release();
  expect((await Promise.all(checks)).filter((verdict) => verdict === 'accepted')).toHaveLength(25);
  await momento.stop();
});
