/** Runs deploy.sh with stubs of gcloud, Terraform, curl and sleep: test/deploy/stub.sh. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

const root = resolve(__dirname, '../..');
const script = readFileSync(join(root, 'deploy.sh'), 'utf8');

const MANAGEMENT_KEY = 'eyJhbGciOiJIUzI1NiJ9.not-a-real.management-key';
const CREDENTIAL = JSON.stringify({ apiKey: 'not-a-real-key', refreshToken: 'not-a-real-token' });
const MINT = ['--role=r-abcdefg', '--yes'];
const REFRESH = ['--refresh', '--yes'];

const CTRL_C = '\x03';
const CTRL_D = '\x04';
const CTRL_Z = '\x1a';

const STUBBED = ['gcloud', 'terraform', 'curl', 'sleep'];
const SYSTEM = [
  ...[
    'bash',
    'cat',
    'cut',
    'dirname',
    'env',
    'grep',
    'head',
    'mv',
    'rm',
    'sed',
    'sort',
    'stty',
    'tr',
  ],
];
const found = (program: string): string =>
  spawnSync('bash', ['-c', `command -v ${program}`], { encoding: 'utf8' }).stdout.trim();
const PATHS = Object.fromEntries(SYSTEM.map((program) => [program, found(program)]));

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** A clone of the repository, and what the stubs read and write. */
class Clone {
  readonly folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  readonly settings = join(this.folder, 'terraform/terraform.tfvars');

  constructor() {
    for (const folder of ['terraform', 'bin', 'stub']) mkdirSync(join(this.folder, folder));
    copyFileSync(join(root, 'deploy.sh'), join(this.folder, 'deploy.sh'));
    for (const [name, path] of Object.entries(PATHS))
      symlinkSync(path, join(this.folder, 'bin', name));
    for (const name of STUBBED) this.link(name);
  }

  link(name: string): void {
    symlinkSync(join(root, 'test/deploy/stub.sh'), join(this.folder, 'bin', name));
  }

  unlink(name: string): void {
    rmSync(join(this.folder, 'bin', name));
  }

  /** Writes a file that changes the stubs' answers. */
  stub(file: string, ...lines: string[]): void {
    writeFileSync(join(this.folder, 'stub', file), lines.map((line) => `${line}\n`).join(''));
  }

  read(file: string): string {
    const path = join(this.folder, 'stub', file);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** The calls of the stubs since the last question. */
  calls(): string[] {
    const calls = this.read('calls').split('\n').slice(0, -1);
    this.stub('calls');
    return calls;
  }

  get environment(): Record<string, string> {
    return { PATH: join(this.folder, 'bin'), STUB: join(this.folder, 'stub'), HOME: this.folder };
  }

  async run(args: readonly string[], input = '', env: Record<string, string> = {}): Promise<Ended> {
    // The largest core dumps that the system allows.
    const command = 'ulimit -S -c hard; exec bash "$0" "$@"';
    const child = spawn('bash', ['-c', command, join(this.folder, 'deploy.sh'), ...args], {
      env: { ...this.environment, ...env },
      // A process group of its own, which the stub can interrupt.
      detached: true,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
    child.stdin.on('error', () => undefined).end(input);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output };
  }

  /** Runs it in a terminal. When it asks for a credential, types the input or sends the signal. */
  async type(args: readonly string[], input: string): Promise<Ended> {
    const run = `bash -c 'echo "pid $$"; exec bash "$0" "$@"' ${this.folder}/deploy.sh ${args.join(' ')}`;
    const command = `trap : INT; ${run}; echo "code $?"; stty -a`;
    const child = spawn(found('script'), ['-qec', command, '/dev/null'], {
      env: { ...this.environment, SHELL: PATHS.bash ?? '' },
    });
    let output = '';
    let interrupting: NodeJS.Timeout | undefined;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const asked = output.includes('Paste');
      output += text;
      if (!asked && output.includes('Paste')) {
        if (input === 'SIGTERM') process.kill(Number(/pid (\d+)/.exec(output)?.[1]), input);
        else child.stdin.write(input);
        // Bash loses a signal that arrives just before it reads. People press Ctrl-C again.
        if (input.endsWith(CTRL_C))
          interrupting = setInterval(() => child.stdin.write(CTRL_C), 200);
      }
      if (output.includes('Interrupted.')) clearInterval(interrupting);
    });
    await once(child, 'close');
    clearInterval(interrupting);
    return { code: Number(/code (\d+)/.exec(output)?.[1]), output };
  }
}

