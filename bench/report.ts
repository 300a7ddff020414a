import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { resolve } from 'node:path';
import { ROOT } from './function';

/** One line of the table. */
export interface Measurement {
  readonly name: string;
  readonly unit: string;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Undefined if the figure is only for comparison. */
  readonly goal?: string;
  readonly met?: boolean;
}

/** The machine and the versions of this run. */
export function environment(): Record<string, string> {
  const [cpu] = cpus();
  const versions = [
    '@google-cloud/functions-framework',
    '@google-cloud/secret-manager',
    '@gomomento/sdk',
    '@grpc/grpc-js',
    'esbuild',
  ].map((name) => `${name} ${versionOf(resolve(ROOT, 'node_modules', name))}`);
  return {
    date: new Date().toISOString(),
    commit: commit(),
    machine: `${cpus().length} x ${cpu?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}`,
    load: `${loadavg()[0]?.toFixed(1)} at the start`,
    node: process.version,
    versions: versions.join(', '),
  };
}

/** Summarizes the figures of several runs. `isMet` gets their median, or the figure that `of` names. */
export function measurement(
  name: string,
  unit: string,
  figures: readonly number[],
  goal?: { text: string; isMet: (value: number) => boolean; of?: 'median' | 'max' },
): Measurement {
  const sorted = [...figures].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? NaN;
  const values = { min: at(0), median: at(0.5), max: at(1) };
  return {
    name,
    unit,
    ...values,
    ...(goal && { goal: goal.text, met: goal.isMet(values[goal.of ?? 'median']) }),
  };
}

/** Returns the duration of an action in ms. */
export async function timed(action: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}

export function table(measurements: readonly Measurement[]): string {
  const rows = [
    ['', 'min', 'median', 'max', '', 'goal', 'met'],
    ...measurements.map(({ name, unit, min, median, max, goal = '', met }) => [
      name,
      ...[min, median, max].map(figure),
      unit,
      goal,
      met === undefined ? '' : met ? 'yes' : 'NO',
    ]),
  ];
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const isNumber = (column: number): boolean => column >= 1 && column <= 3;
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths?.[column] ?? 0;
          return isNumber(column) ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function figure(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

function versionOf(folder: string): string {
  const { version } = JSON.parse(readFileSync(resolve(folder, 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const changed = git('status', '--porcelain') === '' ? '' : ' with changes';
    return git('rev-parse', '--short', 'HEAD').trim() + changed;
  } catch {
    return 'unknown';
  }
}
