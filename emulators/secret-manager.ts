import { readFileSync } from 'node:fs';
import { crc32c } from '@aws-crypto/crc32c';
import type { protos } from '@google-cloud/secret-manager';
import { status, type Metadata, type ServiceDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { errorInfo, statusDetails } from './google-rpc';
import { GrpcHost, Refusal, type Answer, type Gate, type Method } from './grpc-host';
import { Ledger, Emulator } from './emulator';

type SecretResource = protos.google.cloud.secretmanager.v1.ISecret;
type VersionResource = protos.google.cloud.secretmanager.v1.ISecretVersion;
type AccessResponse = protos.google.cloud.secretmanager.v1.IAccessSecretVersionResponse;
type ListResponse = protos.google.cloud.secretmanager.v1.IListSecretVersionsResponse;
type PermissionsResponse = protos.google.iam.v1.ITestIamPermissionsResponse;

/** The permissions that can be granted on a secret. */
const PERMISSIONS = [
  'secretmanager.secrets.create',
  'secretmanager.secrets.delete',
  'secretmanager.secrets.get',
  'secretmanager.secrets.getIamPolicy',
  'secretmanager.secrets.setIamPolicy',
  'secretmanager.secrets.update',
  'secretmanager.versions.access',
  'secretmanager.versions.add',
  'secretmanager.versions.destroy',
  'secretmanager.versions.disable',
  'secretmanager.versions.enable',
  'secretmanager.versions.get',
  'secretmanager.versions.list',
] as const;

type Permission = (typeof PERMISSIONS)[number];

const SECRET_NAME = /^projects\/([^/]+)(\/locations\/[^/]+)?\/secrets\/([\w-]{1,255})$/;
const VERSION_NAME = new RegExp(`${SECRET_NAME.source.slice(0, -1)}/versions/([\\w-]+)$`);
const FIRST_PROJECT_NUMBER = 123_456_789_012;
const FIRST_ETAG = 0x16_5b_f2_3a_79_78_2f;
const MAX_PAYLOAD_BYTES = 64 * 1024;
const MAX_PAGE_SIZE = 25_000;
const MAX_STALENESS = 50;
const DAY_MS = 24 * 3600 * 1000;

const ROUTING_HEADER = 'x-goog-request-params';
const API = 'secretmanager.googleapis.com';
const REGIONAL_API = /^secretmanager\.([a-z0-9-]+)\.rep\./;

/** The request field that names the resource, for methods that don't use `name`. */
const NAMED_IN: Readonly<Record<string, string>> = {
  ListSecrets: 'parent',
  CreateSecret: 'parent',
  AddSecretVersion: 'parent',
  ListSecretVersions: 'parent',
  UpdateSecret: 'secret.name',
  SetIamPolicy: 'resource',
  GetIamPolicy: 'resource',
  TestIamPermissions: 'resource',
};

/** Google's ErrorInfo for a status code, unless the `Refusal` has its own details. */
const USUAL_INFO: Readonly<Partial<Record<status, readonly [reason: string, domain: string]>>> = {
  [status.PERMISSION_DENIED]: ['IAM_PERMISSION_DENIED', 'iam.googleapis.com'],
  [status.RESOURCE_EXHAUSTED]: ['RATE_LIMIT_EXCEEDED', 'googleapis.com'],
  [status.UNAUTHENTICATED]: ['ACCESS_TOKEN_EXPIRED', 'googleapis.com'],
};

export type State = 'ENABLED' | 'DISABLED' | 'DESTROYED';

/** The current state of a version. Answers to callers might still show an older state. */
export interface VersionView {
  version: string;
  state: State;
  /** Epoch milliseconds, like the other times. */
  createTime: number;
  etag: string;
  /** Undefined once the version is destroyed. */
  payload: Buffer | undefined;
  scheduledDestroyTime: number | undefined;
  destroyTime: number | undefined;
}

/** How many requests one project can make in a minute. */
export interface Quotas {
  writesPerMinute?: number;
  readsPerMinute?: number;
  accessesPerMinute?: number;
}

type Quota = 'Write' | 'Read' | 'Access';

export interface PolicyRefusal {
  /** PERMISSION_DENIED by default */
  readonly code?: status;
  /** google.api.ErrorReason */
  readonly reason: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** If set, the error also contains a google.rpc.PreconditionFailure with a violation of this type. */
  readonly violation?: string;
}

interface Version {
  readonly number: number;
  readonly state: State;
  readonly createTime: number;
  readonly etag: string;
  readonly payload: Buffer | undefined;
  /** The checksum in answers. A test can set a wrong checksum. */
  readonly crc32c: number;
  readonly checksumWasSent: boolean;
  readonly scheduledDestroyTime: number | undefined;
  readonly destroyTime: number | undefined;
}

interface Secret {
  readonly name: string;
  readonly isRegional: boolean;
  readonly createTime: number;
  readonly etag: string;
  readonly versionDestroyTtlMs: number | undefined;
  /** The versions, oldest first, after each of the latest changes. The last entry is the current state. */
  history: (readonly Version[])[];
  /** Additions that haven't taken effect yet. */
  additions: readonly { due: number; data: Buffer; checksumWasSent: boolean }[];
}

/** The parts of a resource name. */
interface Target {
  /** The secret's name with the project's number, as in answers. */
  name: string;
  project: number;
  isRegional: boolean;
  /** The last part of the name, after `/versions/`. */
  ref: string | undefined;
}

/**
 * An emulator of Secret Manager. Calls that the emulator can't handle like the real service fail with UNIMPLEMENTED.
 *
 * Error texts and details follow published observations of the real service. Enabling and disabling are idempotent, but
 * always change the etag. Destroying isn't idempotent. State changes accept no alias. TestIamPermissions on a missing secret
 * returns no permission.
 *
 * The client's `:authority` selects the endpoint. `secretmanager.LOCATION.rep.googleapis.com` is the endpoint of a location,
 * and every other host is the global endpoint. Each endpoint serves only its own secrets.
 */
export class SecretManagerEmulator extends Emulator {
  /** Limits for each whole minute of the emulator's clock. An unset quota is unlimited. */
  quotas: Quotas = {};
  /** How many of the newest changes to a secret are missing in lists, at most 50. */
  staleLists = 0;
  /** How many of the newest changes to a secret are missing in `latest`, at most 50. */
  staleLatest = 0;
  /** Whether versions have etags. Other emulators of Secret Manager don't return etags. */
  hasEtags = true;
  /** Whether the API is enabled in the callers' projects. */
  isEnabled = true;
  /** If set, every call fails with this error of a policy, the project or the token. */
  refusal: PolicyRefusal | undefined;
  /** The maximum number of versions on a page, even if the caller requests more. */
  maxPageSize = MAX_PAGE_SIZE;
  /** How many of its last versions a page shares with the next page. */
  pageOverlap = 0;
  /** If set, lists never end. Each page leads to the same next page, or to another one. */
  endlessPages: 'same' | 'other' | undefined;
  /** Changes the answers of a method, to test undocumented answers. */
  rewrite: ((method: string, answer: object) => object) | undefined;
  /**
   * How long after its call an addition takes effect, in milliseconds of the emulator's clock. The call fails with
   * DEADLINE_EXCEEDED, as if the service were too slow. The next call about the secret applies the additions that are due.
   */
  additionDelayMs = 0;

  readonly #secrets = new Map<string, Secret>();
  readonly #grants = new Map<string, ReadonlySet<string>>();
  readonly #projects = new Map<string, number>();
  readonly #usage = new Map<string, { minute: number; count: number }>();
  /** Names of versions whose key in Cloud KMS is disabled. */
  readonly #withoutKey = new Set<string>();
  #pages = 0;
  #etags = 0;

  private constructor(now: () => number) {
    const grpc = new GrpcHost('secretmanager', describe);
    super(grpc, new Ledger(now));
    grpc.serve(
      SERVICE,
      this.#rewriting({
        CreateSecret: (request: CreateSecretRequest) => this.#createSecret(request),
        GetSecret: (request: NameRequest) => this.#getSecret(request),
        DeleteSecret: (request: NameRequest) => this.#deleteSecret(request),
        AddSecretVersion: (request: AddSecretVersionRequest) => this.#addSecretVersion(request),
        GetSecretVersion: (request: NameRequest) => this.#getSecretVersion(request),
        AccessSecretVersion: (request: NameRequest) => this.#accessSecretVersion(request),
        ListSecretVersions: (request: ListSecretVersionsRequest) =>
          this.#listSecretVersions(request),
        EnableSecretVersion: (request: NameRequest) =>
          this.#changeState(request, 'secretmanager.versions.enable', () => enabled),
        DisableSecretVersion: (request: NameRequest) =>
          this.#changeState(request, 'secretmanager.versions.disable', () => disabled),
        DestroySecretVersion: (request: NameRequest) =>
          this.#changeState(request, 'secretmanager.versions.destroy', (secret, version) =>
            this.#destruction(secret, version),
          ),
        TestIamPermissions: (request: TestIamPermissionsRequest) =>
          this.#testIamPermissions(request),
      }),
      (...call) => this.#gate(...call),
    );
  }

  /** Starts the emulator on a free loopback port. */
  static start(options: { now?: () => number } = {}): Promise<SecretManagerEmulator> {
    return new SecretManagerEmulator(options.now ?? Date.now).listen();
  }

  /** Creates `projects/p/secrets/s` or `projects/p/locations/l/secrets/s`, without versions. */
  createSecret(name: string, options: { versionDestroyTtlMs?: number } = {}): void {
    this.#create(this.#parse(name), options.versionDestroyTtlMs);
  }

  /** Adds a version without Secret Manager's checks. Returns the number of the version. */
  addVersion(
    secret: string,
    payload: string | Buffer,
    options: { createTime?: number; state?: State; crc?: number } = {},
  ): string {
    const version = this.#add(this.#existing(secret), Buffer.from(payload), {
      ...(options.createTime !== undefined && { createTime: options.createTime }),
      ...(options.crc !== undefined && { crc32c: options.crc }),
      ...(options.state && this.#inState(options.state)),
    });
    return String(version.number);
  }

  /** Changes a version's state as an operator does. A destruction isn't delayed. */
  setState(secret: string, version: string, state: State): void {
    const found = this.#existing(secret);
    this.#change(found, this.#numbered(found, version), this.#inState(state));
  }

  /** Disables or enables the Cloud KMS key of a version. The state of the version doesn't change. */
  setKeyState(secret: string, version: string, state: 'ENABLED' | 'DISABLED'): void {
    this.#mark(this.#withoutKey, secret, version, state === 'DISABLED');
  }

  /** Deletes a secret with all its versions. */
  deleteSecret(secret: string): void {
    this.#secrets.delete(this.#existing(secret).name);
    this.changed();
  }

  exists(secret: string): boolean {
    return this.#find(this.#parse(secret)) !== undefined;
  }

  /** The versions, newest first. A secret that doesn't exist has none. */
  versions(secret: string): VersionView[] {
    const found = this.#find(this.#parse(secret));
    return current(found).toReversed().map(view);
  }

  /** The payload that applications get from `latest` now; undefined if they get an error. */
  latest(secret: string): Buffer | undefined {
    const target = this.#parse(secret);
    const version = this.#latest(this.#find(target));
    const hasKey = !this.#withoutKey.has(`${target.name}/versions/${version?.number ?? 0}`);
    return version?.state === 'ENABLED' && hasKey ? version.payload : undefined;
  }

  /** The permissions of callers on a secret. */
  permissions(secret: string): Set<string> {
    return new Set(this.#granted(this.#parse(secret)));
  }

  /**
   * Grants exactly these permissions on the secret itself. Callers of a deleted secret then get PERMISSION_DENIED. By default
   * callers have all permissions, as if the project granted them.
   */
  grant(secret: string, permissions: readonly string[]): void {
    this.#grants.set(this.#parse(secret).name, new Set(permissions));
  }

  #rewriting(methods: Methods): Methods {
    const rewriting = ([name, method]: [string, Methods[string]]): [string, Methods[string]] => [
      name,
      (...call) => {
        const { answer, corrupted } = method(...call);
        return { answer: this.rewrite?.(name, answer) ?? answer, corrupted };
      },
    ];
    return Object.fromEntries(Object.entries(methods).map(rewriting));
  }

  #mark(marks: Set<string>, secret: string, version: string, isMarked: boolean): void {
    const found = this.#existing(secret);
    const name = `${found.name}/versions/${this.#numbered(found, version).number}`;
    if (isMarked) marks.add(name);
    else marks.delete(name);
    this.changed();
  }

  #createSecret({ parent, secretId, secret }: CreateSecretRequest): Answer<SecretResource> {
    const target = this.#admit(
      SECRET_NAME,
      `${parent}/secrets/${secretId}`,
      'secretmanager.secrets.create',
      'Write',
    );
    const { replication, versionDestroyTtl, ...others } = secret ?? {};
    if (Object.values({ ...others, name: null }).some(isSet)) {
      throw new Refusal(
        status.UNIMPLEMENTED,
        'Only replication and version_destroy_ttl are implemented',
      );
    }
    if (target.isRegional && replication)
      throw invalid('Secret.replication should not be provided.');
    if (!target.isRegional && !replication) throw invalid('Secret.replication must be provided.');
    const ttlMs = versionDestroyTtl ? Number(versionDestroyTtl.seconds) * 1000 : undefined;
    if (ttlMs !== undefined && (ttlMs < DAY_MS || ttlMs > 1000 * DAY_MS)) {
      throw invalid('Secret.version_destroy_ttl must be between 1 and 1000 days.');
    }
    return { answer: secretResource(this.#create(target, ttlMs)), corrupted: {} };
  }

  #getSecret({ name }: NameRequest): Answer<SecretResource> {
    const target = this.#admit(SECRET_NAME, name, 'secretmanager.secrets.get', 'Read');
    return { answer: secretResource(this.#secretOf(target)), corrupted: {} };
  }

  #deleteSecret({ name, etag }: NameRequest): Answer<object> {
    const secret = this.#secretOf(
      this.#admit(SECRET_NAME, name, 'secretmanager.secrets.delete', 'Write'),
    );
    checkEtag(etag, secret.etag);
    this.#secrets.delete(secret.name);
    this.changed();
    return { answer: {}, corrupted: {} };
  }

  #addSecretVersion({ parent, payload }: AddSecretVersionRequest): Answer<VersionResource> {
    const secret = this.#secretOf(
      this.#admit(SECRET_NAME, parent, 'secretmanager.versions.add', 'Write'),
    );
    const data = payload?.data ?? Buffer.alloc(0);
    if (data.length === 0) throw invalid('SecretPayload.data must not be empty.');
    if (data.length > MAX_PAYLOAD_BYTES) {
      throw invalid('The secret payload is larger than the maximum of 65536 bytes.');
    }
    const checksumWasSent = payload?.dataCrc32c !== undefined;
    if (checksumWasSent && Number(payload.dataCrc32c) !== crc32c(data)) {
      throw invalid('Provided SecretPayload.data crc32c does not match calculated crc32c.');
    }
    if (this.additionDelayMs > 0) {
      const due = this.now() + this.additionDelayMs;
      secret.additions = [...secret.additions, { due, data, checksumWasSent }];
      throw new Refusal(status.DEADLINE_EXCEEDED, 'The request timed out.');
    }
    return this.#versionAnswer(secret, this.#add(secret, data, { checksumWasSent }));
  }

  #getSecretVersion({ name }: NameRequest): Answer<VersionResource> {
    const target = this.#admit(VERSION_NAME, name, 'secretmanager.versions.get', 'Read');
    return this.#versionAnswer(this.#secretOf(target), this.#versionOf(target));
  }

  #accessSecretVersion({ name }: NameRequest): Answer<AccessResponse> {
    const target = this.#admit(VERSION_NAME, name, 'secretmanager.versions.access', 'Access');
    const version = this.#versionOf(target);
    const versionName = `${target.name}/versions/${version.number}`;
    if (version.state !== 'ENABLED' || !version.payload) {
      throw failedPrecondition(`Secret Version [${versionName}] is in ${version.state} state.`);
    }
    if (this.#withoutKey.has(versionName)) {
      // The text is from Cloud KMS. The reason in its ErrorInfo isn't known.
      throw failedPrecondition(
        'projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1 is not enabled, current state is: DISABLED.',
      );
    }
    const respond = (data: Buffer): AccessResponse => ({
      name: versionName,
      payload: { data, dataCrc32c: version.crc32c },
    });
    return { answer: respond(version.payload), corrupted: respond(flipped(version.payload)) };
  }

  #listSecretVersions({
    parent,
    pageSize,
    pageToken,
    filter,
  }: ListSecretVersionsRequest): Answer<ListResponse> {
    const secret = this.#secretOf(
      this.#admit(SECRET_NAME, parent, 'secretmanager.versions.list', 'Read'),
    );
    if (pageSize < 0) throw invalid('page_size must not be negative.');
    const size = Math.min(pageSize || MAX_PAGE_SIZE, MAX_PAGE_SIZE, this.maxPageSize);
    const states = parseFilter(filter);
    const below = parsePageToken(pageToken);
    const all = staleView(secret, this.staleLists).toReversed();
    const rest = all.filter(({ number, state }) => number < below && states.has(state));
    const page = rest.slice(0, size);
    const last = page.at(-1);
    const answer = {
      versions: page.map((version) => this.#resource(secret, version)),
      nextPageToken: this.#nextPage(last && rest.length > size ? last.number : undefined),
      totalSize: filter === '' ? all.length : 0,
    };
    return { answer, corrupted: { ...answer, versions: page.map(() => ({})) } };
  }

  /** @param last the number of the last version on this page; undefined if no page follows */
  #nextPage(last: number | undefined): string {
    this.#pages += 1;
    if (this.endlessPages === 'same') return formatPageToken(1);
    if (this.endlessPages === 'other') return formatPageToken(this.#pages);
    return last === undefined ? '' : formatPageToken(last + this.pageOverlap);
  }

  #changeState(
    { name, etag }: NameRequest,
    permission: Permission,
    change: (secret: Secret, version: Version) => Partial<Version>,
  ): Answer<VersionResource> {
    const target = this.#admit(VERSION_NAME, name, permission, 'Write');
    const secret = this.#secretOf(target);
    if (!isNumber(target.ref)) {
      throw invalid(
        `The provided Secret Version ID [${name}] does not match the expected format ` +
          '[projects/*/secrets/*/versions/*]',
      );
    }
    const version = this.#numbered(secret, target.ref);
    if (this.hasEtags) checkEtag(etag, version.etag);
    if (version.state === 'DESTROYED') {
      throw failedPrecondition('SecretVersion.state is already DESTROYED.');
    }
    return this.#versionAnswer(secret, this.#change(secret, version, change(secret, version)));
  }

  #destruction(secret: Secret, version: Version): Partial<Version> {
    if (version.scheduledDestroyTime !== undefined) {
      throw failedPrecondition('SecretVersion is already scheduled for DESTRUCTION.');
    }
    return secret.versionDestroyTtlMs === undefined
      ? this.#inState('DESTROYED')
      : { state: 'DISABLED', scheduledDestroyTime: this.now() + secret.versionDestroyTtlMs };
  }

  /** The caller needs no permission for this method. */
  #testIamPermissions({
    resource,
    permissions,
  }: TestIamPermissionsRequest): Answer<PermissionsResponse> {
    const target = this.#parse(resource);
    this.#meter(target.project, 'Read');
    if (permissions.length === 0 || permissions.length > 100) {
      throw invalid('Between 1 and 100 permissions must be tested.');
    }
    const unknown = permissions.find((name) => !PERMISSIONS.some((known) => known === name));
    if (unknown !== undefined) {
      // Other services of Google refuse unknown permissions. For Secret Manager this isn't known.
      throw invalid(`Permission ${unknown} is not valid for this resource.`);
    }
    const granted = this.#find(target) ? this.#granted(target) : new Set<string>();
    return {
      answer: { permissions: permissions.filter((permission) => granted.has(permission)) },
      corrupted: { permissions: ['corrupted'] },
    };
  }

  /** The checks before every method: the routing header, the endpoint's location, policies, and whether the API is enabled. */
  readonly #gate: Gate = (method, request, { metadata, authority }) => {
    const field = NAMED_IN[method] ?? 'name';
    const name = field.split('.').reduce(fieldOf, request) as string;
    checkRouting(metadata, field, name);
    const [, project, location] = /^projects\/([^/]+)(?:\/locations\/([^/]+))?/.exec(name) ?? [];
    if (location !== REGIONAL_API.exec(authority)?.[1]) throw notOfThisEndpoint(name, location);
    if (this.refusal !== undefined) throw refusedByPolicy(this.refusal);
    if (!this.isEnabled) {
      const consumer = `projects/${this.#projectNumber(project ?? '')}`;
      throw new Refusal(
        status.PERMISSION_DENIED,
        `Secret Manager API has not been used in project ${project ?? ''} before or it is disabled.`,
        [errorInfo('SERVICE_DISABLED', 'googleapis.com', { service: API, consumer })],
      );
    }
  };

  /** Parses the resource name of a request. Throws a `Refusal` if the quota is exceeded or the permission is missing. */
  #admit(pattern: RegExp, name: string, permission: Permission, quota: Quota): Target {
    const target = this.#parse(name, pattern);
    this.#meter(target.project, quota);
    const grants = this.#grants.get(target.name);
    if (grants && !(grants.has(permission) && this.#find(target))) {
      throw denied(permission, name);
    }
    return target;
  }

  #meter(project: number, quota: Quota): void {
    const limit = {
      Write: this.quotas.writesPerMinute,
      Read: this.quotas.readsPerMinute,
      Access: this.quotas.accessesPerMinute,
    }[quota];
    const minute = Math.floor(this.now() / 60_000);
    const key = `${quota} ${project}`;
    const used = this.#usage.get(key);
    const count = used?.minute === minute ? used.count : 0;
    if (limit !== undefined && count >= limit) {
      throw new Refusal(
        status.RESOURCE_EXHAUSTED,
        `Quota exceeded for quota metric '${quota} requests' and limit ` +
          `'${quota} requests per minute' of service '${API}' for consumer ` +
          `'project_number:${project}'.`,
        [
          errorInfo('RATE_LIMIT_EXCEEDED', 'googleapis.com', {
            service: API,
            consumer: `projects/${project}`,
            quota_metric: `${API}/${quota.toLowerCase()}_requests`,
            quota_limit: `${quota}RequestsPerMinutePerProject`,
            quota_limit_value: String(limit),
            quota_location: 'global',
            quota_unit: '1/min/{project}',
          }),
        ],
      );
    }
    this.#usage.set(key, { minute, count: count + 1 });
  }

  #granted(target: Target): ReadonlySet<string> {
    return this.#grants.get(target.name) ?? new Set(PERMISSIONS);
  }

  #parse(name: string, pattern = SECRET_NAME): Target {
    const match = pattern.exec(name);
    const [, id, location = '', secret, ref] = match ?? [];
    if (id === undefined || secret === undefined) {
      throw invalid('Invalid resource field value in the request.');
    }
    const project = this.#projectNumber(id);
    return {
      name: `projects/${project}${location}/secrets/${secret}`,
      project,
      isRegional: location !== '',
      ref,
    };
  }

  #projectNumber(id: string): number {
    if (isNumber(id)) return Number(id);
    const number = this.#projects.get(id) ?? FIRST_PROJECT_NUMBER + this.#projects.size;
    this.#projects.set(id, number);
    return number;
  }

  #find(target: Target): Secret | undefined {
    const secret = this.#secrets.get(target.name);
    if (secret) {
      this.#applyDueAdditions(secret);
      this.#destroyDueVersions(secret);
    }
    return secret;
  }

  #existing(name: string): Secret {
    return this.#secretOf(this.#parse(name));
  }

  #secretOf(target: Target): Secret {
    const secret = this.#find(target);
    if (!secret) throw new Refusal(status.NOT_FOUND, `Secret [${target.name}] not found.`);
    return secret;
  }

  #versionOf(target: Target): Version {
    const secret = this.#find(target);
    if (secret && isNumber(target.ref)) return this.#numbered(secret, target.ref);
    if (secret && target.ref !== 'latest') {
      throw new Refusal(
        status.NOT_FOUND,
        `Secret [${target.name}] has no alias [${target.ref ?? ''}]`,
      );
    }
    const version = this.#latest(secret);
    if (!version) {
      throw new Refusal(status.NOT_FOUND, `Secret [${target.name}] not found or has no versions.`);
    }
    return version;
  }

  #numbered(secret: Secret, ref: string): Version {
    const version = current(secret)[Number(ref) - 1];
    if (!version) {
      throw new Refusal(
        status.NOT_FOUND,
        `Secret Version [${secret.name}/versions/${ref}] not found.`,
      );
    }
    return version;
  }

  /** The version that was created last, whatever its state. */
  #latest(secret: Secret | undefined): Version | undefined {
    return secret && staleView(secret, this.staleLatest).at(-1);
  }

  #create(target: Target, versionDestroyTtlMs: number | undefined): Secret {
    if (this.#find(target)) {
      throw new Refusal(status.ALREADY_EXISTS, `Secret [${target.name}] already exists.`);
    }
    const secret: Secret = {
      name: target.name,
      isRegional: target.isRegional,
      createTime: this.now(),
      etag: this.#nextEtag(),
      versionDestroyTtlMs,
      history: [[]],
      additions: [],
    };
    this.#secrets.set(secret.name, secret);
    this.changed();
    return secret;
  }

  #add(secret: Secret, payload: Buffer, fields: Partial<Version>): Version {
    const version: Version = {
      number: current(secret).length + 1,
      state: 'ENABLED',
      createTime: this.now(),
      etag: this.#nextEtag(),
      payload,
      crc32c: crc32c(payload),
      checksumWasSent: false,
      scheduledDestroyTime: undefined,
      destroyTime: undefined,
      ...fields,
    };
    this.#write(secret, [...current(secret), version]);
    return version;
  }

  #change(secret: Secret, version: Version, fields: Partial<Version>): Version {
    const changed = { ...version, ...fields, etag: this.#nextEtag() };
    this.#write(secret, current(secret).with(version.number - 1, changed));
    return changed;
  }

  #write(secret: Secret, versions: readonly Version[]): void {
    secret.history = [...secret.history, versions].slice(-MAX_STALENESS - 1);
    this.changed();
  }

  #applyDueAdditions(secret: Secret): void {
    const due = secret.additions.filter((addition) => addition.due <= this.now());
    secret.additions = secret.additions.filter((addition) => !due.includes(addition));
    for (const { data, checksumWasSent } of due) this.#add(secret, data, { checksumWasSent });
  }

  #destroyDueVersions(secret: Secret): void {
    for (const version of current(secret)) {
      if (
        version.scheduledDestroyTime !== undefined &&
        version.scheduledDestroyTime <= this.now()
      ) {
        this.#change(secret, version, this.#inState('DESTROYED'));
      }
    }
  }

  #inState(state: State): Partial<Version> {
    if (state === 'ENABLED') return enabled;
    if (state === 'DISABLED') return disabled;
    return { ...disabled, state, payload: undefined, destroyTime: this.now() };
  }

  #versionAnswer(secret: Secret, version: Version): Answer<VersionResource> {
    return { answer: this.#resource(secret, version), corrupted: { name: 'corrupted' } };
  }

  #resource(secret: Secret, version: Version): VersionResource {
    const resource = versionResource(secret, version);
    return this.hasEtags ? resource : { ...resource, etag: '' };
  }

  #nextEtag(): string {
    return `"${(FIRST_ETAG + this.#etags++).toString(16)}"`;
  }
}

