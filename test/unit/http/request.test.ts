import type { RotationError } from '../../../src/errors';
import { parseRequest, parseScheduleTime, refuseQuery } from '../../../src/http/request';
import type { Secret } from '../../../src/rotation/ports';
import { NOW, piecesIn, secretName, thrownBy } from '../support';

const A = 'projects/p/secrets/a';
const B = 'projects/p/secrets/b';
const REGIONAL = 'projects/p/locations/eu/secrets/c';
const TWIN = 'projects/q/secrets/b';
const CONFIGURED = [A, B, REGIONAL, TWIN].map((name): Secret => ({
  ...secretName(name),
  payload: 'json',
}));

function parse(body: unknown) {
  const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const { secrets, kind, reason, ...choices } = parseRequest(Buffer.from(text), CONFIGURED, NOW);
  expect({ kind, reason }).toEqual({ kind: 'rotate', reason: undefined });
  return { secrets: secrets.map(({ name }) => name), ...choices };
}

describe('a request to rotate', () => {
  const all = [A, B, REGIONAL, TWIN];
  const plain = { force: false, dryRun: false };

  test.each<[string, unknown, object]>([
    ['nothing', '', { secrets: all, ...plain }],
    ['an empty object', {}, { secrets: all, ...plain }],
    ['false', { force: false, dryRun: false }, { secrets: all, ...plain }],
    ['force', { force: true }, { secrets: all, force: true, dryRun: false }],
    ['dryRun', { dryRun: true }, { secrets: all, force: false, dryRun: true }],
    ['a full name', { secrets: [B] }, { secrets: [B], ...plain }],
    ['a short name', { secrets: ['a'] }, { secrets: [A], ...plain }],
    ['the short name of a regional secret', { secrets: ['c'] }, { secrets: [REGIONAL], ...plain }],
    ['the name of a regional secret', { secrets: [REGIONAL] }, { secrets: [REGIONAL], ...plain }],
    ['several, in order', { secrets: [TWIN, 'a', B] }, { secrets: [TWIN, A, B], ...plain }],
    ['one twice, by both names', { secrets: ['a', A, 'a'] }, { secrets: [A], ...plain }],
  ])('with %s', (_name, body, expected) => {
    expect(parse(body)).toEqual(expected);
  });
});

describe('a request that is refused', () => {
  const planted = 'pLanted-Qz8';
  const noObject = "its body isn't a JSON object";
  const emptyList = "'secrets' is an empty list (leave it out to name all secrets)";
  const noString = "'secrets' contains a value that isn't a string";
  const otherFields =
    "it has a field other than 'secrets', 'force', 'dryRun', 'reason', 'compromised', 'all', 'since' and 'revokeFirst'";

  test.each<[string, unknown, string]>([
    ['no JSON', `{"secrets": ["${planted}"`, "its body isn't JSON in UTF-8"],
    ['no UTF-8', Buffer.from('{"secrets":["\xff"]}', 'latin1'), "its body isn't JSON in UTF-8"],
    ['an empty list', [], noObject],
    ['a list of names', ['a'], noObject],
    ['null', 'null', noObject],
    ['a string', JSON.stringify(planted), noObject],
    ['a number', '1', noObject],
    ['an unknown field', { secrets: ['a'], [planted]: true }, otherFields],
    ['a field of another case', { dryrun: true }, otherFields],
    ['__proto__', '{"__proto__": {"dryRun": true}}', otherFields],
    ['a field that all objects have', { toString: 1 }, otherFields],
    ['force as a text', { force: planted }, "'force' isn't true or false"],
    ['force as null', { force: null }, "'force' isn't true or false"],
    ['dryRun as a number', { dryRun: 1 }, "'dryRun' isn't true or false"],
    ['one secret without a list', { secrets: planted }, "'secrets' isn't a list"],
    ['an object for the list', { secrets: { 0: 'a', length: 1 } }, "'secrets' isn't a list"],
    ['null for the list', { secrets: null }, "'secrets' isn't a list"],
    ['no secret in the list', { secrets: [] }, emptyList],
    ['a secret that is no string', { secrets: ['unknown', { planted }] }, noString],
    ['an ambiguous short name', { secrets: ['a', 'b'] }, 'secrets[1] is the short name of several'],
  ])('%s', (_name, body, problem) => {
    const { code, message } = thrownBy(() => parse(body)) as RotationError;
    expect(code).toBe('INVALID_REQUEST');
    expect(message).toContain(`The request is invalid, because ${problem}`);
    expect(piecesIn(message, planted)).toEqual([]);
  });

  test.each([
    ['x', 0],
    ['projects/p/secrets/x', 0],
    ['projects/x/secrets/a', 0],
    ['projects/p/locations/us/secrets/c', 0],
    [`${A}/versions/1`, 0],
    ['', 0],
    [planted, 1],
  ])('a secret that is not configured: %j', (name, index) => {
    const secrets = index === 0 ? [name, 'a'] : ['a', name];
    const { code, message } = thrownBy(() => parse({ secrets })) as RotationError;
    expect(code).toBe('SECRET_NOT_CONFIGURED');
    expect(message).toContain(`secrets[${index}] of the request isn't a configured secret.`);
    expect(message).toContain(`name one of ${A}, ${B}, ${REGIONAL}, ${TWIN}.`);
    expect(piecesIn(message, planted)).toEqual([]);
  });
});

