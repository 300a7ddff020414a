import { randomBytes } from 'node:crypto';
import { auth, cache, control, pubsub } from '@gomomento/generated-types';
import { status, type Metadata } from '@grpc/grpc-js';
import { Account, ENDPOINT, jwt, type IssuedV2Key, type Permissions } from './account';
import { mayUse, readKeyProperties, type Grant } from './generated-key';
import { GrpcHost, Refusal, type Answer, type Stream } from './grpc-host';
import { Emulator } from './emulator';
import { Topics } from './topics';

const { _GenerateApiTokenResponse, _RefreshApiTokenResponse } = auth.auth;
const { _Cache, _ListCachesResponse } = control.control_client;
const { ECacheResult, _GetResponse, _SetResponse } = cache.cache_client;
const { _TopicValue, UnimplementedPubsubService } = pubsub.cache_client.pubsub;

type PublishRequest = InstanceType<typeof pubsub.cache_client.pubsub._PublishRequest>;
type SubscriptionRequest = InstanceType<typeof pubsub.cache_client.pubsub._SubscriptionRequest>;

/** A v1 or legacy key: its parts, and the JSON of Momento's console. */
export interface IssuedKey {
  apiKey: string;
  refreshToken: string;
  /** Epoch seconds. */
  validUntil: number;
  endpoint: string;
  /** The JSON that the Momento console downloads. */
  consoleJson: string;
}

interface Key {
  /** The part of the API key that clients send: all of a legacy key, a part of a v1 key. */
  readonly inner: string;
  readonly apiKey: string;
  readonly refreshToken: string;
  readonly lifetimeSeconds: number;
  readonly validUntil: number;
  readonly permissions: Permissions;
  /** The permissions of a generated key. Keys from the console can use every cache. */
  readonly grants: readonly Grant[] | undefined;
  /** Momento accepts the key from this time on, in epoch milliseconds. */
  readonly knownFrom: number;
  rejectionsLeft: number;
  revoked: boolean;
  refreshTokenUsed: boolean;
}

/**
 * An emulator of Momento: it generates and refreshes v1 keys, lists caches, gets and sets items, publishes to topics and
 * serves subscriptions. Caches, items and topics also accept the v2 keys of the account. Other calls fail with UNIMPLEMENTED.
 */
export class MomentoEmulator extends Emulator {
  /** Whether a v1 refresh token works more than once. Momento doesn't document this. */
  refreshTokens: 'reusable' | 'single-use' = 'reusable';
  /** How long Momento rejects a key that was refreshed or generated. */
  newKeyLagMs = 0;
  /** How many calls with a refreshed or generated key Momento rejects before it accepts the key. */
  newKeyRejections = 0;
  /** Wrong fields, which replace the fields of the answer to a refresh. */
  refreshAnswer: Partial<ReturnType<typeof answerFields>> = {};
  /** The caches that exist, empty at first. */
  caches: string[] = ['cache'];
  readonly topics = new Topics();

  readonly #items = new Map<string, { value: Uint8Array; expiresAt: number }>();
  readonly #keysByInner = new Map<string, Key>();
  readonly #keysByApiKey = new Map<string, Key>();

  private constructor(
    /** Shared with the emulator of the key API. */
    readonly account: Account,
  ) {
    const grpc = new GrpcHost('momento');
    super(grpc, account);
    grpc.serve(auth.auth.UnimplementedAuthService.definition, {
      GenerateApiToken: (request: InstanceType<typeof auth.auth._GenerateApiTokenRequest>) =>
        this.#generate(request),
      RefreshApiToken: (request: InstanceType<typeof auth.auth._RefreshApiTokenRequest>) =>
        this.#refresh(request.api_key, request.refresh_token),
    });
    grpc.serve(control.control_client.UnimplementedScsControlService.definition, {
      ListCaches: (_request: object, metadata: Metadata) => this.#listCaches(metadata),
    });
    grpc.serve(cache.cache_client.UnimplementedScsService.definition, {
      Get: (
        { cache_key }: InstanceType<typeof cache.cache_client._GetRequest>,
        metadata: Metadata,
      ) => this.#get(metadata, cache_key),
      Set: (request: InstanceType<typeof cache.cache_client._SetRequest>, metadata: Metadata) =>
        this.#set(metadata, request.cache_key, request.cache_body, request.ttl_milliseconds),
    });
    grpc.serve(
      UnimplementedPubsubService.definition,
      {
        Publish: (request: PublishRequest, metadata: Metadata) => this.#publish(request, metadata),
      },
      undefined,
      {
        Subscribe: (request: SubscriptionRequest, metadata: Metadata, stream: Stream<object>) =>
          this.#subscribe(request, metadata, stream),
      },
    );
    this.onChange(() => this.topics.endRejected());
  }

