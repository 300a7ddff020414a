/**
 * A Momento CacheClient that follows the key in a Google Cloud secret while it is rotated. To be copied: it needs only the
 * two packages below. The SDK reads a key once, when a client is made. So a new key needs a new client, which has to have
 * connected before it gets calls, and the old client has to live until its calls have ended.
 */
import { CacheClient, CredentialProvider, type Configuration } from '@gomomento/sdk';
import { SecretManagerServiceClient } from '@google-cloud/secret-manager';

const REJECTED = 'AUTHENTICATION_ERROR';
/** What Momento answers about a cache to those whose key it accepts. */
const ACCEPTED = ['', 'NOT_FOUND_ERROR', 'LIMIT_EXCEEDED_ERROR'];
/** What one read may take, and how soon another may follow one that did not help: twice as long after each. */
const [TIMEOUT_MS, BACKOFF_MS] = [5000, 1000];
/** Only a process that slept meanwhile takes so long to read: Cloud Run gives no CPU between requests. */
const ASLEEP_MS = 60_000;

export interface Settings {
  /** `projects/P/secrets/S` or `projects/P/locations/L/secrets/S`. */
  secret: string;
  /** A cache that the key may read: a new key is proved there before it is used. */
  cache: string;
  /** How long what was read is good for, in milliseconds. */
  rereadEvery: number;
  /** The configuration has to return errors, as all do by default, and not to throw them. */
  client: { configuration: Configuration; defaultTtlSeconds: number; eagerConnectTimeout?: number };
  /** The host for v2 keys that are stored without one. */
  endpoint?: string | undefined;
  log: (severity: 'INFO' | 'WARNING' | 'ERROR', message: string) => void;
  /** Gets each new key. Topic subscriptions keep the one that they were made with: make them anew, then end the old. */
  onNewKey?: (credentials: CredentialProvider) => void;
  /** For local services and tests, as are the next two. */
  secretManager?: ConstructorParameters<typeof SecretManagerServiceClient>[0];
  redirect?: (credentials: CredentialProvider) => CredentialProvider;
  now?: () => number;
}

type Key = ReturnType<typeof parseKey>;
type Held = Key & { client: CacheClient; uses: number; rejected: boolean };
type Fields = Partial<Record<string, string>> & { key_info?: Fields };
export class NoKey extends Error {}

export class RotatingCacheClient {
  readonly #settings;
  #held: Held | undefined;
  #reading: Promise<void> | undefined;
  #dueAt = 0;
  #failures = 0;
  #severity = 'INFO';

  constructor(settings: Settings) {
    this.#settings = { now: Date.now, ...settings };
  }