type Methods = Readonly<Record<string, Method<never, object>>>;

// Requests as proto-loader reads them: missing scalars have default values, missing messages are null or absent.

interface NameRequest {
  name: string;
  etag: string;
}

interface CreateSecretRequest {
  parent: string;
  secretId: string;
  secret: SecretResource | null;
}

interface AddSecretVersionRequest {
  parent: string;
  payload: { data: Buffer; dataCrc32c?: string } | null;
}

interface ListSecretVersionsRequest {
  parent: string;
  pageSize: number;
  pageToken: string;
  filter: string;
}

interface TestIamPermissionsRequest {
  resource: string;
  permissions: string[];
}

function readService(): ServiceDefinition {
  const path = require.resolve('@google-cloud/secret-manager/build/protos/protos.json');
  const root = JSON.parse(readFileSync(path, 'utf8')) as Parameters<typeof fromJSON>[0];
  const definitions = fromJSON(root, { defaults: true, longs: String });
  return definitions['google.cloud.secretmanager.v1.SecretManagerService'] as ServiceDefinition;
}

/** The definition is read once, because tests start many emulators. */
const SERVICE = readService();

// Enabling or disabling a version cancels its scheduled destruction.
const enabled: Partial<Version> = { state: 'ENABLED', scheduledDestroyTime: undefined };
const disabled: Partial<Version> = { state: 'DISABLED', scheduledDestroyTime: undefined };