let clone: Clone;
beforeEach(() => {
  clone = new Clone();
});
afterEach(() => rmSync(clone.folder, { recursive: true }));

/** The calls that change something. */
const CHANGES = /^terraform -chdir=terraform (init|apply)|versions add|topics publish/;
const changes = (calls: string[]): string[] =>
  calls
    .filter((call) => CHANGES.test(call))
    .map((call) => call.replace('terraform -chdir=terraform', 'terraform').split(' --')[0] ?? '');

const ADD_MANAGEMENT_KEY = 'gcloud secrets versions add momento-management-key';
const PUBLISH =
  'gcloud pubsub topics publish projects/my-project/topics/momento-key-rotator-requests';

test('applies, stores the management key and rotates when keys are minted', async () => {
  const { code, output } = await clone.run(MINT, MANAGEMENT_KEY);
  expect(output).toMatch(
    /^ok: gcloud, curl and Terraform 1\.5\.7\nok: project my-project, account operator@/,
  );
  expect(output).toContain(
    "\nrotated projects/my-project/secrets/momento-management-key; newest version 2; forced\nAlerts don't",
  );
  expect(code).toBe(0);
  expect(changes(clone.calls())).toEqual([
    'terraform init -input=false',
    'terraform apply -auto-approve',
    ADD_MANAGEMENT_KEY,
    PUBLISH,
    PUBLISH,
  ]);
  expect(clone.read('versions')).toBe(MANAGEMENT_KEY);
  expect(readFileSync(clone.settings, 'utf8')).toBe(
    [
      'project_id = "my-project"',
      'region = "us-central1"',
      'management_key = {}',
      'rotation = { revoke = true }',
      'secrets = {',
      '  momento-api-key        = { role = "r-abcdefg", lifetime = "30d" }',
      '  momento-management-key = { lifetime = "90d" }',
      '}',
      '',
    ].join('\n'),
  );
});

test('stores the key with its refresh token when keys are refreshed', async () => {
  const { code } = await clone.run(['--region=europe-west1', ...REFRESH], CREDENTIAL);
  expect(code).toBe(0);
  expect(changes(clone.calls())).toContain('gcloud secrets versions add momento-api-key');
  expect(clone.read('versions')).toBe(CREDENTIAL);
  expect(readFileSync(clone.settings, 'utf8')).toBe(
    'project_id = "my-project"\nregion = "europe-west1"\n',
  );
});

test('stores and rotates nothing again when it runs a second time', async () => {
  await clone.run(MINT, MANAGEMENT_KEY);
  clone.calls();
  const { code, output } = await clone.run(['--yes'], 'eyJ-another-key');
  expect(code).toBe(0);
  expect(output).toContain('ok: projects/my-project/secrets/momento-management-key has a version');
  expect(changes(clone.calls())).toEqual([
    'terraform init -input=false',
    'terraform apply -auto-approve',
  ]);
  expect(clone.read('versions')).toBe(MANAGEMENT_KEY);
});

test('stores nothing when the first version is destroyed or disabled', async () => {
  clone.stub('answers', 'versions access 1=>!1 FAILED_PRECONDITION: it is in DESTROYED state.');
  const { code } = await clone.run(MINT, MANAGEMENT_KEY);
  expect(code).toBe(0);
  expect(changes(clone.calls())).not.toContain(ADD_MANAGEMENT_KEY);
});

test('uses the project and the location of each secret', async () => {
  const names = [
    'projects/other-project/secrets/a',
    'projects/my-project/locations/europe-west1/secrets/b',
  ];
  clone.stub('answers', `secret_names=>{"a":"${names[0]}","b":"${names[1]}"}`);
  await clone.run(REFRESH, CREDENTIAL);
  const calls = clone.calls();
  expect(calls).toContain('gcloud secrets versions access 1 --secret=a --project=other-project');
  expect(calls).toContain(
    'gcloud secrets versions access 1 --secret=b --project=my-project --location=europe-west1',
  );
});

