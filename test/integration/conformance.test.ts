import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { status } from '@grpc/grpc-js';
import {
  check,
  NotChecked,
  type Assumption,
  type Line,
  type Verdict,
} from '../../tools/conformance/assumption';
import { ASSUMPTIONS as V1 } from '../../tools/conformance/auth-client';
import { AuthClientTestBed } from '../../tools/conformance/auth-client-test-bed';
import type { TestBed as GroupTestBed } from '../../tools/conformance/group';
import { ASSUMPTIONS as V2 } from '../../tools/conformance/key-api';
import { KeyApiTestBed } from '../../tools/conformance/key-api-test-bed';
import { conformance } from '../../tools/conformance/run';
import { ASSUMPTIONS as SM } from '../../tools/conformance/secret-manager';
import { SecretManagerTestBed } from '../../tools/conformance/secret-manager-test-bed';
import { readTarget, type Target } from '../../tools/conformance/target';
import { jwt } from '../../emulators/account';
import type { FaultPlan } from '../../emulators/faults';
import { leaks } from '../leaks';
import { TestBed } from './test-bed';
import { Sink, runTool, type Ended } from './tool';

const LINES = [...V2, ...V1, ...SM];

let bed: TestBed;
let proxy: ChangingProxy;
/** The secret that the latest target is allowed to create. */
let secretInUse: string;

beforeAll(async () => {
  bed = await TestBed.start(Date.now());
  proxy = await ChangingProxy.start(bed.keyApi.host);
});

afterAll(async () => {
  proxy.stop();
  await bed.stop();
});

beforeEach(() => {
  bed.reset();
  bed.secretManager.now = bed.clock.now;
  proxy.change = undefined;
});

interface Exchange {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly authorization: string;
  /** The answer, to be changed. */
  status: number;
  body: Record<string, unknown>;
}

interface Info {
  key_id: string;
  role_id: string;
  description: string;
  issued_at_epoch_seconds: number;
  expires_at_epoch_seconds: number;
}

/** An HTTP proxy in front of the emulator of the key API, which can change answers. */
class ChangingProxy {
  change: ((exchange: Exchange) => void) | undefined;
  readonly #server: Server;

