/** Compares the documentation with the code. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/config';
import { CHECKED_SETTINGS } from '../../src/config/environment';
import { ERROR_CODES, RotationError } from '../../src/errors';
import { REFRESH_PATH } from '../../src/momento/key-api';
import { ANSWER_RESERVE, ISSUE_RESERVE } from '../../src/rotation/deadlines';
import { OUTCOMES } from '../../src/rotation/result';
import { variablesRead } from './variables';

const root = resolve(__dirname, '../..');
const read = (path: string): string => readFileSync(resolve(root, path), 'utf8');
const readme = read('README.md');
const PAGES = [
  'README.md',
  ...globSync(['docs/*.md', '.github/*.md', 'examples/*/README.md'], { cwd: root }),
];

function section(title: string): string {
  return readme.split(/^## /m).find((text) => text.startsWith(`${title}\n`)) ?? '';
}

/** What a page's headings are linked by. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^##+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** The cells of the rows of a text's tables, of which the first is in backquotes. */
function rows(text: string): string[][] {
  return [...text.matchAll(/^\| `(.*) \|$/gm)].map(([, row = '']) =>
    row.split(' | ').map((cell) => cell.replaceAll('`', '')),
  );
}

/** Leaves of an output only what is the same in every run. */
function steady(output: string): string {
  return output
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d/g, 'TIME')
    .replaceAll(/\b([0-9a-f]{16}|[0-9a-f]{8})\b/g, 'FINGERPRINT')
    .trim();
}

describe('the README', () => {
  test('has a line in the runbook for every error code, with its status and whether it is retried', () => {
    const told = rows(read('docs/runbook.md')).map(([code, status, retry]) => [
      code,
      status,
      retry,
    ]);
    const real = ERROR_CODES.map((code) => {
      const error = new RotationError(code, { problem: '', action: '' });
      const status = code === 'CONFIGURATION_INVALID' ? 'no start' : String(error.status);
      return [code, status, error.retryable ? 'yes' : 'no'];
    });
    expect(told).toEqual(expect.arrayContaining(real));
    expect(told).toHaveLength(real.length);
  });

  test('has a line in the runbook for every alert', () => {
    const alerts = [
      ...read('terraform/modules/monitoring/alerts.tf').matchAll(/^ {6}title += "(.*)"$/gm),
    ].map(([, title]) => title);
    const told = [...read('docs/runbook.md').matchAll(/^\| _(.*?)_ \|/gm)].map(([, name]) => name);
    expect(alerts).toHaveLength(6);
    expect(told.toSorted()).toEqual(alerts.toSorted());
  });

  test('names every variable that the function reads, and no other', () => {
    const asked = variablesRead();
    expect(rows(section('Configuration')).map(([name]) => name)).toEqual(
      expect.arrayContaining(asked),
    );
    expect(rows(section('Configuration'))).toHaveLength(asked.length);
  });

  test('names the settings of the system and of libraries that matter', () => {
    for (const name of [...CHECKED_SETTINGS, 'https_proxy', 'no_proxy']) {
      expect(section('Configuration')).toContain(`\`${name}`);
    }
  });

  test('tells the defaults that are in force', () => {
    const { policy, timeoutMs } = parseConfig({ SECRETS: 'projects/p/secrets/s' });
    const told = Object.fromEntries(rows(section('Configuration'))) as Record<string, string>;
    expect(told).toMatchObject({
      GRACE_PERIOD: String(policy.gracePeriodMs),
      VERIFY: String(policy.verify),
      REVOKE: String(policy.revoke),
      MOMENTO_REFRESH_PATH: REFRESH_PATH,
      TIMEOUT: `${timeoutMs / 1000}s`,
    });
    expect(policy).toEqual({ gracePeriodMs: 0, verify: true, revoke: false });
  });

  test('tells the deadlines that are in force', () => {
    const seconds = (ms: number) => String(ms / 1000);
    expect(section('Configuration')).toContain(
      `A run ends ${seconds(ANSWER_RESERVE)} s before it, and issues no key in the last ` +
        `${seconds(ANSWER_RESERVE + ISSUE_RESERVE)} s`,
    );
  });

  test('lists the outcomes that there are', () => {
    expect(rows(section('HTTP')).map(([outcome]) => outcome)).toEqual([...OUTCOMES]);
  });

  test.each(PAGES)('%s calls only scripts that are there', (page) => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const called = [...read(page).matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(
      ([, name]) => name,
    );
    if (page === 'README.md') expect(called).not.toHaveLength(0);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(called));
  });

  test.each(PAGES)('%s links to files and headings that are there', (page) => {
    const targets = [...read(page).matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(
      ([, target = '']) => target,
    );
    const missing = targets.filter((target) => {
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? page : join(dirname(page), file);
      const isThere = existsSync(resolve(root, path));
      return !isThere || (anchor !== undefined && !anchorsOf(read(path)).includes(anchor));
    });
    expect(missing).toEqual([]);
  });

  test('has configurations for the way with gcloud that the function accepts', () => {
    const [minted = '', refreshed = '', common = ''] = [
      ...read('docs/gcloud.md').matchAll(/env\.yaml <<END\n(.*?)^END$/gms),
    ].map(([, text = '']) => text.replaceAll('$PROJECT', 'p').replace('ROLE_ID', 'r-abcdefg'));
    for (const text of [minted, refreshed]) {
      const env = parse(text + common) as Record<string, string>;
      expect(Object.values(env).filter((value) => typeof value !== 'string')).toEqual([]);
      expect(parseConfig(env)).toMatchObject({
        secrets: [{ name: 'projects/p/secrets/momento-api-key' }],
      });
    }
    expect(parse(minted)).toMatchObject({ REVOKE: 'true' });
  });

  test("has a call in the application's page that compiles", () => {
    const [, shown = ''] = /```ts\n(.*?)```/s.exec(read('examples/application/README.md')) ?? [];
    const config = ts.getParsedCommandLineOfConfigFile(
      resolve(root, 'examples/application/tsconfig.json'),
      { noUnusedLocals: false },
      { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
    );
    const file = resolve(root, 'examples/application/shown.ts');
    const host = ts.createCompilerHost(config?.options ?? {});
    const program = ts.createProgram([file], config?.options ?? {}, {
      ...host,
      getSourceFile: (path, version) =>
        path === file
          ? ts.createSourceFile(path, shown, version)
          : host.getSourceFile(path, version),
    });
    const problems = ts
      .getPreEmitDiagnostics(program, program.getSourceFile(file))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
    expect(shown).toContain('new RotatingCacheClient');
    expect(problems).toEqual([]);
  });

  test('shows the true output of the demo', () => {
    const [, shown = ''] = /```text\n(.*?)```/s.exec(readme) ?? [];
    const real = execFileSync(process.execPath, ['--import', 'tsx', 'tools/demo.ts'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(steady(shown)).toBe(steady(real));
  });
});