test('follows the settings when they were edited by hand', async () => {
  const settings = [
    '  project_id   = "my-project" # not "other-project"',
    '  management_key  = { }',
    '# monitoring = { notification_channels = [] }',
  ];
  writeFileSync(clone.settings, settings.map((line) => `${line}\r\n`).join(''));
  clone.stub('answers', 'get-value project=>third-project');
  const { code, output } = await clone.run(['--yes'], MANAGEMENT_KEY);
  expect(output).toContain('ok: project my-project,');
  expect(output).toContain("Alerts don't notify anybody yet");
  expect(code).toBe(0);
  expect(changes(clone.calls())).toContain(ADD_MANAGEMENT_KEY);
});

test('mentions alerts when no alert has a channel', async () => {
  const alerts = 'alerts = { failed_job = { enabled = false } }, notification_channels = []';
  writeFileSync(clone.settings, `project_id = "my-project"\nmonitoring = { ${alerts} }\n`);
  const { output } = await clone.run(['--yes'], CREDENTIAL);
  expect(output).toContain("\nAlerts don't notify anybody yet");
});

test.each(['notification_channels = ["projects/p/notificationChannels/1"]', 'enabled = false'])(
  "doesn't mention alerts when the settings have %s",
  async (setting) => {
    writeFileSync(clone.settings, `project_id = "my-project"\nmonitoring = { ${setting} }\n`);
    const { code, output } = await clone.run(['--yes'], CREDENTIAL);
    expect(output).not.toContain('Alerts');
    expect(code).toBe(0);
  },
);

test('finds its folder when CDPATH is set', () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  const folder = basename(clone.folder);
  mkdirSync(join(elsewhere, folder));
  writeFileSync(clone.settings, 'project_id = "saved-project"\n');
  const { status, stdout } = spawnSync('bash', [`${folder}/deploy.sh`, '--check'], {
    env: { ...clone.environment, CDPATH: elsewhere },
    cwd: tmpdir(),
    encoding: 'utf8',
  });
  rmSync(elsewhere, { recursive: true });
  expect(stdout).toContain('ok: project saved-project,');
  expect(status).toBe(0);
});

test.each([
  ['a trailing newline', `${MANAGEMENT_KEY}\n`],
  ['spaces and Windows newlines', `  ${MANAGEMENT_KEY}\r\n\r\n`],
  ['JSON', JSON.stringify({ apiKey: MANAGEMENT_KEY, validUntil: 1 }, null, 2)],
])('stores a management key unchanged when it is pasted with %s', async (_name, input) => {
  expect((await clone.run(MINT, input)).code).toBe(0);
  expect(clone.read('versions')).toBe(input);
});

test.each([
  ['in quotes', `"${MANAGEMENT_KEY}"`],
  ['in typographic quotes', `“${MANAGEMENT_KEY}”`],
  ['of version 1', Buffer.from('{"endpoint":"e","api_key":"k"}').toString('base64')],
  ['twice', `${MANAGEMENT_KEY}\n${MANAGEMENT_KEY}`],
  ['in part', MANAGEMENT_KEY.slice(0, 25)],
])('stores nothing when a management key is pasted %s', async (_name, input) => {
  const { code, output } = await clone.run(MINT, input);
  expect(output).toContain("The input isn't a v2 management key. Nothing was stored.");
  expect(code).toBe(24);
  expect(clone.read('versions')).toBe('');
});

test('rotates nothing again when the log has only later runs', async () => {
  const outcome = 'not_due||not_due momento-api-key; newest version 3';
  clone.stub('answers', `jsonPayload.version!="1"=>${outcome}`);
  const { code, output } = await clone.run(REFRESH, CREDENTIAL);
  expect(output).toContain('\nnot_due momento-api-key; newest version 3\n');
  expect(code).toBe(0);
  expect(changes(clone.calls())).not.toContain(PUBLISH);
});

test('ignores lines about an earlier secret of the same name', async () => {
  const created = '2026-11-24T03:17:00.123456Z';
  clone.stub(
    'answers',
    `timestamp>="${created}"=>`,
    'jsonPayload.secret=>rotated||of an old secret',
  );
  const { code, output } = await clone.run(REFRESH, CREDENTIAL);
  expect(output).not.toContain('of an old secret');
  expect(code).toBe(0);
  expect(changes(clone.calls())).toContain(PUBLISH);
});

