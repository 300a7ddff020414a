/** Push messages, up to the rotator. The integration tests send them to the built function. */
import { beginsLikePush, isPush } from '../../../src/http/messages';
import { HOUR } from '../../../src/duration';
import { NOT_DUE, UNAVAILABLE, type Plan } from '../rotation/test-bed';
import { NOW } from '../support';
import { A, B, serve } from './serve';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function push(request: object | string, fields: object = {}) {
  const data = base64(typeof request === 'string' ? request : JSON.stringify(request));
  const publishTime = new Date(NOW).toISOString();
  return { message: { data, messageId: '42', publishTime, ...fields }, subscription: 's' };
}

const event = (eventType: string, secretId?: string) =>
  push('', { attributes: { eventType, ...(secretId !== undefined && { secretId }) } });

describe('a push message', () => {
  const REGIONAL = 'projects/p/locations/eu/secrets/c';
  const secrets = [A, B, REGIONAL];

  it.each<[string, object, string, string[]]>([
    ['an operator request', push({ force: true, secrets: ['a'] }), 'operator', [A]],
    [
      'an event with the project number',
      event('SECRET_ROTATE', A.replace('/p/', '/12/')),
      'secret-manager',
      [A],
    ],
    ['an event with the project id', event('SECRET_ROTATE', B), 'secret-manager', [B]],
    [
      'an event of a regional secret',
      event('SECRET_ROTATE', REGIONAL),
      'secret-manager',
      [REGIONAL],
    ],
    [
      'the other spelling of its id and time',
      {
        message: {
          data: base64('{"force":true,"secrets":["b"]}'),
          message_id: '42',
          publish_time: new Date(NOW).toISOString(),
        },
      },
      'operator',
      [B],
    ],
  ])(
    'rotates the secret and logs the trigger when it is %s',
    async (_, body, trigger, expected) => {
      const { post, entries } = serve({ policy: NOT_DUE }, { secrets });
      expect((await post(body)).status).toBe(200);
      expect(entries.map(({ secret }) => secret)).toEqual(expected);
      expect(entries).toMatchObject([{ trigger, outcome: 'rotated', messageId: '42' }]);
    },
  );

  it.each<[string, object]>([
    ['another event', event('SECRET_UPDATE', A)],
    ['the message that tests a topic', event('TOPIC_CONFIGURED')],
  ])('changes and logs nothing when it is %s', async (_, body) => {
    const { post, entries, touched } = serve();
    expect((await post(body)).status).toBe(200);
    expect([entries, touched.size]).toEqual([[], 0]);
  });

  it.each<[string, object | string]>([
    ['has no data', push('')],
    ["has data that isn't JSON", push('no JSON')],
    ["has data that isn't base64", push({}, { data: '!' })],
    ["has data that isn't a text", push({}, { data: 1 })],
    ['has too much data', push({ reason: 'x'.repeat(17_000) })],
    ['has no time', push({}, { publishTime: undefined })],
    ['has a number as its time', push({}, { publishTime: 1 })],
    ['has no id', push({}, { messageId: undefined })],
    ['has an id with spaces', push({}, { messageId: 'a b' })],
    ['has a list as its attributes', push({}, { attributes: ['x'] })],
    ['has a number among its attributes', push({}, { attributes: { x: 1 } })],
    ['is a text', { message: 'text', subscription: 's' }],
    ['is missing', { subscription: 's' }],
    ['ends early', '{"message": {"data": "aGF'],
    ['is longer than 256 KiB', push('x'.repeat(300_000))],
    ['rotates no secret', event('SECRET_ROTATE')],
    ['rotates another secret', event('SECRET_ROTATE', 'projects/p/secrets/x')],
    ['rotates a secret of another project', event('SECRET_ROTATE', A.replace('/p/', '/q/'))],
    ['rotates a secret of another location', event('SECRET_ROTATE', REGIONAL.replace('eu', 'us'))],
    ["names a secret that isn't configured", push({ secrets: ['x'] })],
    ['responds to a compromise of no secret', push({ compromised: true })],
    [
      'responds to a compromise of some and all',
      push({ compromised: true, all: true, secrets: ['a'] }),
    ],
    ['responds in a dry run', push({ compromised: true, all: true, dryRun: true })],
    ['has a time but no compromise', push({ since: new Date(NOW).toISOString() })],
    ['has an invalid time', push({ compromised: true, all: true, since: 'soon' })],
    ['reports and rotates', push({ status: true, force: true })],
    ['has a reason that is too long', push({ reason: 'x'.repeat(1000) })],
  ])('is acknowledged with one error line when it %s', async (_, body) => {
    const { post, entries, touched } = serve({}, { secrets });
    expect((await post(body)).status).toBe(200);
    expect(entries).toMatchObject([{ severity: 'ERROR', event: 'request' }]);
    expect([entries.length, touched.size]).toEqual([1, 0]);
  });

  it('is ignored with a warning when it is older than an hour', async () => {
    const { post, entries, touched } = serve();
    const publishTime = new Date(NOW - HOUR - 1).toISOString();
    expect((await post(push({}, { publishTime }))).status).toBe(200);
    expect(entries).toMatchObject([{ severity: 'WARNING', messageId: '42' }]);
    expect(touched.size).toBe(0);
  });

  it('logs the status when it asks for it', async () => {
    const { post, entries } = serve({}, { secrets: [A] });
    expect((await post(push({ status: true }))).status).toBe(200);
    expect(entries).toMatchObject([{ event: 'status', secret: A, trigger: 'operator' }]);
  });

  it.each<[string, number, Plan]>([
    ['a redelivery can help', 503, { store: { disable: () => Promise.reject(UNAVAILABLE) } }],
    [
      "a redelivery can't help",
      200,
      { store: { missingPermissions: () => Promise.resolve(['add']) } },
    ],
  ])('is answered by whether %s: %d', async (_, status, plan) => {
    const { post } = serve(plan, { secrets: [A] });
    expect((await post(push({ force: true }))).status).toBe(status);
  });
});

it.each<[string, boolean, boolean]>([
  ['{"message":{}}', true, true],
  [' { "subscription" : "s"}', true, true],
  ['\uFEFF{"deliveryAttempt":1,"message":{}}', true, true],
  ['{"secrets":["message"]}', false, false],
  ['{"secrets":[],"message":"x"}', false, false],
  ['{"message":"x","secrets":[]}', true, false],
  ['["message"]', false, false],
])('the body %s begins like a push message: %s, and is one: %s', (body, begins, is) => {
  expect(beginsLikePush(Buffer.from(body))).toBe(begins);
  expect(isPush(Buffer.from(body))).toBe(is);
});
