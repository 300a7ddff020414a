/** The kinds of keys in the cases: the content of the secret at the start, and the calls of a run. */
import { randomBytes } from 'node:crypto';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import { answerOf, type IssuedV2Key, type Key } from '../../emulators/account';
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import type { CallSite } from './faults';
import type { TestBedOptions } from './test-bed';

/** How the next key is obtained: a v1 or a v2 key is refreshed, a minted key is minted with the management key. */
export type Renewal = 'v1' | 'v2' | 'mint';

export type Format = 'api' | 'console' | 'key';

/** The content of a secret whose keys are minted, at the start. */
export type Start = 'minted' | 'console' | 'v1' | 'empty';

/** The terms of minted keys. */
export const TERMS = { role: 'r-viewer', lifetimeMs: 30 * DAY };

/** A kind of key, and the calls of a run that takes every possible step. */
export interface Kind {
  readonly name: string;
  readonly options: TestBedOptions;
  readonly calls: readonly CallSite[];
}

const refreshing = (refresh: string, verify: string): CallSite[] => [
  ['AccessSecretVersion', 1],
  ['ListSecretVersions', 1],
  ['TestIamPermissions', 1],
  [refresh, 1],
  [verify, 1],
  ['AccessSecretVersion', 2],
  ['AddSecretVersion', 1],
  ['DisableSecretVersion', 1],
  ['DestroySecretVersion', 1],
];

/** The run disables two versions, destroys one, reads five numbers twice (one is absent), and revokes four keys. */
const MINTING: readonly CallSite[] = [
  ['AccessSecretVersion', 1],
  ['ListSecretVersions', 1],
  ['TestIamPermissions', 1],
  ['ManagementAccessSecretVersion', 1],
  ['CreateKey', 1],
  ['VerifyKey', 1],
  ['AccessSecretVersion', 2],
  ['AddSecretVersion', 1],
  ['ListKeys', 1],
  ['DisableSecretVersion', 1],
  ['DestroySecretVersion', 1],
  ['AccessSecretVersion', 3],
  ['AccessSecretVersion', 7],
  ['AccessSecretVersion', 9],
  ['AccessSecretVersion', 10],
  ['RevokeKey', 1],
  ['RevokeKey', 4],
];

/** Momento doesn't document whether a v1 refresh token works twice. */
export const V1: Kind = {
  name: 'v1',
  options: { refreshTokens: 'single-use' },
  calls: refreshing('RefreshApiToken', 'ListCaches'),
};
export const V1_REUSABLE: Kind = {
  ...V1,
  name: 'v1, reusable token',
  options: { refreshTokens: 'reusable' },
};
export const V2: Kind = {
  name: 'v2',
  options: { renewal: 'v2' },
  calls: refreshing('RefreshKey', 'VerifyKey'),
};
export const MINT: Kind = { name: 'mint', options: { renewal: 'mint' }, calls: MINTING };
/** A bare key doesn't contain its role and lifetime, so the run reads the list of keys before it mints one. */
export const MINT_LISTED: Kind = {
  name: 'mint, listed terms',
  options: { renewal: 'mint', terms: 'listed', format: 'key' },
  calls: MINTING,
};
export const FIRST_KEY: Kind = {
  name: 'first key',
  options: { renewal: 'mint', start: 'empty' },
  calls: MINTING.slice(0, 9),
};
/** Two versions are in their grace period, so that a run must leave them alone. */
export const MINT_GRACE: Kind = {
  name: 'mint, grace period',
  options: { renewal: 'mint', policy: { gracePeriodMs: 30 * DAY } },
  // The rate limiter doesn't delay these few revocations, so the run reads the numbers only once.
  calls: MINTING.filter(
    ([method, n]) =>
      !['DisableSecretVersion', 'DestroySecretVersion'].includes(method) && n !== 4 && n < 9,
  ),
};
export const KINDS: readonly Kind[] = [V1, V1_REUSABLE, V2, MINT, MINT_LISTED, FIRST_KEY];

export interface StoredKey {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
}

/** The key in a payload; undefined if there is none. */
export function readPayload(payload: Buffer): StoredKey | undefined {
  const text = payload.toString();
  if (/^[\w.-]+$/.test(text)) return { apiKey: text, refreshToken: undefined };
  try {
    const fields = JSON.parse(text) as Partial<Record<string, string>>;
    const apiKey = String(fields.apiKey ?? fields.api_key);
    return { apiKey, refreshToken: fields.refreshToken ?? fields.refresh_token };
  } catch {
    return undefined;
  }
}

export function keyIn(payload: Buffer | undefined): string {
  return (payload && readPayload(payload)?.apiKey) ?? '';
}

/** The payload of a v2 key, as an operator stores it. */
function consolePayload(issued: IssuedV2Key, format: Format, note: string): string {
  if (format === 'key') return issued.apiKey;
  const json = format === 'api' ? issued.apiJson : issued.consoleJson;
  return JSON.stringify({ ...(JSON.parse(json) as object), note });
}