test.each(['rotated', 'already_rotated', 'superseded'])(
  'ends when a run is %s',
  async (outcome) => {
    clone.stub('answers', `messageId=>${outcome}||${outcome} momento-api-key; newest version 2`);
    const { code, output } = await clone.run(REFRESH, CREDENTIAL);
    expect(output).toContain(`\n${outcome} momento-api-key; newest version 2\n`);
    expect(code).toBe(0);
  },
);

test.each([
  ['a service account', 'get-value account', 'deploy@p.iam.gserviceaccount.com', 'serviceAccount:'],
  [
    'impersonation',
    'impersonate_service_account',
    'd@p.iam.gserviceaccount.com',
    'serviceAccount:',
  ],
  ['a federated identity', 'get-value account', 'principal://iam.googleapis.com/subject/s', ''],
])(
  'names the member that needs roles when gcloud uses %s',
  async (_name, call, account, prefix) => {
    clone.stub('answers', `${call}=>${account}`, 'curl=>{}');
    const { code, output } = await clone.run(['--check']);
    expect(output).toContain(`ok: project my-project, account ${account}, billing enabled: True\n`);
    expect(output).toContain(` --member=${prefix}${account} --role=roles/storage.admin `);
    expect(code).toBe(17);
  },
);

test('changes nothing when it only checks', async () => {
  const { code, output } = await clone.run(['--check']);
  expect(output).toContain('\nNo check failed. Nothing was changed.\n');
  expect(code).toBe(0);
  expect(changes(clone.calls())).toEqual([]);
  expect(globSync('terraform/*', { cwd: clone.folder })).toEqual([]);
});

test('continues with a note when Google refuses to show settings', async () => {
  clone.stub('fail', 'billing projects describe', 'org-policies describe', 'curl');
  const { code, output } = await clone.run(['--check']);
  expect(output).toContain('billing enabled: unknown\n');
  expect(output).toContain("note: Google didn't show the permissions\n");
  expect(output).toContain(
    'note: the organisation policy gcp.resourceLocations might limit region: unknown\n',
  );
  expect(code).toBe(0);
});

test('accepts an enforced organisation policy when the settings satisfy it', async () => {
  clone.stub('answers', 'iam.disableServiceAccountCreation=>True');
  writeFileSync(clone.settings, 'project_id = "my-project"\nservice_accounts = {}\n');
  expect((await clone.run(['--check'])).code).toBe(0);
});

test('accepts later versions of Terraform', async () => {
  clone.stub('answers', 'terraform version=>Terraform v1.16.5');
  expect((await clone.run(['--check'])).code).toBe(0);
});

test('prints what the tutorial shows', async () => {
  const checked = await clone.run(['--check']);
  const { output } = await clone.run(MINT, MANAGEMENT_KEY);
  const shown = [
    ...readFileSync(join(root, 'docs/cloud-shell.md'), 'utf8').matchAll(/^```text\n(.*?)^```/gms),
  ].map(([, text = '']) => text);
  const ours = shown.filter((text) => !/^(https|Updated|Successfully)/.test(text));
  expect(ours).toHaveLength(4);
  const printed = checked.output + output;
  for (const line of ours.flatMap((text) => text.split('\n'))) expect(printed).toContain(line);
});

/** Cloud Shell's panel doesn't show relative links. */
test('opens pages and names headings that are there in the tutorial', () => {
  const tutorial = readFileSync(join(root, 'docs/cloud-shell.md'), 'utf8');
  expect(tutorial).not.toMatch(/\]\((?!https:)/);
  const opened = [
    ...tutorial.matchAll(/(?:section "(.*?)" of\s+)?<[\w-]+ filePath="(.*?)">(.*?)</g),
  ];
  expect(opened.length).toBeGreaterThan(5);
  for (const [, heading, path = '', text] of opened) {
    expect(text).toBe(path);
    if (path === 'terraform/terraform.tfvars') continue; // the first run creates it
    const page = readFileSync(join(root, path), 'utf8');
    if (heading !== undefined) expect(page).toContain(`\n## ${heading}\n`);
  }
});

test('configures the bucket for the state as Terraform requires in the tutorial', () => {
  const tutorial = readFileSync(join(root, 'docs/cloud-shell.md'), 'utf8');
  const [line = ''] = /^ *printf .*backend\.tf/m.exec(tutorial) ?? [];
  spawnSync('bash', ['-c', `bucket=b; ${line}`], { cwd: clone.folder });
  expect(readFileSync(join(clone.folder, 'terraform/backend.tf'), 'utf8')).toBe(
    'terraform {\n  backend "gcs" {\n    bucket = "b"\n  }\n}\n',
  );
});

