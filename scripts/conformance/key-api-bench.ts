/** Asks Momento's key API, with keys that it mints and that are revoked at the end. */
import { randomBytes } from 'node:crypto';
import { ListCaches } from '@gomomento/sdk';
import * as v from 'valibot';
import { HOUR, MINUTE, SECOND } from '../../src/duration';
import { MintedKey, readAnswer, type KeyInfo } from '../../src/momento/answers';
import { Credential } from '../../src/momento/credential';
import { HttpClient, type Answer, type Exchange } from '../../src/momento/http-client';
import { ADDRESS, KeyApi, REFRESH_PATH } from '../../src/momento/key-api';
import { Pace } from '../../src/momento/pace';
import { Sdk } from '../../src/momento/sdk';
import { failed, NotChecked, once, reasonOf } from './assumption';
import type { Bench } from './group';
import type { Target } from './target';

const LIFETIME = HOUR;
/** Of a key that is to expire while somebody waits. */
const SHORT_LIFETIME = MINUTE;
/** As long as the description of a secret with the longest names there can be. */
const LONG_DESCRIPTION = 360;

/** None that an account has. */
export const NO_ROLE = 'r-conformance';

const WithToken = v.object({ ...MintedKey.entries, refresh_token: v.optional(v.string()) });
type WithToken = v.InferOutput<typeof WithToken>;

interface Minted {
  readonly status: string;
  /** @throws Unanswered if there is none */
  readonly key: () => WithToken;
}

interface Refreshed {
  readonly status: string;
  readonly old: WithToken;
  readonly key: WithToken | undefined;
}

export class KeyApiBench implements Bench {
  readonly target: Target;
  readonly managementKey: Credential;
  /** The function's own client. */
  readonly api: KeyApi;
  readonly description = `momento-key-rotator conformance ${randomBytes(6).toString('hex')}`;
  readonly longDescription = this.description.padEnd(LONG_DESCRIPTION, '.');

  readonly #http: HttpClient;
  readonly #pace: Pace;
  readonly #sdk: Sdk;
  readonly #refreshPath: string;
  #hasMinted = false;
  firstAskedAt = 0;

