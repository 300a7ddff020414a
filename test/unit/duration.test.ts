import { inDays, isoTime, parseDuration } from '../../src/duration';
import { DAY, HOUR, MINUTE, NOW, SECOND } from './support';

test.each([
  ['0', 0],
  ['0d', 0],
  ['90s', 90 * SECOND],
  ['5m', 5 * MINUTE],
  ['36h', 36 * HOUR],
  ['14d', 14 * DAY],
  ['999999h', 999_999 * HOUR],
])('%s', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(['', '1', 'd', '1w', '1.5h', '-1h', '1 h', '1D', '1h30m', '1000000s', 'soon', '1h\n'])(
  '%j is none',
  (text) => {
    expect(parseDuration(text)).toBeUndefined();
  },
);

test.each([
  [10 * DAY, 10],
  [1.26 * DAY, 1.3],
  [-DAY, -1],
  [0, 0],
])('%d ms are %d days', (ms, days) => {
  expect(inDays(ms)).toBe(days);
});

test('a time is told as RFC 3339 has it', () => {
  expect(isoTime(NOW)).toBe('2026-11-01T00:00:00.000Z');
});