  private constructor(to: string) {
    this.#server = createServer((request, response) => {
      void (async () => {
        const { method = '', url: path = '', headers } = request;
        const sent = await text(request);
        const { authorization = '' } = headers;
        const answer = await fetch(`http://${to}${path}`, {
          method,
          headers: { authorization, 'content-type': 'application/json' },
          ...(sent !== '' && { body: sent }),
        });
        const body = (await answer.json()) as Record<string, unknown>;
        const exchange = { method, path, authorization, status: answer.status, body };
        this.change?.(exchange);
        response.writeHead(exchange.status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(exchange.body));
      })();
    });
  }

  static async start(to: string): Promise<ChangingProxy> {
    const proxy = new ChangingProxy(to);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get host(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `${address}:${port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** A target with accounts at the emulators. */
function target(): Target {
  const made = readTarget({ ...env(), MOMENTO_KEY_API_EMULATOR_HOST: proxy.host });
  if (made === undefined || Array.isArray(made)) throw new Error('no target');
  return { ...made, clock: bed.clock, agree: () => Promise.resolve(true) };
}

function env(): Record<string, string> {
  secretInUse = bed.newName().name;
  return {
    ...bed.env,
    CONFORMANCE_MANAGEMENT_KEY: bed.momento.issueV2Key({ role: 'r-operator' }).apiJson,
    CONFORMANCE_V1_KEY: bed.momento.issueKey().consoleJson,
    CONFORMANCE_SECRET: secretInUse,
  };
}

async function line(id: string): Promise<Line> {
  async function find<B extends GroupTestBed>(
    assumptions: readonly Assumption<B>[],
    open: (target: Target) => B,
  ): Promise<Line | undefined> {
    const assumption = assumptions.find((one) => one.id === id);
    if (assumption === undefined) return undefined;
    const testBed = open(target());
    const found = await check(assumption, testBed);
    await testBed.remove();
    return found;
  }
  const found =
    (await find(V2, (target) => new KeyApiTestBed(target))) ??
    (await find(V1, (target) => new AuthClientTestBed(target))) ??
    (await find(SM, (target) => new SecretManagerTestBed(target)));
  if (found === undefined) throw new Error(`there is no line ${id}`);
  return found;
}

/** Changes the nth answer (from 1; by default every one) to requests that look like this. */
function answer(request: RegExp, change: (exchange: Exchange) => unknown, nth?: number): void {
  let seen = 0;
  proxy.change = (exchange) => {
    if (!request.test(`${exchange.method} ${exchange.path}`)) return;
    seen += 1;
    if (nth === undefined || seen === nth) change(exchange);
  };
}

const MINT = /^POST \/api-keys$/;
const LIST = /^GET .*limit=100/;
const REFRESH = /^POST \/api-keys\/refresh$/;
const REVOKE = /^DELETE /;
const ACCESS = 'AccessSecretVersion';
const ADD = 'AddSecretVersion';
const DESTROY = 'DestroySecretVersion';
const LIST_VERSIONS = 'ListSecretVersions';

type Differ = () => unknown;

/** Another status in the place of one. */
const instead = (of: number, status: number, request = /./, nth?: number): Differ => {
  const change = (exchange: Exchange) =>
    (exchange.status = exchange.status === of ? status : exchange.status);
  return () => answer(request, change, nth);
};
/** Another body of an answer with one key. */
const issued =
  (request: RegExp, change: (key: Info, body: Exchange['body']) => unknown, nth?: number): Differ =>
  () =>
    answer(request, ({ body }) => change(body.key_info as Info, body), nth);
/** Another description of each key in the list. */
const listed =
  (
    change: (key: Partial<Info> & Pick<Info, 'description' | 'issued_at_epoch_seconds'>) => unknown,
  ): Differ =>
  () =>
    answer(LIST, ({ body }) => infos(body).forEach(change));
/** An error of a gRPC service: for every call, or for the nth. */
const refused =
  (plan: () => FaultPlan) =>
  (method: string, name: keyof typeof status, nth: number | 'every' = 'every'): Differ =>
  () =>
    plan().inject(method, nth, { kind: 'error', code: status[name], when: 'before' });
const corrupted =
  (plan: () => FaultPlan, method: string, nth: number | 'every' = 'every'): Differ =>
  () =>
    plan().inject(method, nth, { kind: 'corrupt' });
/** Something that happens before the nth call of a method. */
const before =
  (plan: () => FaultPlan, method: string, n: number, act: () => void): Differ =>
  () =>
    (plan().intercept = (call, when) => {
      if (call.method === method && call.n === n && when === 'before') act();
    });

interface VersionAnswer {
  readonly versions?: readonly { readonly name: string }[];
}

const rewritten =
  (method: string, change: (answer: VersionAnswer) => object): Differ =>
  () =>
    (bed.secretManager.rewrite = (called, answer) => (called === method ? change(answer) : answer));

const momento = (): FaultPlan => bed.momento.faults;
const store = (): FaultPlan => bed.secretManager.faults;
const v1 = refused(momento);
const sm = refused(store);
const infos = (body: Exchange['body']): Info[] => body.key_info as Info[];
const revoke = (keyId = ''): void => bed.momento.account.revoke(keyId, 'operator');
const addAnother = (): void => void bed.secretManager.addVersion(secretInUse, 'x');
const limitPermissions = (): void => {
  const kept = ['access', 'list', 'add'].map((name) => `secretmanager.versions.${name}`);
  bed.secretManager.grant(secretInUse, kept);
};
const withProjectId = ({ name }: { name: string }) => ({
  name: name.replace(/^projects\/\d+/, 'projects/p'),
});
const lagLists = (): void => void (bed.secretManager.staleLists = 1);
const lagLatest = (): void => void (bed.secretManager.staleLatest = 1);
const noEtags = (): void => void (bed.secretManager.hasEtags = false);
/** From now on, Momento's clock is five minutes ahead. */
const later = (): void => void (bed.momento.now = () => bed.clock.now() + 300_000);

/** For each assumption a way in which the services differ, and the expected observation. */
const DIFFERENT: Readonly<
  Record<string, [differ: Differ, observed: string | RegExp, verdict?: Verdict]>
> = {
  'v2-refresh-path': [() => (bed.keyApi.refreshPath = '/refresh'), '405'],
  'v2-refresh-unknown-path': [instead(405, 403), '403'],
  'v2-refresh-token': [
    issued(MINT, (_, body) => (body.refresh_token = jwt({ t: 'gr', akid: 'x' }))),
    'another',
  ],
  'v2-refresh-kind': [issued(REFRESH, (key) => (key.role_id = 'r-x')), 'another role_id'],
  'v2-refresh-lifetime': [
    issued(REFRESH, (key) => (key.expires_at_epoch_seconds += 3600)),
    '3600 s longer',
  ],
  'v2-refresh-next-token': [issued(REFRESH, (_, body) => delete body.refresh_token), 'none'],
  'v2-refresh-old-key': [
    issued(REFRESH, (_, body) => revoke(body.previous_key_id as string)),
    'rejected',
  ],
  'v2-refresh-once': [() => (bed.momento.account.refreshTokens = 'reusable'), 'accepted'],
  'v2-refresh-refusal': [instead(403, 401, REFRESH), '401'],
  'v2-refresh-revoked': [instead(401, 403, REFRESH), '403'],
  'v2-refresh-previous-key': [
    issued(REFRESH, (_, body) => (body.previous_key_id = 'x')),
    'another',
  ],
  'v2-authorization': [instead(200, 403), '403'],
  'v2-unknown-key': [instead(401, 403), '403'],
  'v2-v1-key': [instead(401, 200), '200'],
  'v2-other-role': [instead(403, 401), '401'],
  'v2-mint-id': [issued(MINT, (key) => (key.key_id = 'x')), 'different'],
  'v2-mint-role': [issued(MINT, (key) => (key.role_id = 'r-x')), 'another'],
  'v2-mint-expiry': [
    issued(MINT, (key) => (key.expires_at_epoch_seconds += 60)),
    '0 s later and 60 s later',
  ],
  'v2-mint-no-token': [issued(MINT, (_, body) => (body.refresh_token = 'x')), 'there'],
  'v2-mint-same-description': [instead(200, 409, MINT, 2), '409'],
  'v2-mint-old-key': [
    issued(
      MINT,
      ({ description }) => revoke(bed.momento.account.keys(description)[0]?.info.key_id),
      2,
    ),
    'rejected',
  ],
  'v2-mint-lag': [() => (bed.keyApi.newKeyLagMs = 60_000), 'not within 10 s'],
  'v2-mint-unknown-role': [instead(404, 400), '400'],
  'v2-mint-own-role': [instead(200, 403, MINT), '403'],
  'v2-list-info': [
    listed((key) => (key.issued_at_epoch_seconds += 1)),
    'another issued_at_epoch_seconds',
  ],
  'v2-list-description': [listed((key) => (key.description = 'short')), 'changed, to 5 characters'],
  'v2-list-long-description': [
    listed((key) => (key.description = key.description.slice(0, 256))),
    'changed, to 256 characters',
  ],
  'v2-list-issued-at': [
    issued(MINT, (key) => (key.issued_at_epoch_seconds += 600)),
    /^-(599|600|601) s off$/,
  ],
  'v2-list-itself': [
    () =>
      answer(LIST, ({ body }) => {
        body.key_info = infos(body).filter(({ role_id }) => role_id !== 'r-operator');
      }),
    'missing',
  ],
  'v2-list-pages': [
    () => answer(/^GET .*next_token/, ({ body }) => infos(body).shift(), 1),
    '1 are missing',
  ],
  'v2-revoke': [instead(200, 202, REVOKE), '202'],
  'v2-revoke-at-once': [instead(401, 403), 'not within a minute'],
  'v2-revoke-listed': [
    () => {
      const minted: Info[] = [];
      answer(/./, ({ method, path, body }) => {
        if (MINT.test(`${method} ${path}`)) minted.push(body.key_info as Info);
        if (LIST.test(`${method} ${path}`)) infos(body).push(...minted);
      });
    },
    'listed',
  ],
  'v2-revoke-twice': [instead(404, 200), '200'],
  'v2-revoke-itself': [instead(200, 403, REVOKE), '403'],
  'v2-list-caches': [v1('ListCaches', 'UNAUTHENTICATED'), 'AUTHENTICATION_ERROR'],
  'v2-list-caches-unknown': [v1('ListCaches', 'PERMISSION_DENIED'), 'PERMISSION_ERROR'],
  'v2-two-keys': [v1('ListCaches', 'UNAUTHENTICATED', 2), 'accepted, rejected, rejected, accepted'],
  'v2-list-caches-revoked': [v1('ListCaches', 'PERMISSION_DENIED'), 'not within a minute'],
  'v2-expired': [instead(401, 403), '403'],
  'v2-expired-refresh': [instead(401, 403), '403'],
  'v2-expired-listed': [
    () => {
      bed.keyApi.expiredKeys = 'listed';
      listed((key) => delete key.expires_at_epoch_seconds)();
    },
    'listed without',
  ],
  'v2-rate': [() => (bed.keyApi.callsPerSecond = 3), /^[1-9]\d*$/],

  'v1-refresh-token': [corrupted(momento, 'GenerateApiToken'), 'PAYLOAD_INVALID', 'NO ANSWER'],
  'v1-generate-lifetime': [
    before(momento, 'GenerateApiToken', 1, later),
    /^(299|300|301) s longer$/,
  ],
  'v1-wrong-token': [v1('RefreshApiToken', 'UNAVAILABLE'), 'SERVER_UNAVAILABLE'],
  'v1-refresh': [corrupted(momento, 'RefreshApiToken'), 'ISSUED_CREDENTIAL_INVALID', 'NO ANSWER'],
  'v1-refresh-lifetime': [before(momento, 'RefreshApiToken', 1, later), /^(299|300|301) s longer$/],
  'v1-refresh-lag': [
    before(momento, 'RefreshApiToken', 1, () => void (bed.momento.newKeyLagMs = 60_000)),
    'not within 10 s',
  ],
  'v1-refresh-old-key': [v1('ListCaches', 'UNAUTHENTICATED'), 'rejected'],
  'v1-refresh-permissions': [
    v1('ListCaches', 'UNAUTHENTICATED', 2),
    'AUTHENTICATION_ERROR and not PERMISSION_ERROR',
  ],
  'v1-refresh-twice': [v1('RefreshApiToken', 'INTERNAL', 2), 'INTERNAL_SERVER_ERROR'],
  'v1-list-caches': [v1('ListCaches', 'PERMISSION_DENIED'), 'PERMISSION_ERROR'],
  'v1-list-caches-data-only': [v1('ListCaches', 'UNAUTHENTICATED'), 'AUTHENTICATION_ERROR'],
  'v1-unknown-key': [v1('ListCaches', 'PERMISSION_DENIED'), 'PERMISSION_ERROR'],
  'v1-expired': [v1('ListCaches', 'PERMISSION_DENIED'), 'PERMISSION_ERROR'],
  'v1-expired-refresh': [v1('RefreshApiToken', 'PERMISSION_DENIED'), 'PERMISSION_ERROR'],

  'sm-latest-of-none': [sm(ACCESS, 'FAILED_PRECONDITION'), 'FAILED_PRECONDITION'],
  'sm-add-checksum': [corrupted(store, ADD, 1), 'ignored'],
  'sm-add-wrong-checksum': [sm(ADD, 'INTERNAL', 2), 'INTERNAL'],
  'sm-add-largest': [sm(ADD, 'INVALID_ARGUMENT', 4), 'SECRET_MANAGER_REFUSED', 'NO ANSWER'],
  'sm-add-numbers': [before(store, ADD, 3, addAnother), '1, 3, 4'],
  'sm-add-time': [
    () => (bed.secretManager.now = () => bed.clock.now() + 600_000),
    /^-(599|600|601) s off$/,
  ],
  'sm-access-number': [sm(ACCESS, 'NOT_FOUND', 2), 'nothing'],
  'sm-access-checksum': [sm(ACCESS, 'INTERNAL', 2), 'INTERNAL', 'NO ANSWER'],
  'sm-access-no-number': [before(store, ACCESS, 2, addAnother), 'OK'],
  'sm-access-latest': [lagLatest, 'not within 5 min'],
  'sm-list': [lagLists, 'not within 5 min'],
  'sm-name': [
    rewritten(LIST_VERSIONS, ({ versions = [], ...answer }) => ({
      ...answer,
      versions: versions.map((version) => ({ ...version, ...withProjectId(version) })),
    })),
    'another name',
  ],
  'sm-list-pages': [before(store, LIST_VERSIONS, 2, lagLists), '2 entries'],
  'sm-permissions': [before(store, 'TestIamPermissions', 1, limitPermissions), 'disable, destroy'],
  'sm-permissions-no-secret': [sm('TestIamPermissions', 'UNIMPLEMENTED'), 'UNIMPLEMENTED'],
  'sm-no-secret': [sm(ACCESS, 'UNIMPLEMENTED'), 'UNIMPLEMENTED'],
  'sm-etag-listed': [noEtags, 'there is no etag'],
  'sm-disabled-access': [sm(ACCESS, 'NOT_FOUND', 2), 'NOT_FOUND'],
  'sm-disabled-get': [
    rewritten('GetSecretVersion', (answer) => ({ ...answer, state: 'DESTROYED' })),
    'DESTROYED',
  ],
  'sm-etag-changes': [noEtags, 'there is none'],
  'sm-etag-old': [noEtags, 'OK'],
  'sm-destroy': [corrupted(store, DESTROY, 1), 'STATE_UNSPECIFIED'],
  'sm-destroyed-access': [sm(ACCESS, 'NOT_FOUND', 3), 'NOT_FOUND'],
  'sm-destroyed-listed': [before(store, DESTROY, 1, lagLists), 'not within 5 min'],
  'sm-destroy-delayed': [corrupted(store, DESTROY, 1), 'STATE_UNSPECIFIED, with no time'],
  'sm-latest-disabled': [before(store, 'DisableSecretVersion', 3, lagLatest), 'not within 5 min'],
  'sm-endpoint-global': [sm(ACCESS, 'NOT_FOUND'), 'NOT_FOUND'],
  'sm-endpoint-regional': [sm(ACCESS, 'INVALID_ARGUMENT'), 'INVALID_ARGUMENT'],
  'sm-routing-header': [sm(ACCESS, 'INTERNAL', 2), 'INTERNAL'],
};

describe('every assumption', () => {
  it('has a test in which the service differs', () => {
    expect(Object.keys(DIFFERENT).sort()).toEqual(LINES.map(({ id }) => id).sort());
  });

  it.each(Object.entries(DIFFERENT))(
    '%s is reported when the service differs',
    async (id, [differ, observed, verdict = 'DIFFERS']) => {
      differ();
      const found = await line(id);
      expect(found.observed).toMatch(observed);
      expect(found.verdict).toBe(verdict);
    },
  );
});

describe('tools/conformance.ts', () => {
  async function ask(
    answers: readonly string[],
    changes: Readonly<Record<string, string>> = {},
    { args = [] as string[], signal = new AbortController().signal } = {},
  ): Promise<Ended & { lines: Record<string, string> }> {
    const stdout = new Sink();
    const stderr = new Sink();
    const stdin = Readable.from(answers.map((answer) => `${answer}\n`));
    const terminal = { stdin, stdout, stderr };
    const { clock } = bed;
    const code = await conformance(args, { ...env(), ...changes }, terminal, { signal, clock });
    expect(leaks(bed.secrets, [stdout.text, stderr.text])).toEqual([]);
    const lines = [...stdout.text.matchAll(/^(same|DIFFERS|NO ANSWER|not checked) +\w+ +(\S+)/gm)];
    return {
      code,
      stdout: stdout.text,
      stderr: stderr.text,
      lines: Object.fromEntries(lines.map(([, verdict = '', id = '']) => [id, verdict])),
    };
  }

  const all = (verdict: string, lines: readonly { id: string }[] = LINES) =>
    Object.fromEntries(lines.map(({ id }) => [id, verdict]));
  let keysBefore: number;

  beforeEach(() => {
    keysBefore = bed.momento.account.keys().length;
  });

  const ours = () =>
    bed.momento.account
      .keys()
      .slice(keysBefore)
      .filter(({ info }) => info.description.startsWith('momento-key-rotator conformance'));
  const live = () => ours().filter((key) => bed.momento.account.isLive(key));
  const exists = () =>
    bed.secretManager.permissions(secretInUse).size > 0 &&
    bed.secretManager.versions(secretInUse).length > 0;

  it('checks the emulators when nothing is configured', async () => {
    const ended = await runTool('conformance', { env: {} });
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toContain(`${LINES.length} lines: ${LINES.length} same, 0 DIFFERS`);
  });

  it('asks before it creates anything, and removes it at the end', async () => {
    const ended = await ask(['y', 'yes', 'Y', 'y']);
    expect(ended).toMatchObject({ code: 0, lines: all('same') });
    const questions = ended.stderr.trim().split('\n');
    expect(questions).toEqual([
      expect.stringContaining('Mint seven v2 keys'),
      expect.stringContaining('Use the refresh token of one of the keys'),
      expect.stringContaining('Generate two v1 keys'),
      expect.stringContaining(
        `Create the secrets ${secretInUse} and ${secretInUse}-delayed with four`,
      ),
    ]);
    // One of seven was refreshed.
    expect(ours().map(({ info }) => info.role_id)).toEqual(
      expect.arrayContaining(['r-operator', 'r-viewer']),
    );
    expect(ours()).toHaveLength(8);
    expect(live()).toEqual([]);
    expect(bed.timesCalled('GenerateApiToken')).toBe(2);
    expect(exists()).toBe(false);
  });

  it.each([
    ['the answers are no', ['n', '', 'of course not']],
    ['the input ends', []],
  ])('creates nothing when %s, and checks the other assumptions', async (_, answers) => {
    const ended = await ask(answers);
    expect(ended.code).toBe(0);
    const checked = Object.entries(ended.lines).filter(([, verdict]) => verdict !== 'not checked');
    expect(Object.fromEntries(checked)).toEqual({
      'v2-authorization': 'same',
      'v2-unknown-key': 'same',
      'v2-v1-key': 'same',
      'v2-list-itself': 'same',
      'v2-list-caches-unknown': 'same',
      'v2-rate': 'same',
      'v1-list-caches': 'same',
      'sm-permissions-no-secret': 'same',
      'sm-no-secret': 'same',
      'sm-endpoint-global': 'same',
      'sm-endpoint-regional': 'same',
    });
    expect(ended.stdout).toContain('observed not agreed to');
    expect(ours()).toEqual([]);
    for (const method of ['CreateKey', 'RefreshKey', 'GenerateApiToken', 'CreateSecret']) {
      expect(bed.timesCalled(method)).toBe(0);
    }
  });

  it("doesn't check ListCaches with v2 keys when the host is unknown", async () => {
    const bench = new KeyApiTestBed({ ...target(), momento: {} });
    await expect(bench.listCaches('x')).rejects.toThrow(NotChecked);
    await bench.remove();
  });

  it.each(['projects/p', 'projects/p/locations/europe-west4'])(
    'checks only Secret Manager, and deletes its secret in %s, when no key is configured',
    async (parent) => {
      const { name } = bed.newName(parent);
      const keys = { CONFORMANCE_MANAGEMENT_KEY: '', CONFORMANCE_V1_KEY: '' };
      const ended = await ask(['y'], { ...keys, CONFORMANCE_SECRET: name });
      const lines = { ...all('not checked'), ...all('same', SM) };
      expect(ended).toMatchObject({ code: 0, lines });
      expect(ended.stdout).toContain('observed CONFORMANCE_V1_KEY is not set');
      expect(bed.secretManager.versions(name)).toEqual([]);
    },
  );

  it("doesn't delete the secret when it existed before", async () => {
    const { secret } = bed.seed();
    const ended = await ask(['n', 'n', 'y'], { CONFORMANCE_SECRET: secret.name });
    expect(ended).toMatchObject({ code: 1 });
    expect(ended.stdout).toContain(`the secret ${secret.id} could not be created (ALREADY_EXISTS)`);
    expect(ended.stdout).not.toContain('NOT REMOVED');
    expect(bed.states(secret)).toEqual(['ENABLED']);
    const deleted = bed.secretManager.faults.calls
      .filter(({ method }) => method === 'DeleteSecret')
      .map(({ request }) => (request as { name: string }).name);
    expect(deleted).toEqual([`${secret.name}-delayed`]);
  });

  it('fails when an assumption is wrong', async () => {
    bed.keyApi.refreshPath = '/elsewhere';
    const { code, lines, stdout } = await ask(['y', 'y', 'y', 'y']);
    expect(code).toBe(1);
    expect(lines).toMatchObject({
      'v2-refresh-path': 'DIFFERS',
      'v2-refresh-old-key': 'NO ANSWER',
      'v2-mint-id': 'same',
    });
    expect(stdout).toContain('assumed 200; observed 405');
    expect(stdout).toContain('observed no key was refreshed (HTTP 405)');
  });

  it('removes everything that it created when it is interrupted, also at a question', async () => {
    const interruption = new AbortController();
    bed.secretManager.faults.intercept = ({ method, n }) => {
      if (method === 'AddSecretVersion' && n === 2) interruption.abort();
    };
    const { lines } = await ask(['y', 'y', 'n', 'y'], {}, { signal: interruption.signal });
    expect(lines).toMatchObject({
      'sm-add-wrong-checksum': 'same',
      'sm-add-largest': 'not checked',
    });
    expect(exists()).toBe(false);

    const { clock } = bed;
    const atQuestion = new AbortController();
    const stdin = new PassThrough();
    const stderr = new PassThrough();
    stderr.once('data', () => atQuestion.abort());
    const terminal = { stdin, stdout: new Sink(), stderr };
    expect(await conformance([], env(), terminal, { clock, signal: atQuestion.signal })).toBe(0);
  });

  it('lists the resources that could not be removed', async () => {
    bed.keyApi.faults.intercept = ({ method }, when) =>
      // Revocations of single assumptions, and of everything at the end.
      method === 'RevokeKey' && when === 'before' && bed.timesCalled('CreateSecret') === 0
        ? { kind: 'status', status: 403, when: 'before' }
        : undefined;
    bed.secretManager.faults.inject('DeleteSecret', 2, {
      kind: 'error',
      code: status.PERMISSION_DENIED,
      when: 'before',
    });
    const { code, stdout } = await ask(['y', 'y', 'y', 'y']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^NOT REMOVED: the v2 key [0-9a-f]+ \(MANAGEMENT_KEY_REFUSED\)$/m);
    expect(stdout).toMatch(/^NOT REMOVED: the secret \S+-delayed \(PERMISSION_DENIED\)$/m);
  });

  it('revokes keys when the answer to their creation was lost', async () => {
    bed.keyApi.faults.inject('CreateKey', 2, { kind: 'drop', when: 'after' });
    expect(await ask(['y', 'y', 'y', 'y'])).toMatchObject({ code: 1 });
    expect(ours().length).toBeGreaterThan(1);
    expect(live()).toEqual([]);
  });

  it('names every invalid setting, and quotes no value', async () => {
    const { apiKey } = bed.momento.issueKey();
    const v2 = bed.momento.issueV2Key().apiKey;
    const ended = await ask(
      [],
      {
        CONFORMANCE_MANAGEMENT_KEY: apiKey,
        CONFORMANCE_V1_KEY: v2,
        CONFORMANCE_SECRET: 'secret',
        CONFORMANCE_ROLE: 'r viewer',
        MOMENTO_ENDPOINT: 'https://x',
      },
      { args: [apiKey] },
    );
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toBe(
      [
        'conformance: nothing was checked: CONFORMANCE_MANAGEMENT_KEY must be a v2 key, or its JSON',
        'CONFORMANCE_V1_KEY must be a v1 key, or its JSON',
        'CONFORMANCE_SECRET must be the full name of a secret that this tool can create, such as projects/PROJECT/secrets/SECRET',
        'CONFORMANCE_ROLE must be the id of a role, such as r-viewer',
        'MOMENTO_ENDPOINT must be a host such as cell-4-us-west-2-1.prod.a.momentohq.com, without a prefix (cache., control. or token.), a scheme, a port or a path',
        'arguments are refused: pass keys in the environment.\n',
      ].join('; '),
    );
  });
});

describe('docs/development/conformance.md', () => {
  const page = readFileSync(resolve(__dirname, '../../docs/development/conformance.md'), 'utf8');

  it('lists every guess', () => {
    const [, section = ''] = /## Guesses today(.*?)\n## /s.exec(page) ?? [];
    const documented = [...section.matchAll(/^\| `(.+?)` \|/gm)].map(([, id]) => id);
    const guesses = LINES.filter(({ source }) => source === 'guess').map(({ id }) => id);
    expect(documented.sort()).toEqual(guesses.sort());
  });

  it('lists every variable that is read', () => {
    const asked = new Set<string>();
    readTarget(new Proxy({}, { get: (_, name) => void asked.add(String(name)) }));
    const [, section = ''] = /## Against a real account(.*?)\n## /s.exec(page) ?? [];
    const documented = [...section.matchAll(/^\| `(.+?)` \|/gm)].map(([, name]) => name);
    const forEmulators = (name: string) => name.endsWith('_EMULATOR_HOST');
    expect(documented.sort()).toEqual([...asked].filter((name) => !forEmulators(name)).sort());
  });
});
