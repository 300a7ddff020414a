import { once } from 'node:events';
import { connect } from 'node:net';
import { status } from '@grpc/grpc-js';
import { ApplicationProcess } from '../application-process';
import { startServices, type Services } from '../../emulators/services';
import { until } from '../until';
import { leaks } from '../leaks';
import type { Reply } from '../server-process';
import { Hold, isItem } from './support';

const MISS = { status: 404, body: { error: { code: 'NO_SUCH_ITEM' } } };
const UNAVAILABLE = { kind: 'error', code: status.UNAVAILABLE, when: 'before' } as const;

let services: Services;
let application: ApplicationProcess;
let secret: string;
let secrets = 0;

beforeAll(async () => {
  services = await startServices();
});

afterEach(() => {
  const { secretManager, momento } = services;
  for (const { faults } of [secretManager, momento]) {
    faults.clear();
    faults.forget();
  }
});

afterAll(() => services.stop());

/** A new secret for the application that is started next. */
function createSecret(): void {
  secrets += 1;
  secret = `projects/p/secrets/s${secrets}`;
  services.secretManager.createSecret(secret);
}

async function start(env: Record<string, string> = {}): Promise<void> {
  application = await ApplicationProcess.start({
    ...services.env,
    SECRET: secret,
    CACHE: 'cache',
    MOMENTO_ENDPOINT: 'cell-1.momento.invalid',
    REREAD_EVERY: '1s',
    ...env,
  });
}

/** Ends the application, and looks at everything that it has written. */
async function end(): Promise<void> {
  await application.stop();
  const { output } = application;
  expect(leaks(services.momento.secrets(), [output])).toEqual([]);
  // Neither warnings nor stack traces: nothing but structured lines.
  expect(output.split('\n').filter((line) => !/^(\{.*\})?$/.test(line))).toEqual([]);
}

/** Stores a new key, and says how to end it. */
function rotate(): { revoke: () => void } {
  const { momento, secretManager } = services;
  const { apiKey } = momento.issueV2Key({ lifetimeSeconds: 'never' });
  secretManager.addVersion(secret, apiKey);
  return { revoke: () => momento.revoke(apiKey) };
}

function get(path: string): Promise<Reply> {
  return application.request({ path });
}

function put(path: string, body: string): Promise<Reply> {
  return application.request({ path, method: 'PUT', body });
}