function current(secret: Secret | undefined): readonly Version[] {
  return secret?.history.at(-1) ?? [];
}

/** The versions as they were before the newest changes. */
function staleView({ history }: Secret, changes: number): readonly Version[] {
  return history.at(-1 - changes) ?? history[0] ?? [];
}

function view(version: Version): VersionView {
  const { number, state, createTime, etag, payload, scheduledDestroyTime, destroyTime } = version;
  return {
    version: String(number),
    state,
    createTime,
    etag,
    payload,
    scheduledDestroyTime,
    destroyTime,
  };
}

function secretResource(secret: Secret): SecretResource {
  const ttlMs = secret.versionDestroyTtlMs;
  return {
    name: secret.name,
    replication: secret.isRegional ? null : { automatic: {} },
    createTime: timestamp(secret.createTime),
    etag: secret.etag,
    versionDestroyTtl: ttlMs === undefined ? null : timestamp(ttlMs),
  };
}

function versionResource(secret: Secret, version: Version): VersionResource {
  const { scheduledDestroyTime, destroyTime } = version;
  return {
    name: `${secret.name}/versions/${version.number}`,
    createTime: timestamp(version.createTime),
    destroyTime: destroyTime === undefined ? null : timestamp(destroyTime),
    state: version.state,
    replicationStatus: secret.isRegional ? null : { automatic: {} },
    etag: version.etag,
    clientSpecifiedPayloadChecksum: version.checksumWasSent,
    scheduledDestroyTime:
      scheduledDestroyTime === undefined ? null : timestamp(scheduledDestroyTime),
  };
}

