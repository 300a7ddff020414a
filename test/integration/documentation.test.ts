/** Compares the documentation with the code. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/config';
import { CHECKED_SETTINGS } from '../../src/config/variables';
import { ERROR_CODES, RotationError } from '../../src/errors';
import { parseOperatorRequest, parseRequest } from '../../src/http/request';
import { REFRESH_PATH } from '../../src/momento/key-api';
import { TIME_TO_ANSWER, TIME_TO_ISSUE_AND_ADD } from '../../src/rotation/deadlines';
import { OUTCOMES } from '../../src/rotation/result';
import { parseSecretName } from '../../src/secret-name';
import { variablesRead } from './variables';

const root = resolve(__dirname, '../..');
const read = (path: string): string => readFileSync(resolve(root, path), 'utf8');
const PAGES = [
  'README.md',
  'CHANGELOG.md',
  ...globSync(
    [
      'docs/**/*.md',
      '.github/*.md',
      'terraform/*.md',
      'examples/*/README.md',
      'packages/*/README.md',
    ],
    { cwd: root },
  ),
];

/** The anchors of a page's headings, as GitHub makes them. */
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

/** Replaces the parts of an output that differ from run to run. */
function steady(output: string): string {
  return output
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d/g, 'TIME')
    .replaceAll(/\b([0-9a-f]{16}|[0-9a-f]{8})\b/g, 'FINGERPRINT')
    .trim();
}

