/** Momento's HTTP API for v2 keys: what it is asked for. One method is one try. */
import { SECOND } from '../duration';
import type { RotationError } from '../errors';
import type { Verdict } from '../rotation/ports';
import { MintedKey, Page, readAnswer, RefreshedKey, type KeyInfo } from './answers';
import { HttpClient, type Answer, type Bounds, type Exchange } from './http-client';
import { invalidIssue } from './issued';
import * as errors from './key-api-errors';
import type { Pace } from './pace';

export const ADDRESS = 'https://mga.registry.prod.a.momentohq.com';
/** Where a refresh token is spent: a guess, for Momento has not published it. */
export const REFRESH_PATH = '/api-keys/refresh';
const PAGE_SIZE = 100;
/** A list that does not end here never does. */
const MAX_PAGES = 100;

export interface KeyApiOptions {
  /** `host:port` of a local service in place of the real one. */
  readonly emulator?: string | undefined;
  /** Where a refresh token is spent. */
  readonly refreshPath?: string | undefined;
  readonly pace: Pace;
  readonly now: () => number;
  readonly bounds?: Partial<Bounds>;
}

export interface MintRequest {
  readonly role: string;
  readonly description: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

export class KeyApi {
  readonly #options: KeyApiOptions;
  #client: HttpClient | undefined;

  constructor(options: KeyApiOptions) {
    this.#options = options;
  }

  async mint(
    managementKey: string,
    { role, description, expiresAt }: MintRequest,
  ): Promise<MintedKey> {
    const answer = await this.#send({
      method: 'POST',
      path: '/api-keys',
      authorization: managementKey,
      body: {
        role_id: role,
        description,
        expiry: Math.floor(expiresAt / SECOND),
        exclude_refresh_token: true,
      },
    });
    if (isSuccess(answer)) {
      return readAnswer(MintedKey, answer.text) ?? fail(invalidIssue('mint'));
    }
    throw errors.managementKeyRefused(answer) ?? errors.mintRefused(answer);
  }

  /** Spends a refresh token, which stands in the place of a key. */
  async refresh(refreshToken: string): Promise<RefreshedKey> {
    const answer = await this.#send({
      method: 'POST',
      path: this.#options.refreshPath ?? REFRESH_PATH,
      authorization: refreshToken,
      body: {},
    });
    if (!isSuccess(answer)) throw errors.refreshRefused(answer);
    return readAnswer(RefreshedKey, answer.text) ?? fail(invalidIssue('refresh'));
  }

  /** Every key of the account, without the keys themselves. */
  async list(managementKey: string): Promise<KeyInfo[]> {
    const keys: KeyInfo[] = [];
    let token = '';
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const { key_info, next_token } = await this.#page(managementKey, token);
      keys.push(...(key_info ?? []));
      token = next_token ?? '';
      if (token === '') return keys;
    }
    throw errors.unexpected('the list of keys', `${MAX_PAGES} pages and no end`);
  }

  /** Ends a key, unless it is not to be any more when its turn has come. One that is already gone is fine. */
  async revoke(
    managementKey: string,
    keyId: string,
    confirm = (): Promise<boolean> => Promise.resolve(true),
  ): Promise<boolean> {
    await this.#options.pace.turn();
    if (!(await confirm())) return false;
    const answer = await this.#call({
      method: 'DELETE',
      path: `/api-keys/${encodeURIComponent(keyId)}`,
      authorization: managementKey,
    });
    if (isSuccess(answer) || answer.status === 404) return true;
    throw (
      errors.managementKeyRefused(answer) ??
      errors.unexpected('the revocation of a key', errors.told(answer))
    );
  }

  /** Asks with a key for what most keys may not have: that it may not is told only to one that was accepted. */
  async verify(apiKey: string): Promise<Verdict> {
    const answer = await this.#send({
      method: 'GET',
      path: '/api-keys?limit=1',
      authorization: apiKey,
    });
    if (isSuccess(answer) || answer.status === 403) return 'accepted';
    return answer.status === 401 ? 'rejected' : 'unclear';
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async #page(managementKey: string, token: string): Promise<Page> {
    const query = new URLSearchParams({
      limit: String(PAGE_SIZE),
      ...(token !== '' && { next_token: token }),
    });
    const answer = await this.#send({
      method: 'GET',
      path: `/api-keys?${query.toString()}`,
      authorization: managementKey,
    });
    if (isSuccess(answer)) {
      return (
        readAnswer(Page, answer.text) ??
        fail(errors.unexpected('the list of keys', 'it is no such list'))
      );
    }
    throw (
      errors.managementKeyRefused(answer) ??
      errors.unexpected('the list of keys', errors.told(answer))
    );
  }

  /** Sends a request when its turn has come. */
  async #send(exchange: Exchange): Promise<Answer> {
    await this.#options.pace.turn();
    return this.#call(exchange);
  }

  async #call(exchange: Exchange): Promise<Answer> {
    const { emulator, bounds, now } = this.#options;
    this.#client ??= new HttpClient(
      new URL(emulator === undefined ? ADDRESS : `http://${emulator}`),
      bounds,
    );
    const answer = await this.#client.send(exchange);
    const error = errors.passing(answer, now(), exchange.method === 'GET');
    if (error !== undefined) throw error;
    return answer;
  }
}

function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}

function fail(error: RotationError): never {
  throw error;
}
