/** The emulator of Cloud Logging, as far as no test of its client shows a difference. */
import { LoggingEmulator } from '../../emulators/logging';
import { MINUTE } from '../../src/duration';

let now = Date.parse('2026-11-01T00:00:00Z');
let logging: LoggingEmulator;

beforeEach(async () => {
  logging = await LoggingEmulator.start({ now: () => now });
});
afterEach(() => logging.stop());

async function list(query: object): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`http://${logging.host}/v2/entries:list`, {
    method: 'POST',
    headers: { connection: 'close' },
    body: JSON.stringify({ resourceNames: ['projects/p'], ...query }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const filter = 'jsonPayload.event="rotation"';

test('returns entries in pages, in either order', async () => {
  for (const n of [1, 2, 3]) logging.write({ severity: 'INFO', event: 'rotation', n });
  logging.write({ severity: 'INFO', event: 'status' });
  const first = await list({ filter, pageSize: 2, orderBy: 'timestamp asc' });
  expect(first.body).toMatchObject({
    entries: [1, 2].map((n) => ({
      severity: 'INFO',
      timestamp: '2026-11-01T00:00:00.000Z',
      resource: { type: 'cloud_run_revision' },
      jsonPayload: { event: 'rotation', n },
    })),
  });
  const { nextPageToken: pageToken } = first.body;
  const second = await list({ filter, pageSize: 2, pageToken });
  expect(second.body).toEqual({
    entries: [expect.objectContaining({ jsonPayload: { event: 'rotation', n: 3 } })],
  });
  const descending = await list({ filter, pageSize: 1, orderBy: 'timestamp desc' });
  expect(descending.body).toMatchObject({ entries: [{ jsonPayload: { n: 3 } }] });
});

test('shows an entry only after its delay, and none that the filter excludes', async () => {
  logging.delayMs = 1000;
  logging.write({ severity: 'INFO', event: 'rotation' });
  expect((await list({ filter })).body).toEqual({});
  now += 1000;
  expect((await list({ filter })).body).toMatchObject({ entries: [{}] });
  expect((await list({ filter: `${filter} AND timestamp>="2027-01-01T00:00:00Z"` })).body).toEqual(
    {},
  );
  expect((await list({ filter: `${filter} AND resource.type="gae_app"` })).body).toEqual({});
});

test.each([
  ['an unknown operator', { filter: 'jsonPayload.event:*' }],
  ['an unknown field', { filter: 'textPayload="x"' }],
  ['no filter', {}],
  ['no resource', { filter, resourceNames: [] }],
])('refuses %s', async (_, query) => {
  expect(await list(query)).toMatchObject({
    status: 400,
    body: { error: { code: 400, status: 'INVALID_ARGUMENT' } },
  });
});

test('refuses the 61st read of a minute', async () => {
  for (let n = 0; n < 60; n += 1) expect((await list({ filter })).status).toBe(200);
  expect(await list({ filter })).toMatchObject({
    status: 429,
    body: { error: { status: 'RESOURCE_EXHAUSTED' } },
  });
  now += MINUTE;
  expect((await list({ filter })).status).toBe(200);
});
