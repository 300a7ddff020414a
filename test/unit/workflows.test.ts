/** Tests can't run GitHub's workflows, so they read them. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
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

test('finds the two workflows', () => {
  expect(PATHS.sort()).toEqual(['.github/workflows/ci.yml', '.github/workflows/release.yml']);
});

test.each(PATHS)('%s names the commit and the version of every action', (path) => {
  const uses = [...read(path).matchAll(/uses: (.*)$/gm)].map(([, action = '']) => action);
  const foreign = uses.filter((action) => !action.startsWith('./'));
  expect(foreign).not.toHaveLength(0);
  for (const action of foreign) {
    expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  }
});

test.each(PATHS)('%s gives jobs no permissions by default', (path) => {
  expect(workflow(path).permissions).toEqual({});
});

test.each(jobs)('%s has permission to read only', (name, { permissions, steps = [], ...job }) => {
  if (name.endsWith('release.yml publish')) return;
  expect(permissions).toEqual({ contents: 'read' });
  if (job.uses === undefined) expect(job['timeout-minutes']).toBeGreaterThan(0);
  for (const step of steps.filter(({ uses }) => uses?.startsWith('actions/checkout@'))) {
    expect(step.with).toMatchObject({ 'persist-credentials': false });
  }
});

test('the job that publishes runs no code of this project', () => {
  const { permissions, steps = [] } = workflow('.github/workflows/release.yml').jobs.publish ?? {};
  const allowed = { contents: 'write', 'id-token': 'write', attestations: 'write' };
  expect(permissions).toEqual(allowed);
  expect(steps.map(({ uses = 'run' }) => uses.replace(/@.*/, ''))).toEqual([
    'actions/download-artifact',
    'actions/attest-build-provenance',
    'run',
  ]);
  expect(steps.at(-1)?.run).toMatch(/^gh release create [^\n;&|]*$/);
});

test('tests a release before it publishes it', () => {
  const { test, build, publish } = workflow('.github/workflows/release.yml').jobs;
  expect(test?.uses).toBe('./.github/workflows/ci.yml');
  expect([build?.needs, publish?.needs]).toEqual(['test', 'build']);
});

test.each(jobs)('%s inserts no expression into a command', (_name, { steps }) => {
  for (const { run = '' } of steps ?? []) expect(run).not.toContain('${{');
});

test.each(jobs)('%s calls only scripts of package.json', (_name, { steps }) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const called = (steps ?? []).flatMap(({ run = '' }) =>
    [...run.matchAll(/npm run ([\w:-]+)/g)].map(([, script]) => script),
  );
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(called));
});

test('tests the versions of Node.js and Terraform that the project supports', () => {
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
  const { jobs } = workflow('.github/workflows/ci.yml');
  const { everything, 'oldest-node': oldest, terraform } = jobs;
  const [, toInstall] = /Node (\d+) or newer with npm/.exec(read('README.md')) ?? [];
  const tested = everything?.steps?.map((step) => step.with?.['node-version']);
  expect(tested).toContain(Number(toInstall));

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

test('Dependabot updates every package, workflow and Terraform module', () => {
  const { updates } = parse(read('.github/dependabot.yml')) as {
    updates: { 'package-ecosystem': string; directory?: string; directories?: string[] }[];
  };
  const ecosystems = updates.map((update) => update['package-ecosystem']);
  expect(ecosystems).toEqual(['npm', 'github-actions', 'terraform']);
  const expand = (glob: string): string[] =>
    glob === '/' ? ['.'] : globSync(glob.slice(1), { cwd: root });
  const watched = (ecosystem: string): string[] =>
    updates
      .filter((update) => update['package-ecosystem'] === ecosystem)
      .flatMap(({ directories = [] }) => directories.flatMap(expand));
  const foldersOf = (...globs: string[]): string[] =>
    globSync(globs, { cwd: root }).map((file) => dirname(file));
  const packages = foldersOf('package.json', 'examples/*/package.json');
  expect(watched('npm')).toEqual(expect.arrayContaining(packages));
  const modules = foldersOf('terraform/versions.tf', 'terraform/examples/*/main.tf');
  expect(watched('terraform')).toEqual(expect.arrayContaining(modules));
});