describe('a query string', () => {
  test.each(['/?', '/?dryRun=true', '/?x#y'])('is refused: %s', (target) => {
    expect(thrownBy(() => refuseQuery(target))).toMatchObject({
      code: 'INVALID_REQUEST',
      problem:
        'The request is invalid, because it has a query string, which is never used. Nothing was done.',
    });
  });

  test('is missed in no other target', () => {
    expect(() => refuseQuery('/')).not.toThrow();
  });
});

describe('the time that a run is scheduled for', () => {
  const time = Date.parse('2026-10-27T00:00:00Z');

  test.each<[string | undefined, number | undefined]>([
    ['2026-10-27T00:00:00Z', time],
    ['2026-10-27t00:00:00z', time],
    ['2026-10-27t02:00:00+02:00', time],
    ['2026-10-27T02:00:00+02:00', time],
    ['2026-10-26T18:30:00-05:30', time],
    ['2026-10-27T00:00:00-00:00', time],
    ['2026-10-27T00:00:00.000001+00:00', time],
    ['2026-10-27T00:00:00.0000000000000000000000001Z', time],
    ['2026-10-27T00:00:00.5Z', time + 500],
    [' 2026-10-27T00:00:00Z ', time],
    ['2024-02-29T00:00:00Z', Date.parse('2024-02-29')],
    ['2016-12-31T23:59:60Z', Date.parse('2017-01-01')],
    ['2016-12-31T23:59:60.5z', Date.parse('2017-01-01') + 500],
    ['1990-12-31T15:59:60-08:00', Date.parse('1991-01-01')],
    ['', undefined],
    [undefined, undefined],
  ])('accepts %j', (header, expected) => {
    expect(parseScheduleTime(header)).toBe(expected);
  });

  test.each([
    ...['', 'x', '-02-30', '-02-29', '-04-31', '-00-01', '-13-27'].map(
      (date) => `2026${date}T00:00:00Z`,
    ),
    ...['24:00:00', '00:60:00', '00:00:61', '00:00', '00:00:60', '00:00:00.', '00:00:00,5'].map(
      (of) => `2026-10-27T${of}Z`,
    ),
    ...['', '+24:00', '+01:60', '+0100', ' Z', 'Z or so', 'Z, 2026-10-28T00:00:00Z'].map(
      (zone) => `2026-10-27T00:00:00${zone}`,
    ),
    ...['soon', '2026-10-27', '1793059200', '2026-10-27 00:00:00Z', '2026-10-27T23:59:60+01:00'],
    ...['x2026-10-27T00:00:00Z', '+002026-10-27T00:00:00Z', '2026-10-27T00:00:0\u0660Z'],
  ])('refuses %j', (header) => {
    const { code, problem } = thrownBy(() => parseScheduleTime(header)) as RotationError;
    expect(code).toBe('INVALID_REQUEST');
    expect(problem).toContain("X-CloudScheduler-ScheduleTime isn't an RFC 3339 time");
  });
});
