/** Lengths of time, in milliseconds, and as operators write them. */

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const UNITS = { s: SECOND, m: MINUTE, h: HOUR, d: DAY };

/** The texts that `parseDuration` reads, for messages. */
export const DURATION = 'a whole number with a unit, s, m, h or d, such as 36h or 14d';

/** Reads a duration such as `36h`, or `0`; undefined for any other text. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * UNITS[unit as keyof typeof UNITS];
}

/** RFC 3339, in UTC. */
export function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** A length of time in days, for operators and metrics: one decimal. */
export function inDays(ms: number): number {
  return Math.round((ms / DAY) * 10) / 10;
}