describe('the documentation', () => {
  const configuration = read('docs/reference/configuration.md');

  test('has an entry for every error code, in alphabetical order, with its status', () => {
    const entries = [
      ...read('docs/operate/error-codes.md').matchAll(
        /^## (.*)\n\n`([A-Z_]+)` · (?:status )?(\d+|no start|status\nno start) · (not\s)?retryable/gm,
      ),
    ].map(([, title = '', code = '', status, not]) => ({ title, code, status, retryable: !not }));
    const expected = ERROR_CODES.toSorted().map((code) => {
      const error = new RotationError(code, { problem: '', action: '' });
      return {
        title: code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' '),
        code,
        status: code === 'CONFIGURATION_INVALID' ? 'no start' : String(error.status),
        retryable: error.retryable,
      };
    });
    expect(entries).toEqual(expected);
  });

  test('has no error code that the rotator never throws, or that no test expects', () => {
    const textOf = (...patterns: string[]): string =>
      globSync(patterns, { cwd: root }).map(read).join('\n');
    const thrower = textOf('src/**/!(errors).ts', 'src/*/errors.ts');
    const expected = textOf('test/{unit,integration}/**/!(documentation).test.ts');
    expect(ERROR_CODES.filter((code) => !thrower.includes(`'${code}'`))).toEqual([]);
    expect(ERROR_CODES.filter((code) => !expected.includes(code))).toEqual([]);
  });

  test('has a line in the runbook for every alert', () => {
    const alerts = [
      ...read('terraform/modules/monitoring/alerts.tf').matchAll(/^ {6}title += "(.*)"$/gm),
    ].map(([, title]) => title);
    const told = [...read('docs/operate/runbook.md').matchAll(/^\| _(.*?)_ \|/gm)].map(
      ([, name]) => name,
    );
    expect(alerts).toHaveLength(6);
    expect(told.toSorted()).toEqual(alerts.toSorted());
  });

  test('names every variable that the function reads, and no other', () => {
    const [table = ''] = configuration.split('## Secrets');
    expect(
      rows(table)
        .map(([name]) => name)
        .toSorted(),
    ).toEqual(variablesRead().toSorted());
  });

  test('names the settings of the system and of libraries that matter', () => {
    for (const name of [...CHECKED_SETTINGS, 'https_proxy', 'no_proxy']) {
      expect(configuration).toContain(`\`${name}`);
    }
  });

  test('has the defaults of the configuration', () => {
    const { policy, timeoutMs } = parseConfig({ SECRETS: 'projects/p/secrets/s' });
    expect(Object.fromEntries(rows(configuration))).toMatchObject({
      GRACE_PERIOD: String(policy.gracePeriodMs),
      VERIFY: String(policy.verify),
      REVOKE: String(policy.revoke),
      MOMENTO_REFRESH_PATH: REFRESH_PATH,
      TIMEOUT: `${timeoutMs / 1000}s`,
    });
    expect(policy).toEqual({ gracePeriodMs: 0, verify: true, revoke: false });
  });

  test("has Terraform's names and defaults of the same settings", () => {
    const inTerraform = new Map(
      rows(read('terraform/README.md').split('## Outputs')[0] ?? '').map(([name, ...cells]) => [
        name,
        /^[a-z]+\./.test(name ?? '') ? cells[0] : cells[2],
      ]),
    );
    const [table = ''] = configuration.split('## Secrets');
    const settings = rows(table).filter(([, , name]) => name !== '–');
    expect(settings.map(([, , name, value]) => [name, value])).toEqual(
      settings.map(([, , name]) => [name, inTerraform.get(name)]),
    );
    expect(settings.length).toBeGreaterThan(9);
  });

  test('has the deadlines of a run', () => {
    const seconds = (ms: number) => String(ms / 1000);
    expect(configuration).toContain(
      `A run ends ${seconds(TIME_TO_ANSWER)} s before it, and issues no key in the last ` +
        `${seconds(TIME_TO_ANSWER + TIME_TO_ISSUE_AND_ADD)} s`,
    );
  });

  test('lists the outcomes', () => {
    const [, table = ''] =
      /\n(\| outcome \|.*?)\n\n/s.exec(read('docs/reference/requests.md')) ?? [];
    expect(rows(table).map(([outcome]) => outcome)).toEqual([...OUTCOMES]);
  });

  test.each(PAGES)('%s has at most 250 lines, and the README at most 150', (page) => {
    expect(read(page).split('\n').length - 1).toBeLessThanOrEqual(page === 'README.md' ? 150 : 250);
  });

  test.each(PAGES)('%s calls only scripts that are there', (page) => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const called = [...read(page).matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(
      ([, name]) => name,
    );
    if (page === 'README.md') expect(called).not.toHaveLength(0);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(called));
    const files = [...read(page).matchAll(/\b(?:npx tsx|node) ([\w/-]+\.\w+)/g)].map(
      ([, file = '']) => file,
    );
    const missing = files.filter(
      (file) =>
        ![root, resolve(root, dirname(page))].some((folder) => existsSync(resolve(folder, file))),
    );
    expect(missing).toEqual([]);
  });

  test.each(PAGES)('%s names only outputs and variables that Terraform has', (page) => {
    const modules = ['terraform', ...globSync('terraform/examples/*', { cwd: root })];
    const text = modules
      .flatMap((folder) => globSync(`${folder}/*.tf`, { cwd: root }))
      .map(read)
      .join('\n');
    const named = (pattern: RegExp): string[] =>
      [...read(page).matchAll(pattern)].map(([, name = '']) => name);
    const outputs = named(/terraform output (?:-raw |-json )?(\w+)/g);
    const variables = named(/-var '?(\w+)=/g);
    expect(outputs.filter((name) => !text.includes(`output "${name}"`))).toEqual([]);
    expect(variables.filter((name) => !text.includes(`variable "${name}"`))).toEqual([]);
    if (page === 'README.md') expect(outputs.length * variables.length).toBeGreaterThan(0);
  });

  test('has only commands in the README that CI runs, plans or validates', () => {
    const commands = [...read('README.md').matchAll(/^ *```sh\n(.*?)^ *```/gms)].flatMap(
      ([, block = '']) => block.trim().split(/\n *| && /),
    );
    const [, tried = ''] = /## Try it.*?```sh\n(.*?)```/s.exec(read('README.md')) ?? [];
    const isChecked = (command: string): boolean =>
      tried.split('\n').includes(command) ||
      /^terraform (init|output|apply)\b/.test(command) ||
      (command.startsWith('cd ') && existsSync(resolve(root, command.slice(3)))) ||
      command.startsWith('gcloud ');
    expect(commands.filter((command) => !isChecked(command))).toEqual([]);
    expect(tried).toBe('npm ci\nnpm run demo\n');
    expect(read('.ci/run')).toMatch(/check 'README, try it' .*README\.md/);
  });

  test('has examples of requests that the function accepts', () => {
    const page = read('docs/reference/requests.md');
    const configured = [
      parseSecretName('projects/p/secrets/momento-api-key'),
      parseSecretName('projects/p/secrets/S'),
    ]
      .filter((name) => name !== undefined)
      .map((name) => ({ ...name, payload: 'json' as const }));
    const [, body = ''] = /```json\n(.*?)```/s.exec(page) ?? [];
    expect(parseRequest(Buffer.from(body), configured, 0)).toMatchObject({ kind: 'rotate' });
    const messages = [
      ...[...page.matchAll(/^\| `(\{.*?\})` \|/gm)].map(([, text = '']) => text),
      ...[...page.matchAll(/--message='(.*?)'/g)].map(([, text = '']) => text),
    ];
    expect(messages.length).toBeGreaterThanOrEqual(5);
    for (const message of messages) {
      expect(parseOperatorRequest(Buffer.from(message), configured, 0)).toHaveProperty('kind');
    }
  });

  test('has valid JSON in every example', () => {
    for (const page of PAGES) {
      const blocks = [...read(page).matchAll(/^ *```json\n(.*?)^ *```/gms)];
      for (const [, block = ''] of blocks) expect(() => JSON.parse(block) as unknown).not.toThrow();
    }
  });

  test('has a line of the log with the fields of the code', () => {
    const [, block = ''] =
      /```json\n(.*?)```/s.exec(read('docs/reference/logs-and-metrics.md')) ?? [];
    const code = [
      'src/http/log-lines.ts',
      'src/rotation/result.ts',
      'src/rotation/run.ts',
      'src/log.ts',
    ]
      .map(read)
      .join('\n');
    const { steps, ...fields } = JSON.parse(block) as { steps: object };
    const names = [...Object.keys(fields), ...Object.keys(steps)];
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(code))).toEqual([]);
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
      ...read('docs/deploy-gcloud.md').matchAll(/env\.yaml <<END\n(.*?)^END$/gms),
    ].map(([, text = '']) => text.replaceAll('$PROJECT', 'p').replace('ROLE_ID', 'r-abcdefg'));
    const [key, managementKey] = ['momento-api-key', 'momento-management-key'].map((id) => ({
      name: `projects/p/secrets/${id}`,
    }));
    for (const [text, secrets] of [
      [minted, [key, managementKey]],
      [refreshed, [key]],
    ] as const) {
      const env = parse(text + common) as Record<string, string>;
      expect(Object.values(env).filter((value) => typeof value !== 'string')).toEqual([]);
      expect(parseConfig(env)).toMatchObject({ secrets });
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

  test('shows lines of the demo that the demo prints', () => {
    const real = execFileSync(process.execPath, ['--import', 'tsx', 'tools/demo.ts'], {
      cwd: root,
      encoding: 'utf8',
    });
    const excerpts = ['README.md', 'docs/operate/incident-response.md'].map(
      (page) => /```text\n(\d\. .*?)```/s.exec(read(page))?.[1] ?? '',
    );
    for (const excerpt of excerpts) {
      expect(excerpt).not.toBe('');
      expect(steady(real)).toContain(steady(excerpt));
    }
  });
});
