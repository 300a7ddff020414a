/** What GitHub runs is not run here. So it is read, and held against what the project promises. */
import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse } from 'yaml';

interface Step {
  uses?: string;
  run?: string;
  with?: Record<string, unknown>;
}

interface Job {
  permissions?: Record<string, string>;
  uses?: string;
  needs?: string;
  steps?: Step[];
  strategy?: { matrix: Record<string, string[]> };
  'timeout-minutes'?: number;
}

interface Workflow {
  permissions?: Record<string, string>;
  jobs: Record<string, Job>;
}

const root = resolve(__dirname, '../..');
const read = (path: string): string => readFileSync(resolve(root, path), 'utf8');
const PATHS = globSync('.github/workflows/*.yml', { cwd: root });
const workflow = (path: string): Workflow => parse(read(path)) as Workflow;
const jobs = PATHS.flatMap((path) =>
  Object.entries(workflow(path).jobs).map(([name, job]) => [`${path} ${name}`, job] as const),
);

test('there are workflows', () => {
  expect(PATHS.sort()).toEqual(['.github/workflows/ci.yml', '.github/workflows/release.yml']);
});

test.each(PATHS)('%s names every action by its commit, and by the version that it is', (path) => {
  const uses = [...read(path).matchAll(/uses: (.*)$/gm)].map(([, action = '']) => action);
  const foreign = uses.filter((action) => !action.startsWith('./'));
  expect(foreign).not.toHaveLength(0);
  for (const action of foreign) {
    expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  }
});

test.each(PATHS)('%s gives a job nothing that it does not name', (path) => {
  expect(workflow(path).permissions).toEqual({});
});

test.each(jobs)('%s may read, and no more', (name, { permissions, steps = [], ...job }) => {
  if (name.endsWith('release.yml publish')) return;
  expect(permissions).toEqual({ contents: 'read' });
  if (job.uses === undefined) expect(job['timeout-minutes']).toBeGreaterThan(0);
  for (const step of steps.filter(({ uses }) => uses?.startsWith('actions/checkout@'))) {
    expect(step.with).toMatchObject({ 'persist-credentials': false });
  }
});

test('the job that publishes runs nothing of this project', () => {
  const { permissions, steps = [] } = workflow('.github/workflows/release.yml').jobs.publish ?? {};
  expect(permissions).toEqual({
    contents: 'write',
    'id-token': 'write',
    attestations: 'write',
  });
  expect(steps.map(({ uses = 'run' }) => uses.replace(/@.*/, ''))).toEqual([
    'actions/download-artifact',
    'actions/attest-build-provenance',
    'run',
  ]);
  expect(steps.at(-1)?.run).toMatch(/^gh release create [^\n;&|]*$/);
});

test('nothing is released that was not tested', () => {
  const { test, build, publish } = workflow('.github/workflows/release.yml').jobs;
  expect(test?.uses).toBe('./.github/workflows/ci.yml');
  expect([build?.needs, publish?.needs]).toEqual(['test', 'build']);
});

test.each(jobs)('%s puts nothing into a command that the shell would read', (_name, { steps }) => {
  for (const { run = '' } of steps ?? []) expect(run).not.toContain('${{');
});

test.each(jobs)('%s calls only scripts that are there', (_name, { steps }) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const called = (steps ?? []).flatMap(({ run = '' }) =>
    [...run.matchAll(/npm run ([\w:-]+)/g)].map(([, script]) => script),
  );
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(called));
});

test('what is claimed to work is what is tried', () => {
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
  const {
    everything,
    'oldest-node': oldest,
    terraform,
  } = workflow('.github/workflows/ci.yml').jobs;
  const [, toInstall] = /Node (\d+) or newer with npm/.exec(read('README.md')) ?? [];
  expect(everything?.steps?.map((step) => step.with?.['node-version'])).toContain(
    Number(toInstall),
  );

  const oldestNode = Number(/^>=(\d+)$/.exec(engines.node)?.[1]);
  expect(oldest?.steps).toContainEqual({ run: `npm install --no-save node@${oldestNode}` });

  const versions = read('terraform/versions.tf');
  const [, oldestTerraform] = /required_version = ">= ([\d.]+)"/.exec(versions) ?? [];
  const [, from = '', before = ''] = /version = ">= ([\d.]+), < (\d+)"/.exec(versions) ?? [];
  expect(terraform?.strategy?.matrix).toMatchObject({
    terraform: [`~${oldestTerraform ?? ''}`, 'latest'],
    google: [`~> ${from}`, `~> ${Number(before) - 1}.0`],
  });
});

test('a bot looks after everything that has versions', () => {
  const { updates } = parse(read('.github/dependabot.yml')) as {
    updates: { 'package-ecosystem': string; directory?: string; directories?: string[] }[];
  };
  expect(updates.map((update) => update['package-ecosystem'])).toEqual([
    'npm',
    'github-actions',
    'terraform',
  ]);
  const watched = (ecosystem: string): string[] =>
    updates
      .filter((update) => update['package-ecosystem'] === ecosystem)
      .flatMap(({ directories = [] }) =>
        directories.flatMap((glob) =>
          glob === '/' ? ['.'] : globSync(glob.slice(1), { cwd: root }),
        ),
      );
  const foldersOf = (...globs: string[]): string[] =>
    globSync(globs, { cwd: root }).map(
      (file) => resolve(root, file, '..').slice(root.length + 1) || '.',
    );
  expect(watched('npm')).toEqual(
    expect.arrayContaining(foldersOf('package.json', 'examples/*/package.json')),
  );
  expect(watched('terraform')).toEqual(
    expect.arrayContaining(foldersOf('terraform/versions.tf', 'terraform/examples/*/main.tf')),
  );
});