  /** Starts the service on a free loopback port. */
  static start(options: { now?: () => number; account?: Account } = {}): Promise<MomentoEmulator> {
    const { now = Date.now, account = new Account(now) } = options;
    return new MomentoEmulator(account).listen();
  }

  /** Issues a v1 or legacy key as the console does. Momento accepts it at once. */
  issueKey(
    options: {
      lifetimeSeconds?: number;
      permissions?: Permissions;
      format?: 'v1' | 'legacy';
    } = {},
  ): IssuedKey {
    const { lifetimeSeconds = 30 * 24 * 3600, permissions = 'all', format = 'v1' } = options;
    const key = this.#issue({ lifetimeSeconds, permissions, grants: undefined, format });
    this.changed();
    const { apiKey, refreshToken, validUntil } = key;
    const consoleJson = JSON.stringify({
      apiKey,
      refreshToken,
      validUntil,
      restEndpoint: `https://api.cache.${ENDPOINT}`,
    });
    return { apiKey, refreshToken, validUntil, endpoint: ENDPOINT, consoleJson };
  }

  /** Issues a v2 key as the console and Momento's CLI do. Momento accepts the key at once. */
  issueV2Key(options?: Parameters<Account['issueV2Key']>[0]): IssuedV2Key {
    return this.account.issueV2Key(options);
  }

  /** Whether Momento accepts a call with this key now. */
  accepts(apiKey: string): boolean {
    const key = this.#keysByApiKey.get(apiKey);
    return key === undefined ? this.account.accepts(apiKey) : this.#isKnown(key);
  }

  /** When a key expires, in epoch milliseconds; undefined if it never expires or wasn't issued. */
  expiryOf(apiKey: string): number | undefined {
    const seconds =
      this.#keysByApiKey.get(apiKey)?.validUntil ??
      this.account.find(apiKey)?.info.expires_at_epoch_seconds;
    return seconds === undefined ? undefined : seconds * 1000;
  }

  /** Whether a v1 or legacy key can be refreshed now with this token. */
  acceptsRefresh(apiKey: string, refreshToken: string): boolean {
    const key = this.#keysByApiKey.get(apiKey);
    return this.accepts(apiKey) && key?.refreshToken === refreshToken && !key.refreshTokenUsed;
  }

  /** The permissions of a generated v1 key; undefined for any other key. */
  grants(apiKey: string): readonly Grant[] | undefined {
    return this.#keysByApiKey.get(apiKey)?.grants;
  }

  /** Revokes a key, as an operator does in the console. */
  revoke(apiKey: string): void {
    const key = this.#keysByApiKey.get(apiKey);
    if (key === undefined) {
      this.account.revoke(this.account.find(apiKey)?.info.key_id ?? '', 'operator');
    } else {
      key.revoked = true;
      this.changed();
    }
  }

  /** Publishes a text to a topic, as a client would. */
  publish(cacheName: string, topic: string, text: string): void {
    this.topics.publish(cacheName, topic, new _TopicValue({ text }));
  }