/** Asks again and again until the answer has this status; returns its body. */
async function eventually(path: string, code: number): Promise<unknown> {
  const giveUpAt = Date.now() + 10_000;
  for (;;) {
    const reply = await get(path);
    if (reply.status === code) return reply.body;
    if (Date.now() > giveUpAt) throw new Error(`${path} is never answered with ${code}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}

describe('the service', () => {
  beforeAll(async () => {
    createSecret();
    rotate();
    await start();
    await eventually('healthz', 200);
  });

  afterAll(end);

  it('returns an item when it was stored', async () => {
    const path = 'items/a%2Fkey%20%C3%A9';
    expect(await get(path)).toMatchObject(MISS);
    expect(await put(path, 'an item')).toEqual({ status: 204, body: '' });
    expect(await get(path)).toEqual({ status: 200, body: 'an item' });
    expect(await get(`${path}?query=1`)).toEqual({ status: 200, body: 'an item' });
    expect(await get('items/another')).toMatchObject(MISS);
  });

  it("returns the same bytes when an item isn't text", async () => {
    const body = new Uint8Array(1024 * 1024).map((_, index) => index);
    const url = new URL('items/bytes', application.url);
    expect((await fetch(url, { method: 'PUT', body })).status).toBe(204);
    const response = await fetch(url);
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    expect(response.headers.get('keep-alive')).toBe('timeout=620');
    expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true);
  });

  it.each<[string, string, RequestInit, number, string]>([
    ['another path', 'elsewhere', {}, 404, 'NOT_FOUND'],
    ['no key', 'items/', {}, 404, 'NOT_FOUND'],
    ['a path below a key', 'items/a/b', {}, 404, 'NOT_FOUND'],
    ['a key that is not UTF-8', 'items/%ff', {}, 400, 'INVALID_KEY'],
    ['another method', 'items/a', { method: 'DELETE' }, 405, 'METHOD_NOT_ALLOWED'],
    ['another method, for a probe', 'healthz', { method: 'POST' }, 405, 'METHOD_NOT_ALLOWED'],
  ])('refuse %s', async (_, path, init, code, name) => {
    const before = application.output;
    const reply = await application.request({ path, ...init });
    expect(reply).toMatchObject({ status: code, body: { error: { code: name } } });
    expect(application.output).toBe(before);
  });

  it('refuses an item when it is too large', async () => {
    expect(await put('items/large', 'a'.repeat(1024 * 1024 + 1))).toMatchObject({
      status: 413,
      body: { error: { code: 'ITEM_TOO_LARGE' } },
    });
    expect(await get('items/large')).toMatchObject(MISS);
  });

  it('serves on when an upload ends too early', async () => {
    const before = application.output;
    const socket = connect(Number(new URL(application.url).port), '127.0.0.1');
    socket.write('PUT /items/half HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf of it');
    socket.end();
    await once(socket.resume(), 'close');
    expect(await get('items/half')).toMatchObject(MISS);
    expect(application.output).toBe(before);
  });

  it.each<[keyof typeof status, number, string]>([
    ['DEADLINE_EXCEEDED', 504, 'TIMEOUT_ERROR'],
    ['RESOURCE_EXHAUSTED', 503, 'LIMIT_EXCEEDED_ERROR'],
    ['UNAVAILABLE', 503, 'SERVER_UNAVAILABLE'],
    ['INVALID_ARGUMENT', 400, 'INVALID_ARGUMENT_ERROR'],
    ['NOT_FOUND', 502, 'NOT_FOUND_ERROR'],
    ['PERMISSION_DENIED', 502, 'PERMISSION_ERROR'],
    ['INTERNAL', 502, 'INTERNAL_SERVER_ERROR'],
    ['UNAUTHENTICATED', 502, 'AUTHENTICATION_ERROR'],
  ])('that the cache answers with %s', async (code, expected, name) => {
    const { faults } = services.momento;
    const fault = { kind: 'error', code: status[code], when: 'before' } as const;
    for (const method of ['Get', 'Set']) faults.inject(method, 'every', fault);
    const before = application.logEntries.length;
    for (const reply of [await get('items/a'), await put('items/a', 'b')]) {
      expect(reply).toMatchObject({ status: expected, body: { error: { code: name } } });
    }
    const failures = expected < 500 ? 0 : 2;
    const told = (): number =>
      application.logEntries.slice(before).filter(({ message }) => message === 'a request failed')
        .length;
    await until(() => told() >= failures);
    expect(told()).toBe(failures);
  });
});

describe('health', () => {
  beforeEach(createSecret);
  afterEach(end);

  it('is reported when there is a key that works', async () => {
    await start();
    const noKey = { status: 503, body: { error: { code: 'NO_KEY' } } };
    expect(await get('healthz')).toMatchObject(noKey);
    expect(await get('items/a')).toMatchObject(noKey);
    rotate().revoke();
    expect(await get('healthz')).toMatchObject(noKey);
    const { revoke } = rotate();
    expect(await eventually('healthz', 200)).toEqual({ ok: true });
    expect(await get('items/a')).toMatchObject(MISS);
    revoke();
    expect(await get('healthz')).toMatchObject({
      status: 503,
      body: { error: { code: 'AUTHENTICATION_ERROR' } },
    });
    rotate();
    await eventually('healthz', 200);
    expect(await get('items/a')).toMatchObject(MISS);
  });

  it("isn't reported when there are no Google Cloud credentials", async () => {
    rotate();
    await start({ SECRET_MANAGER_EMULATOR_HOST: '', GOOGLE_APPLICATION_CREDENTIALS: '/nowhere' });
    await eventually('healthz', 503);
    const severities = application.logEntries.map(({ severity }) => severity);
    expect(severities.sort()).toEqual(['ERROR', 'INFO']);
    expect(await get('healthz')).toMatchObject({ status: 503 });
  });
});

describe('no request fails', () => {
  let current: { revoke: () => void };

  beforeAll(async () => {
    createSecret();
    current = rotate();
    await start();
    await eventually('healthz', 200);
  });

  afterAll(end);

  /** Resolves when the application uses the newest version. */
  async function newestInUse(): Promise<void> {
    const newest = `version in use: ${services.secretManager.versions(secret).length}"`;
    await until(() => application.output.includes(newest));
  }

  /** Resolves when every request that is under way has ended. */
  async function nextRequests(): Promise<void> {
    const { calls } = services.momento.faults;
    const enough = calls.length + 40;
    await until(() => calls.length >= enough);
  }

  const FAULTS: Record<string, () => Promise<void>> = {
    'when keys are rotated and revoked at once': async () => {
      for (let rotations = 0; rotations < 3; rotations += 1) {
        const next = rotate();
        current.revoke();
        current = next;
        await newestInUse();
        await nextRequests();
      }
    },
    "when the secret can't be read": async () => {
      const { faults } = services.secretManager;
      faults.inject('AccessSecretVersion', 'every', UNAVAILABLE);
      const next = rotate();
      await until(() => application.output.includes('UNAVAILABLE'));
      await nextRequests();
      faults.clear();
      await newestInUse();
      current.revoke();
      current = next;
    },
  };

  it.each(Object.entries(FAULTS))('%s', async (_, faults) => {
    const statuses = new Set<number>();
    let isOver = false;
    const workers = Array.from({ length: 4 }, async (_none, index) => {
      const path = `items/${index}`;
      while (!isOver) {
        statuses.add((await put(path, 'an item')).status);
        statuses.add((await get(path)).status);
      }
    });
    try {
      await faults();
      await nextRequests();
    } finally {
      isOver = true;
      await Promise.all(workers);
    }
    expect([...statuses].sort()).toEqual([200, 204]);
  });
});