  /** @throws NotChecked without a management key */
  constructor(target: Target) {
    const { clock, momento, managementKey } = target;
    if (managementKey === undefined) throw new NotChecked('CONFORMANCE_MANAGEMENT_KEY is not set');
    this.target = target;
    this.managementKey = managementKey;
    this.#pace = new Pace(clock);
    this.#sdk = new Sdk(momento.emulator);
    const emulator = momento.keyApiEmulator;
    this.#http = new HttpClient(new URL(emulator === undefined ? ADDRESS : `http://${emulator}`));
    const { refreshPath = REFRESH_PATH } = momento;
    this.#refreshPath = refreshPath;
    this.api = new KeyApi({ emulator, refreshPath, pace: this.#pace, now: () => clock.now() });
  }

  /** Minted by the function's own call. */
  readonly first = once(async () => {
    await this.#agreeToMint();
    this.firstAskedAt = this.target.clock.now();
    const expiresAt = this.firstAskedAt + LIFETIME;
    const { description } = this;
    const { role } = this.target;
    const key = await this.api.mint(this.managementKey.apiKey, { role, description, expiresAt });
    return { key, expiresAt: Math.floor(expiresAt / SECOND) * SECOND };
  });

  /** Has the same description. */
  readonly twin = once(async () => {
    await this.first();
    return this.#minted({ exclude_refresh_token: true });
  });
  readonly longDescribed = once(() =>
    this.#minted({ description: this.longDescription, exclude_refresh_token: true }),
  );
  readonly ofOwnRole = once(async () =>
    this.#minted({ role_id: await this.ownRole(), exclude_refresh_token: true }),
  );
  readonly refreshable = once(() => this.#minted({}));
  readonly expired = once(async () => {
    const { clock } = this.target;
    const expiresAt = Math.floor((clock.now() + SHORT_LIFETIME) / SECOND);
    const key = (await this.#minted({ expiry: expiresAt })).key();
    await clock.sleep((expiresAt + 5) * SECOND - clock.now());
    return key;
  });

  readonly revoked = once(async () => {
    const key = (await this.twin()).key();
    return { key, status: await this.delete(key.key_info.key_id) };
  });

  readonly wrongPath = once(async () => {
    const key = (await this.refreshable()).key();
    const { status } = await this.#spend(`${this.#refreshPath}-conformance`, key.refresh_token);
    return { status: String(status) };
  });
  readonly refreshed = once(async (): Promise<Refreshed> => {
    const old = (await this.refreshable()).key();
    // Where nothing is, nothing is spent: the token has to work after it.
    await this.wrongPath();
    await this.#agreeTo('Spend the refresh token of one of the keys that were minted?');
    const answer = await this.#spend(this.#refreshPath, old.refresh_token);
    return { status: String(answer.status), old, key: readAnswer(WithToken, answer.text) };
  });
  readonly spentAgain = once(async () => {
    const { old } = await this.refreshed();
    return this.spend(old);
  });

  readonly list = (): Promise<KeyInfo[]> => this.api.list(this.managementKey.apiKey);

  readonly ownRole = once(async () => {
    const { role, keyId } = this.managementKey;
    const listed = role ?? (await this.list()).find(({ key_id }) => key_id === keyId)?.role_id;
    return listed ?? failed('nothing tells the role of the management key');
  });

  async refreshedKey(): Promise<{ old: WithToken; key: WithToken }> {
    const { old, key, status } = await this.refreshed();
    return { old, key: key ?? failed(`no key was refreshed (HTTP ${status})`) };
  }

  async status(apiKey: string, exchange: Partial<Exchange> = {}): Promise<string> {
    return String((await this.call(apiKey, exchange)).status);
  }

  delete(keyId: string, apiKey = this.managementKey.apiKey): Promise<string> {
    return this.status(apiKey, { method: 'DELETE', path: `/api-keys/${keyId}` });
  }

  async call(apiKey: string, exchange: Partial<Exchange> = {}): Promise<Answer> {
    const answer = await this.send(apiKey, exchange);
    const { status } = answer;
    return status === 429 || status >= 500 ? failed(`HTTP ${status}`) : answer;
  }

  /** Lists one key, unless something else is asked for. */
  async send(authorization: string, exchange: Partial<Exchange> = {}): Promise<Answer> {
    await this.#pace.turn();
    return this.#http.send({
      method: 'GET',
      path: '/api-keys?limit=1',
      authorization,
      ...exchange,
    });
  }

  /** What the SDK says to a v2 key. */
  async listCaches(apiKey: string): Promise<string> {
    const { endpoint = '', emulator } = this.target.momento;
    if (endpoint === '' && emulator === undefined)
      throw new NotChecked('MOMENTO_ENDPOINT is not set');
    const client = this.#sdk.cacheClient(Credential.parse(Buffer.from(apiKey)), endpoint);
    try {
      const answer = await client.listCaches();
      return answer instanceof ListCaches.Error ? answer.errorCode() : 'Success';
    } finally {
      client.close();
    }
  }

  async remove(): Promise<string[]> {
    const mine = [this.description, this.longDescription];
    const left: string[] = [];
    try {
      // From the list, so that a key whose answer was lost goes as well.
      const keys = this.#hasMinted ? await this.list() : [];
      for (const { description, key_id } of keys) {
        if (!mine.includes(description ?? '')) continue;
        await this.api
          .revoke(this.managementKey.apiKey, key_id)
          .catch((thrown: unknown) => left.push(`the v2 key ${key_id} (${reasonOf(thrown)})`));
      }
    } catch (thrown) {
      left.push(`the v2 keys described as "${this.description}" (${reasonOf(thrown)})`);
    }
    this.api.close();
    this.#http.close();
    return left;
  }

  async #minted(fields: object): Promise<Minted> {
    const { status, text } = await this.mint(fields);
    const read = () => readAnswer(WithToken, text) ?? failed(`no key was minted (HTTP ${status})`);
    return { status: String(status), key: read };
  }

  async mint(fields: object): Promise<Answer> {
    await this.#agreeToMint();
    return this.call(this.managementKey.apiKey, {
      method: 'POST',
      path: '/api-keys',
      body: {
        role_id: this.target.role,
        description: this.description,
        expiry: Math.floor((this.target.clock.now() + LIFETIME) / SECOND),
        ...fields,
      },
    });
  }

  /** Where it should not work any more. */
  async spend({ refresh_token }: WithToken): Promise<string> {
    return String((await this.#spend(this.#refreshPath, refresh_token)).status);
  }

  #spend(path: string, token: string | undefined): Promise<Answer> {
    return this.call(token ?? failed('a key came without a refresh token'), {
      method: 'POST',
      path,
      body: {},
    });
  }

  readonly #agreeToMint = once(async () => {
    const { role } = this.target;
    await this.#agreeTo(
      `Mint six v2 keys, five of the role ${role} and one of the management key's own, for an hour at most, and revoke them ` +
        'at the end?',
    );
    this.#hasMinted = true;
  });

  async #agreeTo(question: string): Promise<void> {
    if (!(await this.target.agree(question))) throw new NotChecked('not agreed to');
  }
}