  /**
   * Makes one call, which returns what the SDK answers, and repeats it with a newer key if Momento rejects the one at hand: a
   * rejected call had no effect. Throws if there is no key that works. Do not keep the client: it will be closed.
   */
  async use<T extends object>(call: (client: CacheClient) => Promise<T>): Promise<T> {
    const { now, secret } = this.#settings;
    // Read on use, not by a timer: see ASLEEP_MS. The old key serves meanwhile.
    if (now() >= this.#dueAt) void this.#read();
    if (this.#held === undefined) await this.#reading;
    const held = this.#held;
    if (held === undefined) throw new NoKey(`no key of ${secret} works`);
    const answer = await run(held, call);
    if (codeOf(answer) !== REJECTED) return answer;
    // A read that began before may have missed the newer key. One that begins now is for all who wait.
    await this.#reading;
    if (this.#held === held && (this.#failures === 0 || now() >= this.#dueAt)) await this.#read();
    return this.#held && this.#held !== held ? run(this.#held, call) : answer;
  }

  /** For the end of the process, when no call is under way any more. */
  close(): void {
    this.#held?.client.close();
    this.#held = undefined;
    this.#dueAt = Infinity;
  }

  #read(): Promise<void> {
    return (this.#reading ??= this.#follow().finally(() => (this.#reading = undefined)));
  }

  async #follow(): Promise<void> {
    const { now, secret, rereadEvery, log } = this.#settings;
    const [began, held] = [now(), this.#held];
    const isRejected = held?.rejected === true;
    if (held) held.rejected = false;
    let trouble = '';
    try {
      let key = await this.#access('latest');
      // `latest` may lag behind; a version by its number does not.
      if (isRejected && key.id === held.id) key = await this.#access(Number(key.version) + 1);
      if (key.id !== held?.id) await this.#take(key);
    } catch (error) {
      const reason = codeOf(error) || (error as Error).message;
      trouble = isRejected ? `Momento rejects it and no other is found: ${reason}` : reason;
    }
    if (this.#dueAt === Infinity || (trouble && now() - began > ASLEEP_MS)) return;
    const severity = !trouble ? 'INFO' : held && !isRejected ? 'WARNING' : 'ERROR';
    const news = `${secret}, version in use: ${this.#held?.version ?? 'none'}${trouble && `; ${trouble}`}`;
    if (this.#held !== held || severity !== this.#severity) log(severity, news);
    this.#severity = severity;
    this.#failures = trouble ? this.#failures + 1 : 0;
    const left = (this.#held?.expiresAt ?? 0) - now();
    const calm = left > 0 ? Math.max(left / 2, BACKOFF_MS) : rereadEvery;
    const wait = trouble ? BACKOFF_MS * 2 ** (this.#failures - 1) : calm;
    this.#dueAt = now() + Math.min(wait, rereadEvery) * (1 - Math.random() / 5);
  }

  async #access(version: number | 'latest'): Promise<Key> {
    const { secret, secretManager, endpoint = '' } = this.#settings;
    const location = /\/locations\/([^/]+)/.exec(secret)?.[1];
    const regional = location && { apiEndpoint: `secretmanager.${location}.rep.googleapis.com` };
    // A new client each time: the connection of one that slept may be dead.
    const client = new SecretManagerServiceClient({ ...regional, ...secretManager });
    try {
      // Left to itself, it ends the process where there are no credentials.
      await client.initialize();
      const name = `${secret}/versions/${version}`;
      const read = () => client.accessSecretVersion({ name }, { timeout: TIMEOUT_MS, retry: null });
      const [found] = await read().catch(read);
      const payload = Buffer.from(found.payload?.data ?? '').toString();
      return parseKey(found.name?.split('/').at(-1) ?? '', payload, endpoint);
    } finally {
      await client.close();
    }
  }

  /** Takes a key into use that Momento accepts. Without a clear yes, the one at hand stays. */
  async #take(key: Key): Promise<void> {
    const { cache, client: settings, redirect, onNewKey } = this.#settings;
    const credentialProvider = redirect?.(key.credentials) ?? key.credentials;
    const client = await CacheClient.create({ ...settings, credentialProvider });
    const next = { ...key, client, uses: 2, rejected: false };
    // A client whose control plane was never used opens that connection when it is closed, and leaves it open (SDK 1.118).
    void client.listCaches().finally(() => release(next));
    const code = codeOf(await client.get(cache, 'proof of a key'));
    if (!ACCEPTED.includes(code) || this.#dueAt === Infinity) {
      release(next);
      throw new Error(`Momento does not accept the key of version ${key.version} (${code})`);
    }
    const transport = settings.configuration.getTransportStrategy().getGrpcConfig();
    if (this.#held) setTimeout(release, 2 * transport.getDeadlineMillis(), this.#held).unref();
    this.#held = next;
    onNewKey?.(credentialProvider);
  }
}

async function run<T>(held: Held, call: (client: CacheClient) => Promise<T>): Promise<T> {
  held.uses += 1;
  try {
    const answer = await call(held.client);
    held.rejected ||= codeOf(answer) === REJECTED;
    return answer;
  } finally {
    release(held);
  }
}

/** Being at hand is a use as well, so a client is closed when it is not and its calls have ended. */
function release(held: Held): void {
  held.uses -= 1;
  if (held.uses === 0) held.client.close();
}

/** The code of what the SDK answered or threw; empty if that is no error. */
function codeOf(answer: unknown): string {
  return (answer as { errorCode?: () => string } | undefined)?.errorCode?.() ?? '';
}

/** The console's JSON, that of Momento's API, or a bare key; v1, legacy or v2. No error quotes any of it. */
function parseKey(version: string, payload: string, fallback: string) {
  const fields = payload.trim().startsWith('{') ? parseJson(payload) : { apiKey: payload };
  const { authToken, apiToken, api_key, apiKey = authToken ?? apiToken ?? api_key } = fields;
  const key = String(apiKey).trim();
  const token = parseJson(Buffer.from(key, 'base64').toString()).api_key ?? key;
  const claims = parseJson(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  const host = /^https:\/\/api\.cache\.([^/]+)/.exec(String(fields.restEndpoint))?.[1];
  const endpoint = fields.endpoint ?? host ?? fallback;
  const told = claims.exp ?? fields.validUntil ?? fields.key_info?.expires_at_epoch_seconds;
  const expiresAt = Number(told) * (Number(told) > 1e11 ? 1 : 1000) || Infinity;
  try {
    const credentials =
      claims.t === 'g'
        ? CredentialProvider.fromApiKeyV2({ apiKey: key, endpoint })
        : CredentialProvider.fromDisposableToken(key);
    return { version, id: `${key} ${endpoint}`, credentials, expiresAt };
  } catch {
    throw new Error(`version ${version} holds no key for the SDK (a v2 key needs an endpoint)`);
  }
}

function parseJson(text: string): Fields {
  try {
    return Object(JSON.parse(text)) as Fields;
  } catch {
    return {};
  }
}