  /** Every key and refresh token that was issued, and the part of each key that clients send. */
  secrets(): string[] {
    const all = [...this.#keysByInner.values()].flatMap(({ apiKey, inner, refreshToken }) => [
      apiKey,
      inner,
      refreshToken,
    ]);
    return [...new Set(all), ...this.account.secrets()];
  }

  #isKnown(key: Key): boolean {
    return (
      !key.revoked &&
      key.rejectionsLeft === 0 &&
      this.now() >= key.knownFrom &&
      this.now() < key.validUntil * 1000
    );
  }

  #issue(
    terms: Pick<Key, 'lifetimeSeconds' | 'permissions' | 'grants'> & { format: 'v1' | 'legacy' },
    lag?: { ms: number; rejections: number },
  ): Key {
    const { lifetimeSeconds, permissions, grants, format } = terms;
    const validUntil = Math.floor(this.now() / 1000) + lifetimeSeconds;
    const claims = format === 'legacy' ? { cp: `control.${ENDPOINT}`, c: `cache.${ENDPOINT}` } : {};
    const inner = jwt({ ...claims, sub: 'local', exp: validUntil });
    const key: Key = {
      inner,
      apiKey: format === 'legacy' ? inner : v1(inner),
      refreshToken: randomBytes(32).toString('base64url'),
      lifetimeSeconds,
      validUntil,
      permissions,
      grants,
      knownFrom: this.now() + (lag?.ms ?? -Infinity),
      rejectionsLeft: lag?.rejections ?? 0,
      revoked: false,
      refreshTokenUsed: false,
    };
    this.#keysByInner.set(inner, key);
    this.#keysByApiKey.set(key.apiKey, key);
    return key;
  }

  #authenticate(inner: string | undefined): Key {
    const key = this.#keysByInner.get(inner ?? '');
    if (!key || !this.#isKnown(key)) {
      if (key && key.rejectionsLeft > 0) key.rejectionsLeft -= 1;
      throw new Refusal(status.UNAUTHENTICATED, 'Invalid API key');
    }
    return key;
  }

  /** Returns the permissions of a call's key. Throws a `Refusal` if Momento rejects the key. */
  #admit(metadata: Metadata): Pick<Key, 'permissions'> & Partial<Pick<Key, 'grants'>> {
    const sent = sentKey(metadata);
    const admitted = this.account.admit(sent);
    return admitted ? { permissions: admitted.role.caches } : this.#authenticate(sent);
  }

  #generate(
    request: InstanceType<typeof auth.auth._GenerateApiTokenRequest>,
  ): Answer<InstanceType<typeof _GenerateApiTokenResponse>> {
    if (this.#authenticate(request.auth_token).permissions !== 'all') {
      throw new Refusal(status.PERMISSION_DENIED, 'Only a super user key can generate keys');
    }
    const fresh = this.#issue(
      { ...readKeyProperties(request), permissions: 'data-only', format: 'v1' },
      this.#lag(),
    );
    this.changed();
    return {
      answer: new _GenerateApiTokenResponse(answerFields(fresh)),
      corrupted: new _GenerateApiTokenResponse(),
    };
  }

  #refresh(
    inner: string,
    refreshToken: string,
  ): Answer<InstanceType<typeof _RefreshApiTokenResponse>> {
    const key = this.#authenticate(inner);
    if (key.refreshToken !== refreshToken || key.refreshTokenUsed) {
      // Momento doesn't document this code. The emulator's code differs from the code for an expired key, so that callers
      // must handle both.
      throw new Refusal(status.INVALID_ARGUMENT, 'Invalid refresh token');
    }
    key.refreshTokenUsed = this.refreshTokens === 'single-use';
    // The SDK builds a v1 key from every answer, even if the old key is a legacy key.
    const fresh = this.#issue({ ...key, format: 'v1' }, this.#lag());
    this.changed();
    return {
      answer: new _RefreshApiTokenResponse({ ...answerFields(fresh), ...this.refreshAnswer }),
      corrupted: new _RefreshApiTokenResponse(),
    };
  }

  #listCaches(metadata: Metadata): Answer<InstanceType<typeof _ListCachesResponse>> {
    if (this.#admit(metadata).permissions === 'data-only') {
      throw new Refusal(status.PERMISSION_DENIED, 'Insufficient permissions to list caches');
    }
    return {
      answer: new _ListCachesResponse({
        cache: this.caches.map((cache_name) => new _Cache({ cache_name })),
      }),
      corrupted: new _ListCachesResponse({ cache: [new _Cache()] }),
    };
  }

  #get(metadata: Metadata, key: Uint8Array): Answer<InstanceType<typeof _GetResponse>> {
    const item = this.#items.get(this.#address(metadata, key, 'read'));
    const answer =
      item === undefined || this.now() >= item.expiresAt
        ? new _GetResponse({ result: ECacheResult.Miss })
        : new _GetResponse({ result: ECacheResult.Hit, cache_body: item.value });
    return { answer, corrupted: new _GetResponse() };
  }

  #set(
    metadata: Metadata,
    key: Uint8Array,
    value: Uint8Array,
    ttlMs: number,
  ): Answer<InstanceType<typeof _SetResponse>> {
    this.#items.set(this.#address(metadata, key, 'write'), {
      value,
      expiresAt: this.now() + ttlMs,
    });
    return {
      answer: new _SetResponse({ result: ECacheResult.Ok }),
      corrupted: new _SetResponse(),
    };
  }

  #publish(request: PublishRequest, metadata: Metadata): Answer<object> {
    this.#admitToTopics(metadata, request.cache_name);
    this.topics.publish(request.cache_name, request.topic, request.value);
    const empty = UnimplementedPubsubService.definition.Publish.responseDeserialize(Buffer.of());
    return { answer: empty, corrupted: empty };
  }

  #subscribe(request: SubscriptionRequest, metadata: Metadata, stream: Stream<object>): void {
    this.#admitToTopics(metadata, request.cache_name);
    const sent = sentKey(metadata);
    const isAccepted = (): boolean => {
      const key = this.#keysByInner.get(sent);
      return key === undefined ? this.account.accepts(sent) : this.#isKnown(key);
    };
    this.topics.subscribe(request, stream, isAccepted);
  }

  #admitToTopics(metadata: Metadata, cacheName: string): void {
    if (this.#admit(metadata).grants) {
      throw new Refusal(status.PERMISSION_DENIED, 'Insufficient permissions for the topic');
    }
    if (!this.caches.includes(cacheName)) throw new Refusal(status.NOT_FOUND, 'Cache not found');
  }

  /** The cache and key of an item, as one text. Throws a `Refusal` if the call can't access the item. */
  #address(metadata: Metadata, key: Uint8Array, access: 'read' | 'write'): string {
    const { grants } = this.#admit(metadata);
    const name = String(metadata.get('cache')[0]);
    if (grants && !mayUse(grants, name, access)) {
      throw new Refusal(
        status.PERMISSION_DENIED,
        `Insufficient permissions to ${access === 'read' ? 'read from' : 'write to'} the cache`,
      );
    }
    if (!this.caches.includes(name)) throw new Refusal(status.NOT_FOUND, 'Cache not found');
    return `${name}/${Buffer.from(key).toString('base64')}`;
  }

  #lag(): { ms: number; rejections: number } {
    return { ms: this.newKeyLagMs, rejections: this.newKeyRejections };
  }
}

/** The key of a call, or an empty text if the call has no key. */
function sentKey(metadata: Metadata): string {
  return metadata.get('authorization')[0]?.toString() ?? '';
}

/** The fields of an answer with a new key. From them the SDK builds the API key that its caller gets. */
function answerFields({ inner, refreshToken, validUntil }: Key) {
  return {
    api_key: inner,
    refresh_token: refreshToken,
    endpoint: ENDPOINT,
    valid_until: validUntil,
  };
}

function v1(inner: string): string {
  return Buffer.from(JSON.stringify({ endpoint: ENDPOINT, api_key: inner })).toString('base64');
}