/** The payload of a minted key, as the rotator stores it. */
export function mintedPayload(key: Key, format: Format, note: string): string {
  const { apiKey, info } = key;
  if (format === 'key') return apiKey;
  const fields =
    format === 'api' ? answerOf(key) : { apiKey, validUntil: info.expires_at_epoch_seconds };
  return JSON.stringify({ ...fields, note });
}

export interface SecretSeed {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly name: string;
  readonly renewal: Renewal;
  readonly format: Format;
  readonly start: Start;
  /** How long ago the newest version was added. */
  readonly ageMs: number;
  /** How long the newest key remains valid. */
  readonly lifeLeftMs: number;
  readonly versionDestroyTtlMs: number | undefined;
}

/** The name of the secret with the management key. */
export function managementOf(name: string): string {
  return `${name}-management`;
}

/** The description of a secret's minted keys, derived without the function's code. */
export function descriptionOf(secret: string): string {
  return `momento-key-rotator ${secret}`;
}

/** A payload as an operator stores it. */
export function newPayload(
  { momento, renewal, format }: Pick<SecretSeed, 'momento' | 'renewal' | 'format'>,
  { ageMs = 0, lifeLeftMs = TERMS.lifetimeMs, note = 'console' } = {},
): string {
  const lifetimeSeconds = (ageMs + lifeLeftMs) / SECOND;
  return ago(momento, ageMs, () => {
    if (renewal !== 'v1') {
      const issued = momento.issueV2Key({ role: TERMS.role, lifetimeSeconds });
      return consolePayload(issued, format, note);
    }
    const { consoleJson } = momento.issueKey({ lifetimeSeconds });
    return JSON.stringify({ ...(JSON.parse(consoleJson) as object), note });
  });
}

/** Creates the secret with its keys, and the management key. Returns a secret text in the secret's payload. */
export function begin(beginning: SecretSeed): string {
  const { secretManager, momento, name, renewal, start, ageMs, versionDestroyTtlMs } = beginning;
  const note = randomBytes(12).toString('base64url');
  secretManager.createSecret(name, {
    ...(versionDestroyTtlMs !== undefined && { versionDestroyTtlMs }),
  });
  if (renewal === 'mint') addManagementKey(beginning);
  if (renewal === 'mint' && start === 'minted') addMintedVersions(beginning, note);
  else if (renewal !== 'mint' || start !== 'empty') {
    const createTime = momento.now() - ageMs;
    secretManager.addVersion(name, 'an older credential', {
      createTime: createTime - DAY,
      state: 'DISABLED',
    });
    const newest = { ...beginning, renewal: start === 'v1' ? ('v1' as const) : renewal };
    secretManager.addVersion(name, newPayload(newest, { ...newest, note }), { createTime });
  }
  return note;
}

/** Adds a management key, and old keys whose descriptions nearly match. No run must revoke the old keys. */
function addManagementKey({ secretManager, momento, name }: SecretSeed): void {
  const management = managementOf(name);
  const key = ago(momento, 2 * DAY, () => mint(momento, management, 365 * DAY, 'r-operator'));
  secretManager.createSecret(management);
  secretManager.addVersion(management, mintedPayload(key, 'api', 'management'), {
    createTime: momento.now() - 2 * DAY,
  });
  const own = descriptionOf(name);
  const others = [`${own}0`, `${own}-b`, `${own} `, ` ${own}`, own.toUpperCase()];
  for (const description of [...others, `${own}/versions/1`, name, 'console', '']) {
    ago(momento, 3 * DAY, () =>
      momento.issueV2Key({ role: TERMS.role, description, lifetimeSeconds: 'never' }),
    );
  }
}

/** Three versions with minted keys, two of them superseded, and an old and a young orphaned key. */
function addMintedVersions(beginning: SecretSeed, note: string): void {
  const { secretManager, momento, name, format, ageMs, lifeLeftMs } = beginning;
  const now = momento.now();
  const add = (since: number, lifetimeMs: number, state: 'ENABLED' | 'DISABLED') => {
    const key = ago(momento, since, () => mint(momento, name, lifetimeMs));
    const createTime = now - since;
    secretManager.addVersion(name, mintedPayload(key, format, note), { createTime, state });
  };
  add(ageMs + 2 * DAY, ageMs + TERMS.lifetimeMs, 'DISABLED');
  add(ageMs + DAY, ageMs + TERMS.lifetimeMs, 'ENABLED');
  add(ageMs, ageMs + lifeLeftMs, 'ENABLED');
  for (const age of [2 * HOUR, 10 * MINUTE]) ago(momento, age, () => mint(momento, name));
}

/** A key as the rotator mints it for a secret. */
export function mint(
  { account }: MomentoEmulator,
  name: string,
  lifetimeMs = TERMS.lifetimeMs,
  role = TERMS.role,
): Key {
  const expiresAt = Math.floor((account.now() + lifetimeMs) / SECOND);
  const terms = { role, description: descriptionOf(name), expiresAt, withRefreshToken: false };
  return account.issue(terms, 'call');
}

/** Calls `act` while the emulators' clock is set back. */
export function ago<T>(momento: MomentoEmulator, ms: number, act: () => T): T {
  const { now } = momento;
  momento.now = () => now() - ms;
  try {
    return act();
  } finally {
    momento.now = now;
  }
}