/** A google.protobuf.Timestamp or Duration. */
function timestamp(ms: number): protos.google.protobuf.ITimestamp {
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: Math.round((ms - seconds * 1000) * 1e6) };
}

function isNumber(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text);
}

/** Whether a field of a message was sent. */
function isSet(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0) return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

function flipped(data: Buffer): Buffer {
  const copy = Buffer.from(data);
  const middle = Math.floor(copy.length / 2);
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
}

/** Parses `state:X`, `state=X` or `state:(X OR Y)`. */
function parseFilter(filter: string): ReadonlySet<State> {
  const all: State[] = ['ENABLED', 'DISABLED', 'DESTROYED'];
  if (filter === '') return new Set(all);
  const match = /^\s*state\s*[:=]\s*(?:(\w+)|\(([\w\s]+)\))\s*$/.exec(filter);
  if (!match) throw new Refusal(status.UNIMPLEMENTED, 'Only filters on state are implemented');
  const names = (match[1] ?? match[2] ?? '').trim().split(/\s+OR\s+/);
  const states = all.filter((state) => names.includes(state));
  if (states.length !== names.length) throw invalid('Invalid filter.');
  return new Set(states);
}

/** A page token contains the version number below which the next page starts. */
function formatPageToken(number: number): string {
  return Buffer.from(`below ${number}`).toString('base64url');
}