describe('the start', () => {
  it('fails with one line that names every problem when variables are invalid', async () => {
    const failure: unknown = await ApplicationProcess.start({
      SECRET: 'a-secret-in-the-wrong-place',
      REREAD_EVERY: '5 minutes',
      MOMENTO_ENDPOINT: 'https://momento.invalid',
      MOMENTO_EMULATOR_HOST: 'momento.invalid:80',
    }).catch((error: unknown) => error);
    const { message } = failure as Error;
    const [line, ...others] = message.slice(message.indexOf('{')).trim().split('\n');
    expect(others).toEqual([]);
    const entry = JSON.parse(line ?? '') as { severity: string; message: string };
    expect(entry.severity).toBe('CRITICAL');
    expect(entry.message.match(/[A-Z_]+(?= must be)/g)).toEqual([
      'SECRET',
      'CACHE',
      'REREAD_EVERY',
      'MOMENTO_ENDPOINT',
      'MOMENTO_EMULATOR_HOST',
    ]);
    expect(message).not.toMatch(/wrong-place|5 minutes|invalid/);
  });
});

describe('SIGTERM', () => {
  it('ends when the requests in progress have ended', async () => {
    createSecret();
    rotate();
    await start();
    await eventually('healthz', 200);
    const item = new Hold(services.momento, 'before', isItem);
    const replies = Promise.all([1, 2, 3, 4, 5].map(() => get('items/item')));
    await until(() => item.calls === 5);
    application.signal('SIGTERM');
    await until(() => application.output.includes('SIGTERM'));
    await expect(get('items/item')).rejects.toThrow('fetch failed');
    item.release();
    expect(await replies).toMatchObject([MISS, MISS, MISS, MISS, MISS]);
    expect(await application.exited).toBe(0);
    await end();
  });
});