test('names pages and headings that are there', () => {
  const targets = [...script.matchAll(/\b((?:docs|terraform)\/[\w/.-]+\.md)(?:#([\w-]+))?/g)];
  expect(targets).not.toHaveLength(0);
  for (const [target, page = '', anchor] of targets) {
    const headings = readFileSync(join(root, page), 'utf8').matchAll(/^##+ (.*)$/gm);
    const anchors = [...headings].map(([, title = '']) => title.toLowerCase().replaceAll(' ', '-'));
    if (anchor !== undefined)
      expect([target, anchors]).toEqual([target, expect.arrayContaining([anchor])]);
  }
});

test('asks for the same permissions as the documentation', () => {
  const [, roles = ''] =
    /`roles\/owner`, or (.*?`)\.\s/s.exec(
      readFileSync(join(root, 'terraform/README.md'), 'utf8'),
    ) ?? [];
  const documented = [...roles.matchAll(/`roles\/([\w.]+)`/g)].map(([, role]) => role);
  const [, needed = ''] = /^needed='(.*?)'/ms.exec(script) ?? [];
  expect(
    needed
      .split(/\s+/)
      .map((pair) => pair.split('=')[1])
      .toSorted(),
  ).toEqual(documented.toSorted());
});

interface Fault {
  readonly code: number;
  readonly message: string;
  readonly action: string;
  readonly args?: readonly string[];
  readonly input?: string;
  /** The call that fails. It is the last one. */
  readonly fail?: string;
  readonly answers?: string;
  readonly before?: () => void;
}

const unlink = (name: string) => () => clone.unlink(name);
const save = (text: string) => () => writeFileSync(clone.settings, text);

const FAULTS: Record<string, Fault> = {
  'an option is unknown': {
    args: ['--fast'],
    code: 2,
    message: 'The option --fast is unknown or has no value.',
    action: 'Write --role=r-abcdefg. Run: ./deploy.sh --help',
  },
  'an option has its value behind a space': {
    ...{ args: ['--role', 'r-abcdefg'], code: 2 },
    message: 'The option --role is unknown or has no value.',
    action: 'Write --role=r-abcdefg. Run: ./deploy.sh --help',
  },
  'an option has quotes': {
    ...{ args: ['--role=a"b'], code: 2, message: 'An option has an invalid character.' },
    action: './deploy.sh --help',
  },
  'the role was copied from the tutorial': {
    ...{ args: ['--role=ROLE_ID'], code: 2, message: "ROLE_ID isn't the id of a role." },
    action: 'Replace it by an id such as r-abcdefg.',
  },
  'both ways are chosen': {
    ...{
      args: ['--role=a', '--refresh'],
      code: 2,
      message: '--role and --refresh exclude each other.',
    },
    action: 'Choose one: docs/management-key.md',
  },
  "standard input isn't a terminal, and --yes is missing": {
    ...{ args: ['--role=a'], code: 2, message: "Standard input isn't a terminal." },
    action: 'Add --yes',
  },
  'gcloud is missing': {
    ...{ before: unlink('gcloud'), code: 10, message: "gcloud isn't installed." },
    action: 'Install it',
  },
  'Terraform is too old': {
    ...{ answers: 'terraform version=>Terraform v1.5.6', code: 11 },
    message: 'Terraform 1.5.6 is older than 1.5.7.',
    action: 'Update: https://developer.hashicorp.com/terraform/install',
  },
  "Terraform's version is unknown": {
    ...{ answers: 'terraform version=>', code: 11 },
    message: 'Terraform (unknown version) is older than 1.5.7.',
    action: 'Update: https://developer.hashicorp.com/terraform/install',
  },
  'Terraform fails': {
    ...{ fail: 'terraform version', code: 11 },
    message: 'Terraform (unknown version) is older than 1.5.7.',
    action: 'Update: https://developer.hashicorp.com/terraform/install',
  },
  'gcloud has no login': {
    ...{ fail: 'gcloud auth print-access-token', code: 12 },
    message: "'gcloud auth' has no login, or it has expired.",
    action: 'Run: gcloud auth login',
  },
  'Terraform has no login': {
    ...{ fail: 'gcloud auth application-default', code: 12 },
    message: "'gcloud auth application-default' has no login, or it has expired.",
    action: 'Run: gcloud auth application-default login',
  },
  'no project is selected': {
    ...{ answers: 'get-value project=>', code: 14, message: 'No project is selected.' },
    action: 'Run: gcloud config set project PROJECT',
  },
  "the project can't be read": {
    ...{ fail: 'gcloud projects describe', code: 15 },
    message: "my-project isn't the PROJECT_ID of an active project, or has a colon.",
    action: 'Run: gcloud projects list',
  },
  'the project was deleted': {
    ...{ answers: 'gcloud projects describe=>my-project DELETE_REQUESTED', code: 15 },
    message: "my-project isn't the PROJECT_ID of an active project, or has a colon.",
    action: 'Run: gcloud projects list',
  },
  'the id of the project has a domain': {
    ...{ answers: 'get-value project=>example.com:my-project', code: 15 },
    message: "example.com:my-project isn't the PROJECT_ID of an active project, or has a colon.",
    action: 'Run: gcloud projects list',
  },
  'billing is disabled': {
    ...{ answers: 'gcloud billing projects=>False', code: 16 },
    message: 'Billing is disabled for my-project, so Google refuses builds.',
    action: 'Run: gcloud billing projects link my-project --billing-account=ID',
  },
  'a role is missing': {
    ...{ answers: 'curl=>{"permissions": ["run.services.setIamPolicy"]}', code: 17 },
    message: "The account of 'gcloud auth application-default login' lacks roles in my-project.",
    action:
      'gcloud projects add-iam-policy-binding my-project --member=user:operator@example.com --role=roles/storage.admin --condition=None',
  },
  "Terraform's account lacks roles": {
    ...{ answers: 'as terraform-token=>{}', code: 17 },
    message: "The account of 'gcloud auth application-default login' lacks roles in my-project.",
    action: '\nLog in as operator@example.com, or ask an administrator to run:\n',
  },
  'an organisation policy forbids service accounts': {
    ...{ answers: 'iam.disableServiceAccountCreation=>True', code: 18 },
    message: 'The organisation policy iam.disableServiceAccountCreation is enforced in my-project.',
    action:
      'Set service_accounts in terraform/terraform.tfvars, which a run without --check creates: terraform/README.md#requirements',
  },
  'no way is chosen': {
    ...{ args: ['--yes'], code: 19, message: '--role=ROLE_ID or --refresh is missing.' },
    action: 'If you deployed before, use the clone in which you did.',
  },
  'the folder belongs to another project': {
    ...{ before: save('project_id = "other-project"\n'), args: ['--project=my-project', '--yes'] },
    ...{
      code: 19,
      message: 'The options differ from terraform/terraform.tfvars: it has no "my-project".',
    },
    action: 'Change the file, or use another clone.',
  },
  'the settings have a management key, and the option is --refresh': {
    ...{ before: save('project_id = "my-project"\nmanagement_key = {}\n'), args: REFRESH },
    ...{ code: 19, message: 'terraform/terraform.tfvars has a management_key.' },
    action: 'Omit --refresh',
  },
  'terraform init fails': {
    ...{ fail: 'terraform -chdir=terraform init', code: 20, message: 'terraform init failed.' },
    action: 'Correct the cause above.',
  },
  'terraform apply fails': {
    ...{
      fail: 'terraform -chdir=terraform apply',
      code: 21,
      message: 'terraform apply failed or was cancelled.',
    },
    action:
      'build service account, wait ten minutes. If it has the code 409: docs/operate/upgrade-and-remove.md#error-409',
  },
  "an output can't be read": {
    ...{ fail: 'output -raw requests_topic', code: 22 },
    message: "Terraform's outputs can't be read.",
    action: './deploy.sh again.',
  },
  "the secret can't be read": {
    ...{ answers: 'versions access 1=>!1 PERMISSION_DENIED: Permission denied.', code: 23 },
    message:
      "It isn't known whether projects/my-project/secrets/momento-management-key has a version, so nothing was stored. ERROR: PERMISSION_DENIED",
    action: './deploy.sh again.',
  },
  "the input isn't a management key": {
    ...{
      input: 'yes\n',
      code: 24,
      message: "The input isn't a v2 management key. Nothing was stored.",
    },
    action: 'paste the text as Momento shows it: docs/management-key.md#create-it',
  },
  'the input has no refresh token': {
    ...{ args: REFRESH, input: '{"apiKey": "eyJ"}', code: 24 },
    message: "The input isn't JSON with a key and its refresh token. Nothing was stored.",
    action: 'paste the text as Momento shows it: docs/management-key.md#create-it',
  },
  'Secret Manager refuses the credential': {
    ...{ fail: 'versions add', code: 25 },
    message: 'Storing the credential in projects/my-project/secrets/momento-management-key failed.',
    action: './deploy.sh again.',
  },
  "the secret's age can't be read": {
    ...{ fail: 'gcloud secrets describe', code: 26 },
    message: "projects/my-project/secrets/momento-api-key can't be read.",
    action: './deploy.sh again.',
  },
  "the log can't be read": {
    ...{ fail: 'logging read', code: 26, message: "The log of my-project can't be read." },
    action: './deploy.sh again.',
  },
  "the request can't be published": {
    ...{
      fail: 'topics publish',
      code: 27,
      message:
        "The request wasn't published to projects/my-project/topics/momento-key-rotator-requests.",
    },
    action: './deploy.sh again.',
  },
  'the rotation fails': {
    ...{
      answers: 'messageId=>failed|False|failed projects/my-project/secrets/s; MINT_REFUSED: a | b.',
    },
    ...{ code: 28, message: 'failed projects/my-project/secrets/s; MINT_REFUSED: a | b.' },
    action: './deploy.sh again.',
  },
  'the cleanup after the rotation fails': {
    ...{
      answers: 'messageId=>incomplete|False|incomplete projects/my-project/secrets/s',
      code: 28,
    },
    message: 'deploy.sh: incomplete projects/my-project/secrets/s\n',
    action: './deploy.sh again.',
  },
  'the request is refused': {
    ...{ answers: 'messageId=>|False|REQUEST_INVALID: the request is invalid.', code: 28 },
    message: 'REQUEST_INVALID: the request is invalid.',
    action: './deploy.sh again.',
  },
  'no attempt succeeds in time': {
    ...{ answers: 'messageId=>failed|True|MOMENTO_UNREACHABLE: it is down.', code: 29 },
    message:
      "The rotation of projects/my-project/secrets/momento-api-key didn't succeed in 15 minutes. MOMENTO_UNREACHABLE: it is down.",
    action: 'Follow docs/operate/runbook.md#no-run-happens.',
  },
};

/** The order of the steps that change something. A failure allows those before it. */
const STEPS = ['init', 'apply', 'versions add', 'topics publish'];
const STEPS_BEFORE: Record<number, number> = { 20: 1, 21: 2, 25: 3, 26: 3, 27: 4, 28: 4, 29: 4 };

/** Where the management key appears, except in Secret Manager: the output, the recorded calls, and other files. */
const exposed = (output: string): string[] =>
  globSync('**/*', { cwd: clone.folder })
    .filter((file) => file !== 'stub/versions' && statSync(join(clone.folder, file)).isFile())
    .filter((file) => readFileSync(join(clone.folder, file), 'utf8').includes(MANAGEMENT_KEY))
    .concat(output.includes(MANAGEMENT_KEY) ? ['the output'] : []);

test.each(Object.entries(FAULTS))('stops when %s', async (_name, fault) => {
  const { args = MINT, input = MANAGEMENT_KEY, fail, answers, before } = fault;
  before?.();
  if (fail !== undefined) clone.stub('fail', fail);
  if (answers !== undefined) clone.stub('answers', answers);
  const { code, output } = await clone.run(args, input);
  expect(output).toContain(fault.message);
  expect(output).toContain(fault.action);
  expect(code).toBe(fault.code);
  expect(exposed(output)).toEqual([]);
  const calls = clone.calls();
  if (fail !== undefined) expect(calls.at(-1)).toContain(fail);
  const allowed = fault.code < 20 ? 0 : (STEPS_BEFORE[fault.code] ?? 2);
  for (const call of changes(calls)) {
    expect(STEPS.findIndex((step) => call.includes(step))).toBeLessThan(allowed);
  }
  expect(clone.read('versions')).toBe(allowed > 2 && fail !== 'versions add' ? input : '');
});

test('has a tested message for every failure', () => {
  const failures = [...script.matchAll(/\bfail (\d+) (["'])(.*?)(?<!\\)\2/gs)];
  expect(failures).toHaveLength(script.match(/\bfail \d/g)?.length ?? 0);
  const untested = failures.filter(([, code, , problem = '']) => {
    const texts = problem.split(/\$\{.*?\}|\$\w+|\\"/);
    return !Object.values(FAULTS).some(
      (fault) => fault.code === Number(code) && texts.every((text) => fault.message.includes(text)),
    );
  });
  expect(untested.map(([text]) => text)).toEqual([]);
});

test('gives the credential only to Secret Manager when the environment exports, traces and logs everything', async () => {
  const { code, output } = await clone.run(MINT, MANAGEMENT_KEY, {
    SHELLOPTS: 'allexport:xtrace',
    CLOUDSDK_CORE_LOG_HTTP: 'true',
    // An exported variable stays exported when a script assigns it.
    credential: 'exported',
  });
  expect(code).toBe(0);
  expect(output).not.toContain(MANAGEMENT_KEY);
  // The stub records every call's arguments and environment in files.
  expect(clone.read('calls')).toContain('versions add');
  expect(clone.read('environment')).toContain('STUB=');
  expect(clone.read('environment').match(/core dumps: .*/g)).toContain('core dumps: 0');
  expect(clone.read('environment')).not.toMatch(/core dumps: [^0]/);
  expect(exposed(output)).toEqual([]);
});

describe('an interruption', () => {
  test.each([
    ...['curl', 'init', 'versions add', 'sleep'].map((call) => ['before', call] as const),
    ...['init', 'apply', 'versions add', 'topics publish'].map((call) => ['after', call] as const),
  ])('%s "%s" ends with 130, and the next run continues', async (when, call) => {
    clone.stub(when, call);
    const { code, output } = await clone.run(MINT, MANAGEMENT_KEY);
    expect(output).toContain('\nInterrupted. Run ./deploy.sh again to continue.\n');
    expect(code).toBe(130);
    expect(exposed(output)).toEqual([]);
    expect(clone.calls()).toContainEqual(expect.stringContaining(call));
    const second = await clone.run(MINT, MANAGEMENT_KEY);
    expect(second.output).toContain('\nDone.');
    expect(second.code).toBe(0);
    expect(clone.read('versions')).toBe(MANAGEMENT_KEY);
  });
});

const inTerminal =
  process.platform === 'linux' && found('script') !== '' ? describe : describe.skip;

inTerminal('in a terminal', () => {
  test('shows no credential, and reads lines of any length', async () => {
    const credential = JSON.stringify(
      { apiKey: 'x'.repeat(9000), refreshToken: MANAGEMENT_KEY },
      null,
      2,
    );
    const { code, output } = await clone.type(['--refresh'], `${credential}${CTRL_D}`);
    expect(code).toBe(0);
    expect(output).not.toContain('xxx');
    expect(output).not.toContain(MANAGEMENT_KEY);
    expect(output).toMatch(/ icanon .* echo /s);
    expect(clone.read('versions')).toBe(credential);
    // The operator confirms the plan.
    expect(changes(clone.calls())).toContain('terraform apply');
  });

  test('shows what is typed again when SIGTERM ends it at the question', async () => {
    const { code, output } = await clone.type(MINT, 'SIGTERM');
    expect(code).toBe(143);
    expect(output).toMatch(/ icanon .* echo /s);
    expect(clone.read('versions')).toBe('');
  });

  test("doesn't stop at the question when Ctrl-Z is pressed, because the shell would show the input", async () => {
    const { code, output } = await clone.type(MINT, `${CTRL_Z}${MANAGEMENT_KEY}${CTRL_D}`);
    expect(code).toBe(24);
    expect(output).toMatch(/ susp = \^Z;/);
    expect(clone.read('versions')).toBe('');
  });

  test('shows what is typed again when it was interrupted at the question', async () => {
    const { code, output } = await clone.type(MINT, `eyJ-half-of-a-key${CTRL_C}`);
    expect(code).toBe(130);
    expect(output).toContain('Interrupted.');
    expect(output).not.toContain('half-of-a-key');
    expect(output).toMatch(/ icanon .* echo /s);
    expect(clone.read('versions')).toBe('');
  });
});