function parsePageToken(token: string): number {
  if (token === '') return Infinity;
  const number = /^below (\d+)$/.exec(Buffer.from(token, 'base64url').toString())?.[1];
  if (number === undefined) throw invalid('Invalid page token.');
  return Number(number);
}

/** Google's details for an error. LocalizedMessage repeats the text. */
function describe({ code, details, info }: Refusal): Metadata {
  const [reason = status[code], domain = API] = USUAL_INFO[code] ?? [];
  return statusDetails(code, details, [
    ...(info.length > 0 ? info : [errorInfo(reason, domain, { service: API })]),
    ['LocalizedMessage', { locale: 'en-US', message: details }],
  ]);
}

/** Checks the routing header (AIP-4222). The emulator requires it, because other services of Google do. */
function checkRouting(metadata: Metadata, field: string, name: string): void {
  const sent = metadata.get(ROUTING_HEADER).join('&');
  if (new URLSearchParams(sent).get(field) === name) return;
  throw new Refusal(
    status.INVALID_ARGUMENT,
    `The header ${ROUTING_HEADER} is [${sent}]. It must match the request: ${field} [${name}].`,
    [['BadRequest', { fieldViolations: [{ field, description: ROUTING_HEADER }] }]],
  );
}

function notOfThisEndpoint(name: string, location: string | undefined): Refusal {
  const parent = location === undefined ? 'projects/*/locations/*' : 'projects/*';
  const [kind, rest] = name.includes('/versions/')
    ? ['Secret Version ID', '/secrets/*/versions/*']
    : name.includes('/secrets/')
      ? ['Secret ID', '/secrets/*']
      : ['Parent', ''];
  return invalid(
    `The provided ${kind} [${name}] does not match the expected format [${parent}${rest}]`,
  );
}

