/** Draws the picture of the application's demo. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The requests and keys of an application. All times are in milliseconds since the start. */
export interface Story {
  readonly endedAt: number;
  readonly requests: readonly { readonly at: number; readonly failed: boolean }[];
  /** Oldest first. */
  readonly keys: readonly KeyLife[];
}

export interface KeyLife {
  readonly name: string;
  readonly issuedAt: number;
  /** When the application used the key; undefined if it never did. */
  readonly used: { readonly from: number; readonly until: number } | undefined;
  /** Undefined for a key that wasn't revoked. */
  readonly revokedAt: number | undefined;
}

const WIDTH = 880;
const MARGIN = { left: 96, right: 20, top: 28 };
const RATE = { top: MARGIN.top, height: 72 };
const FAILURES = { top: RATE.top + RATE.height + 14, height: 24 };
const KEYS = { top: FAILURES.top + FAILURES.height + 26, lane: 18, bar: 12 };
const BIN_MS = 500;
const TICK_MS = 5000;

/** The file to write: a temporary one, or with --write the README's picture, which is in the repository. */
export function pictureFile(args: readonly string[]): string {
  return args.includes('--write')
    ? join(__dirname, '../docs/images/application.svg')
    : join(mkdtempSync(join(tmpdir(), 'momento-key-rotator-')), 'application.svg');
}

/** Draws requests, failures and the lifetimes of the keys on one time axis, as SVG. */
export function draw({ endedAt, requests, keys }: Story): string {
  const x = (ms: number): number =>
    round(MARGIN.left + (ms / endedAt) * (WIDTH - MARGIN.left - MARGIN.right));
  const floor = KEYS.top + keys.length * KEYS.lane + 6;
  const failed = requests.filter((request) => request.failed);
  const swaps = keys.slice(1).flatMap(({ used }) => used?.from ?? []);

  const perSecond = Math.round((requests.length * 1000) / endedAt);

  /** One bar for each bin. Its height shows the number of requests. */
  const bars = (kind: string, all: Story['requests'], row: typeof RATE): string[] => {
    const bins = binned(all, endedAt);
    const most = Math.max(1, ...bins);
    return bins.flatMap((count, index) => {
      if (count === 0) return [];
      const height = round((count / most) * row.height);
      const from = x(index * BIN_MS);
      const width = round(x(Math.min((index + 1) * BIN_MS, endedAt)) - from - 1);
      return rect(kind, from, row.top + row.height - height, width, height);
    });
  };

  const lanes = keys.flatMap(({ name, issuedAt, used, revokedAt }, index) => {
    const top = KEYS.top + index * KEYS.lane;
    const end = revokedAt ?? endedAt;
    return [
      label(name, top + KEYS.bar - 2),
      rect('good', x(issuedAt), top, x(end) - x(issuedAt), KEYS.bar),
      ...(used ? [rect('used', x(used.from), top, x(used.until) - x(used.from), KEYS.bar)] : []),
      ...(revokedAt === undefined ? [] : [text('end', x(end) + 3, top + KEYS.bar - 2, '×')]),
    ];
  });
  const ticks = Array.from({ length: Math.floor(endedAt / TICK_MS) + 1 }, (_, n) => n * TICK_MS);

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${floor + 24}" role="img">`,
    '<title>An application while its key is rotated</title>',
    `<desc>${requests.length} requests, ${failed.length} failed, ${keys.length} keys.</desc>`,
    STYLE,
    rect('paper', 0, 0, WIDTH, floor + 24),
    text('legend', MARGIN.left, 16, LEGEND),
    ...swaps.map((ms) => line('swap', x(ms), RATE.top, floor)),
    label('requests', RATE.top + 10),
    label(`${perSecond} a second`, RATE.top + 24),
    ...bars('request', requests, RATE),
    label(`${failed.length} failed`, FAILURES.top + FAILURES.height - 2),
    ...bars('failure', failed, FAILURES),
    rect('base', x(0), FAILURES.top + FAILURES.height, x(endedAt) - x(0), 1),
    ...lanes,
    rect('base', x(0), floor, x(endedAt) - x(0), 1),
    ...ticks.map((ms) => text('tick', x(ms), floor + 16, `${ms / 1000} s`)),
    '</svg>',
    '',
  ].join('\n');
}

const LEGEND =
  'Each bar below is a key: light while Momento accepts it, dark while the application uses it, × when it is revoked.';

const STYLE = `<style>
text { font: 11px system-ui, sans-serif; fill: #333 }
.label { text-anchor: end } .tick { text-anchor: middle } .end { font-weight: bold; fill: #b3261e }
.paper { fill: #fff } .base { fill: #999 } .swap { stroke: #ccc; stroke-dasharray: 2 3 }
.request { fill: #8fb3d9 } .failure { fill: #b3261e } .good { fill: #cfe3d4 } .used { fill: #2e7d4f }
</style>`;

function binned(requests: Story['requests'], endedAt: number): number[] {
  const bins = Array.from({ length: Math.ceil(endedAt / BIN_MS) }, () => 0);
  for (const { at } of requests) {
    const bin = Math.min(Math.floor(at / BIN_MS), bins.length - 1);
    bins[bin] = (bins[bin] ?? 0) + 1;
  }
  return bins;
}

function rect(kind: string, x: number, y: number, width: number, height: number): string {
  return `<rect class="${kind}" x="${x}" y="${round(y)}" width="${round(width)}" height="${height}"/>`;
}

function line(kind: string, x: number, from: number, to: number): string {
  return `<line class="${kind}" x1="${x}" y1="${from}" x2="${x}" y2="${to}"/>`;
}

/** A label in the left margin. */
function label(content: string, y: number): string {
  return text('label', MARGIN.left - 8, y, content);
}

function text(kind: string, x: number, y: number, content: string): string {
  return `<text class="${kind}" x="${x}" y="${y}">${content}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
