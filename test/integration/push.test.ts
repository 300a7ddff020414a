import { HOUR, SECOND } from '../../src/duration';
import { leaks } from '../leaks';
import { DEAD_LETTERS, PushBed, TOPIC } from './push-bed';
import { NOT_DUE, TestBed } from './test-bed';

let bed: TestBed;
let push: PushBed | undefined;

beforeAll(async () => {
  bed = await TestBed.start();
});
afterAll(async () => {
  await bed.stop();
});
afterEach(async () => {
  expect(leaks(bed.secrets, [JSON.stringify(push?.entries ?? [])])).toEqual([]);
  await push?.stop();
  push = undefined;
  bed.expectSafe();
  bed.reset();
});

type StartArguments = [Parameters<typeof PushBed.start>[1], Parameters<typeof PushBed.start>[2]?];

const count = (name: string): number => bed.secretManager.versions(name).length;

async function start(...[secrets, setup]: StartArguments): Promise<PushBed> {
  // The seeded versions are older than the messages.
  bed.clock.advance(SECOND);
  return (push = await PushBed.start(bed, secrets, setup));
}

describe("Secret Manager's rotation schedule", () => {
  test('rotates the secret of the event although it is not due, and no other', async () => {
    const [a, b] = [bed.seed().secret, bed.seed().secret];
    const started = await start([a, b], { policy: NOT_DUE });
    const { lines, messageId } = await started.event('SECRET_ROTATE', a.name);
    expect(lines).toMatchObject([
      { secret: a.name, outcome: 'rotated', trigger: 'secret-manager', messageId },
    ]);
    expect([count(a.name), count(b.name)]).toEqual([2, 1]);
    started.pubsub.redeliver(messageId);
    await started.pubsub.settled();
    expect(started.linesOf(messageId)[1]).toMatchObject({ outcome: 'already_rotated' });
    expect(count(a.name)).toBe(2);
  });

  test('rotates a regional secret, whose event has the number of the project', async () => {
    const { secret } = bed.seed({ parent: 'projects/p/locations/europe-west3' });
    const started = await start([secret], { policy: NOT_DUE });
    const { lines } = await started.event('SECRET_ROTATE', secret.name);
    expect(lines).toMatchObject([{ secret: secret.name, outcome: 'rotated' }]);
  });

  test.each([
    'TOPIC_CONFIGURED',
    'SECRET_VERSION_ADD',
    'SECRET_VERSION_DISABLE',
    'SECRET_UPDATE',
    'SECRET_DELETE',
  ])('acknowledges %s and does nothing', async (eventType) => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    const { messageId } = await started.event(eventType, secret.name);
    expect(started.pubsub.answersTo(messageId)).toEqual([200]);
    expect(started.entries).toEqual([]);
    expect(count(secret.name)).toBe(1);
  });

  test('acknowledges the event of a secret that is not configured with one error line', async () => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    const { messageId, lines } = await started.event('SECRET_ROTATE', 'projects/p/secrets/other');
    expect(started.pubsub.answersTo(messageId)).toEqual([200]);
    expect(lines).toMatchObject([
      { severity: 'ERROR', error: { code: 'SECRET_NOT_CONFIGURED' }, trigger: 'secret-manager' },
    ]);
  });
});