function fieldOf(message: unknown, field: string): unknown {
  return (message as Record<string, unknown> | null)?.[field] ?? '';
}

function checkEtag(sent: string, stored: string): void {
  if (sent !== '' && sent !== stored) {
    throw failedPrecondition(
      "The etag provided in the request does not match the resource's current etag. Please retry " +
        'the whole read-modify-write with exponential backoff.',
    );
  }
}

function refusedByPolicy({
  code = status.PERMISSION_DENIED,
  reason,
  metadata,
  violation,
}: PolicyRefusal): Refusal {
  const details = `Request is prohibited (${reason}).`;
  return new Refusal(code, details, [
    errorInfo(reason, 'googleapis.com', metadata),
    ...(violation === undefined
      ? []
      : [['PreconditionFailure', { violations: [{ type: violation }] }] as const]),
  ]);
}

function denied(permission: Permission, name: string): Refusal {
  return new Refusal(
    status.PERMISSION_DENIED,
    `Permission '${permission}' denied for resource '${name}' (or it may not exist).`,
    [
      errorInfo('IAM_PERMISSION_DENIED', 'iam.googleapis.com', {
        permission,
        resource: `//${API}/${name}`,
      }),
    ],
  );
}

function invalid(details: string): Refusal {
  return new Refusal(status.INVALID_ARGUMENT, details);
}

function failedPrecondition(details: string): Refusal {
  return new Refusal(status.FAILED_PRECONDITION, details);
}
