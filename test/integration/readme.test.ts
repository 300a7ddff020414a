/** What the README says is checked against what is: a reader acts on it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseConfig } from '../../src/config';
import { ERROR_CODES, RotationError } from '../../src/errors';
import { variablesRead } from './variables';

const root = resolve(__dirname, '../..');
const read = (path: string): string => readFileSync(resolve(root, path), 'utf8');
const readme = read('README.md');

function section(title: string): string {
  return readme.split(/^## /m).find((text) => text.startsWith(`${title}\n`)) ?? '';
}

/** The cells of the rows of a section's table, of which the first is in backquotes. */
function rows(title: string): string[][] {
  return [...section(title).matchAll(/^\| `(.*) \|$/gm)].map(([, row = '']) =>
    row.split(' | ').map((cell) => cell.replaceAll('`', '')),
  );
}

/** Leaves of an output only what is the same in every run. */
function steady(output: string): string {
  return output
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d/g, 'TIME')
    .replaceAll(/\b[0-9a-f]{8}\b/g, 'FINGERPRINT')
    .trim();
}

describe('the README', () => {
  test('has a line in the runbook for every error code, with its status and whether it is retried', () => {
    const told = rows('Runbook').map(([code, status, retry]) => [code, status, retry]);
    const real = ERROR_CODES.map((code) => {
      const error = new RotationError(code, '');
      const status = code === 'CONFIGURATION_INVALID' ? 'no start' : String(error.status);
      return [code, status, error.retryable ? 'yes' : 'no'];
    });
    expect(told).toEqual(expect.arrayContaining(real));
    expect(told).toHaveLength(real.length);
  });

  test('names every variable that the function reads, and no other', () => {
    const asked = variablesRead();
    expect(rows('Configuration').map(([name]) => name)).toEqual(expect.arrayContaining(asked));
    expect(rows('Configuration')).toHaveLength(asked.length);
  });

  test('tells the defaults that are in force', () => {
    const { policy, verify, timeoutMs } = parseConfig({ SECRETS: 'projects/p/secrets/s' });
    const told = Object.fromEntries(rows('Configuration')) as Record<string, string>;
    expect(told).toMatchObject({
      GRACE_PERIOD: String(policy.gracePeriodMs),
      VERIFY: String(verify),
      TIMEOUT: `${timeoutMs / 1000}s`,
    });
    expect(policy).toEqual({ gracePeriodMs: 0 });
  });

  test('lists the outcomes that there are', () => {
    const [, union = ''] = /type Outcome =([^;]*);/.exec(read('src/rotation.ts')) ?? [];
    const real = [...union.matchAll(/'(\w+)'/g)].map(([, outcome]) => outcome);
    expect(rows('HTTP').map(([outcome]) => outcome)).toEqual(real);
  });

  test('calls only scripts that are there', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const called = [...readme.matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name);
    expect(called).not.toHaveLength(0);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(called));
  });

  test('links to files and headings that are there', () => {
    const targets = [...readme.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(
      ([, target = '']) => target,
    );
    const headings = [...readme.matchAll(/^##+ (.*)$/gm)].map(
      ([, title = '']) =>
        `#${title
          .toLowerCase()
          .replaceAll(/[^\w\s-]/g, '')
          .replaceAll(' ', '-')}`,
    );
    const missing = targets.filter((target) =>
      target.startsWith('#') ? !headings.includes(target) : !existsSync(resolve(root, target)),
    );
    expect(missing).toEqual([]);
  });

  test('shows the true output of the demo', () => {
    const [, shown = ''] = /```text\n(.*?)```/s.exec(readme) ?? [];
    const real = execFileSync(process.execPath, ['--import', 'tsx', 'scripts/demo.ts'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(steady(shown)).toBe(steady(real));
  });
});