describe('a request in a message', () => {
  test("rotates, and logs the operator's reason, the trigger and the id of the message", async () => {
    const { secret } = bed.seed();
    const started = await start([secret], { policy: NOT_DUE });
    const { lines, messageId } = await started.request({ force: true, reason: 'INC-42' });
    expect(lines).toMatchObject([
      { outcome: 'rotated', trigger: 'operator', reason: 'INC-42', messageId, severity: 'INFO' },
    ]);
  });

  test('rotates once when Pub/Sub delivers the message twice at once, although it forces', async () => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    started.pubsub.copies = 2;
    const { lines } = await started.request({ force: true });
    expect(lines.map(({ outcome }) => outcome).sort()).toEqual(['already_rotated', 'rotated']);
    expect(count(secret.name)).toBe(2);
  });

  test('reports without changing anything', async () => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    const { lines } = await started.request({ status: true });
    expect(lines).toMatchObject([
      { event: 'status', secret: secret.name, version: '1', severity: 'INFO', trigger: 'operator' },
    ]);
    expect(count(secret.name)).toBe(1);
  });

  test('is delivered again after a transient failure, with the same message id', async () => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    bed.inject('RefreshApiToken', 'every', 'UNAVAILABLE before');
    const messageId = started.pubsub.publishRequest(TOPIC, { force: true });
    await bed.clock.sleep(200 * SECOND);
    bed.endFaults();
    await started.pubsub.settled();
    expect(started.pubsub.answersTo(messageId)).toEqual([503, 503, 200]);
    expect(started.linesOf(messageId).map(({ outcome }) => outcome)).toEqual([
      'failed',
      'failed',
      'rotated',
    ]);
  });

  test('goes to the dead-letter topic after the configured number of deliveries', async () => {
    const { secret } = bed.seed();
    const started = await start([secret], { maxDeliveryAttempts: 5 });
    bed.inject('RefreshApiToken', 'every', 'UNAVAILABLE before');
    const { messageId } = await started.request({ force: true });
    expect(started.pubsub.answersTo(messageId)).toEqual(Array(5).fill(503));
    expect(started.pubsub.messagesOf(DEAD_LETTERS)).toHaveLength(1);
  });

  test('is acknowledged after a failure that another delivery cannot repair', async () => {
    const secret = bed.seedV2({}, { withRefreshToken: false });
    const started = await start([secret]);
    const { messageId, lines } = await started.request({ force: true });
    expect(started.pubsub.answersTo(messageId)).toEqual([200]);
    expect(lines).toMatchObject([{ severity: 'ERROR', error: { code: 'KEY_NOT_REFRESHABLE' } }]);
  });

  test('that is older than an hour is ignored with a warning', async () => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    const publishTime = new Date(bed.clock.now() - HOUR - 1).toISOString();
    const answer = await started.post(
      started.envelope({ force: true }, { publishTime, publish_time: publishTime }),
    );
    expect(answer.status).toBe(200);
    expect(started.entries).toMatchObject([{ severity: 'WARNING', messageId: '42' }]);
    expect(count(secret.name)).toBe(1);
  });

  test.each<[string, (valid: PushBed) => unknown]>([
    ['without data', (p) => p.envelope('')],
    ['with data that is not JSON', (p) => p.envelope('no JSON')],
    ['with data that is not base64', (p) => p.envelope({}, { data: '!' })],
    ['with an unknown field', (p) => p.envelope({ forced: true })],
    ['with a list of secrets that is empty', (p) => p.envelope({ secrets: [] })],
    ['with a secret that is not configured', (p) => p.envelope({ secrets: ['other'] })],
    ['with data of more than 16 KiB', (p) => p.envelope({ reason: 'x'.repeat(17_000) })],
    ['without a time', (p) => p.envelope({}, { publishTime: undefined })],
    ['without an id', (p) => p.envelope({}, { messageId: undefined, message_id: undefined })],
    ['with attributes that are a list', (p) => p.envelope({}, { attributes: ['x'] })],
    ['that is a text', () => ({ message: 'text', subscription: 's' })],
    ['that is missing', () => ({ subscription: 's' })],
    ['of more than 256 KiB', (p) => p.envelope('x'.repeat(300 * 1024))],
    ['that ends early', () => '{"message": {"data": "aGF'],
    ['with neither secrets nor all', (p) => p.envelope({ compromised: true })],
  ])('%s is acknowledged with one error line, and nothing is done', async (_name, make) => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    const { status, body } = await started.post(make(started));
    expect(status).toBe(200);
    expect(body.error).toMatchObject({
      message: expect.any(String) as string,
      help: expect.stringMatching(/^docs\/operate\/error-codes\.md#[a-z-]+$/) as string,
      retryable: false,
    });
    expect(started.entries).toMatchObject([
      { severity: 'ERROR', event: 'request', error: body.error },
    ]);
    expect(started.entries).toHaveLength(1);
    expect(count(secret.name)).toBe(1);
  });
});

describe('a request over HTTP', () => {
  test.each<[string, unknown]>([
    ['of more than 16 KiB', { secrets: ['x'.repeat(17_000)] }],
    ['of more than 256 KiB', { secrets: ['x'.repeat(300_000)] }],
    ['for a report', { status: true }],
    ['for all compromised secrets without saying so', { compromised: true }],
    ['with all and secrets', { compromised: true, all: true, secrets: ['s'] }],
    ['with all and nothing else', { all: true }],
    ['with a time that is not one', { compromised: true, all: true, since: 'today' }],
    ['with a time in the future', { compromised: true, all: true, since: '2030-01-01T00:00:00Z' }],
    ['to try a compromise response', { compromised: true, all: true, dryRun: true }],
    ['to revoke refreshed keys first', { compromised: true, all: true, revokeFirst: true }],
  ])('%s returns 400, and nothing is done', async (_name, body) => {
    const { secret } = bed.seed();
    const started = await start([secret]);
    const answer = await started.post(body);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'INVALID_REQUEST' } } });
    expect(count(secret.name)).toBe(1);
  });

  test('has its trigger in the log', async () => {
    const { secret } = bed.seed();
    const started = await start([secret], { policy: NOT_DUE });
    await started.post({});
    await started.post({}, { 'x-cloudscheduler': 'true' });
    expect(started.entries.map(({ trigger }) => trigger)).toEqual(['http', 'schedule']);
  });
});
