/**
 * Generated malformed answers of Secret Manager and of Momento's key API, over real sockets. Every run must end in time, lose
 * no usable credential, keep the newest version, and revoke no key in use.
 */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { HOUR, MINUTE } from '../../src/duration';
import type { Fault, RawAnswer } from '../../emulators/faults';
import { Chance } from './chance';
import type { Renewal } from './keys';
import { repair } from './operators';
import { testCase, type Case, type Group } from './simulation';
import type { TestBed } from './test-bed';

type Json = Record<string, unknown>;

/**
 * The use of a malformed answer. `harmless`: it has everything that this run and later ones need. `usable`: it has a key that
 * must be stored, although another field is missing. `unusable`: it has no key.
 */
type Usability = 'harmless' | 'usable' | 'unusable';

interface Change {
  readonly name: string;
  readonly worth: Usability;
}

interface BodyChange extends Change {
  readonly change: (body: Json, chance: Chance) => unknown;
}

/** A change of the bytes of an answer. */
interface ByteChange extends Change {
  readonly change: (body: string) => RawAnswer;
}

/** Values of a wrong type or content for any field. */
const ODD: readonly unknown[] = [null, '', ' ', 0, -1, 1e300, true, [], {}, 'x'.repeat(100_000)];

const ENTRY_FIELDS = [
  'key_id',
  'account_id',
  'description',
  'role_id',
  'issued_at_epoch_seconds',
  'expires_at_epoch_seconds',
];

function entries(body: Json): Json[] {
  return body.key_info as Json[];
}

/** Changes of lists of keys. A run ignores entries that it can't read. */
const LIST_CHANGES: readonly BodyChange[] = [
  {
    name: 'an odd field in an entry',
    worth: 'harmless',
    change: (body, chance) => {
      const entry = entries(body)[chance.below(entries(body).length)];
      if (entry !== undefined) entry[chance.of(ENTRY_FIELDS)] = chance.of(ODD);
      return body;
    },
  },
  {
    name: 'a missing field in an entry',
    worth: 'harmless',
    change: (body, chance) => {
      const entry = entries(body)[chance.below(entries(body).length)];
      if (entry !== undefined) Reflect.deleteProperty(entry, chance.of(ENTRY_FIELDS));
      return body;
    },
  },
  {
    name: 'an invalid entry',
    worth: 'harmless',
    change: (body, chance) => ({ ...body, key_info: [chance.of(ODD), ...entries(body)] }),
  },
  {
    name: 'expiries in milliseconds',
    worth: 'harmless',
    change: (body) => ({
      ...body,
      key_info: entries(body).map((entry) => ({
        ...entry,
        expires_at_epoch_seconds: Number(entry.expires_at_epoch_seconds) * 1000,
      })),
    }),
  },
  {
    name: 'every entry twice',
    worth: 'harmless',
    change: (body) => ({ ...body, key_info: [...entries(body), ...entries(body)] }),
  },
  {
    name: 'no list',
    worth: 'harmless',
    change: (body, chance) => ({ ...body, key_info: chance.of(ODD) }),
  },
  {
    name: 'an odd next page',
    worth: 'harmless',
    change: (body, chance) => ({ ...body, next_token: chance.of(ODD) }),
  },
];

/** Changes of answers with a new key. */
const KEY_CHANGES: readonly BodyChange[] = [
  ...['key_info', 'previous_key_id', 'refresh_token'].flatMap((field): BodyChange[] => [
    {
      name: `no ${field}`,
      worth: field === 'refresh_token' ? 'usable' : 'harmless',
      change: (body) => {
        Reflect.deleteProperty(body, field);
        return body;
      },
    },
    {
      name: `an odd ${field}`,
      worth: field === 'refresh_token' ? 'usable' : 'harmless',
      change: (body, chance) => ({ ...body, [field]: chance.of(ODD) }),
    },
  ]),
  {
    name: 'an odd field in key_info',
    worth: 'harmless',
    change: (body, chance) => ({
      ...body,
      key_info: { ...(body.key_info as Json), [chance.of(ENTRY_FIELDS)]: chance.of(ODD) },
    }),
  },
  {
    name: 'white space around the key and the token',
    worth: 'harmless',
    change: (body) => ({
      ...body,
      api_key: `\n ${String(body.api_key)} \r\n`,
      ...(body.refresh_token !== undefined && {
        refresh_token: ` ${body.refresh_token as string}\n`,
      }),
    }),
  },
  {
    name: 'a large unknown field',
    worth: 'harmless',
    change: (body) => ({ ...body, extra: 'x'.repeat(50_000), more: [{ deep: [null] }] }),
  },
  {
    name: 'an odd api_key',
    worth: 'unusable',
    change: (body, chance) => ({ ...body, api_key: chance.of(ODD) }),
  },
  { name: 'no object', worth: 'unusable', change: (_, chance) => chance.of(ODD) },
];

const encoded = (encoding: string, encode: (body: string) => Uint8Array) => (body: string) => ({
  headers: { 'content-encoding': encoding },
  body: encode(body),
});

const OF_BYTES: readonly ByteChange[] = [
  { name: 'a byte order mark', worth: 'harmless', change: (body) => ({ body: `\uFEFF${body}` }) },
  { name: 'gzip', worth: 'harmless', change: encoded('gzip', gzipSync) },
  { name: 'brotli', worth: 'harmless', change: encoded('br', brotliCompressSync) },
  { name: 'deflate', worth: 'harmless', change: encoded('deflate', deflateSync) },
  {
    name: 'another content type',
    worth: 'harmless',
    change: (body) => ({ headers: { 'content-type': 'text/html' }, body }),
  },
  {
    name: 'an unknown encoding',
    worth: 'unusable',
    change: encoded('zstd-9', (body) => Buffer.from(body)),
  },
  { name: 'UTF-16', worth: 'unusable', change: (body) => ({ body: Buffer.from(body, 'utf16le') }) },
  { name: 'nothing', worth: 'unusable', change: () => ({ body: '' }) },
  {
    name: 'a redirect',
    worth: 'unusable',
    change: () => ({ status: 302, headers: { location: 'http://127.0.0.1:1/' }, body: '' }),
  },
];

/** Changes of lists of versions. */
const OF_VERSIONS: readonly {
  readonly name: string;
  readonly change: (versions: Json[], chance: Chance) => unknown[];
}[] = [
  { name: 'every version twice', change: (versions) => [...versions, ...versions] },
  {
    name: 'the newest version again, at the end',
    change: (versions) => [...versions, { ...versions[0] }],
  },
  {
    name: 'the newest version again, with another state',
    change: (versions, chance) => [
      ...versions,
      { ...versions[0], state: chance.of(['ENABLED', 'DISABLED', 'DESTROYED']) },
    ],
  },
  { name: 'the oldest version first', change: (versions) => versions.toReversed() },
  ...(['name', 'state', 'createTime', 'etag'] as const).map((field) => ({
    name: `a version without ${field}`,
    change: (versions: Json[], chance: Chance) => {
      const version = versions[chance.below(versions.length)];
      if (version !== undefined) Reflect.deleteProperty(version, field);
      return versions;
    },
  })),
  {
    name: 'a version with an odd name',
    change: (versions, chance) => {
      const odd = chance.of([
        'x',
        'projects/p/secrets/s/versions/latest',
        'a/versions/0',
        'a/versions/-1',
      ]);
      return [{ ...versions[0], name: odd }, ...versions];
    },
  },
  {
    name: 'a version in an unknown state',
    change: (versions, chance) => {
      const version = versions[chance.below(versions.length)];
      if (version !== undefined) version.state = 'STATE_UNSPECIFIED';
      return versions;
    },
  },
  { name: 'an empty version', change: (versions) => [{}, ...versions] },
];

/** Answers without one of their fields. */
const MISSING_FIELDS: readonly {
  readonly method: string;
  readonly field: string;
  readonly worth: Usability;
}[] = [
  // Without these fields, a run can't read the version or can't check its permissions.
  { method: 'AccessSecretVersion', field: 'payload', worth: 'usable' },
  { method: 'AccessSecretVersion', field: 'name', worth: 'usable' },
  { method: 'TestIamPermissions', field: 'permissions', worth: 'usable' },
  { method: 'AddSecretVersion', field: 'name', worth: 'harmless' },
  { method: 'AddSecretVersion', field: 'state', worth: 'harmless' },
  { method: 'AddSecretVersion', field: 'createTime', worth: 'harmless' },
  { method: 'DisableSecretVersion', field: 'name', worth: 'harmless' },
  { method: 'GetSecretVersion', field: 'state', worth: 'harmless' },
];

const METHODS: Readonly<Record<Renewal, readonly string[]>> = {
  v1: [],
  v2: ['RefreshKey'],
  mint: ['CreateKey', 'ListKeys', 'ListKeys', 'VerifyKey', 'RevokeKey'],
};

/** Makes the services return malformed answers, until `endMalformations`. */
interface Malformation {
  readonly name: string;
  readonly worth: Usability;
  readonly begin: (bed: TestBed) => void;
  /** The fault of a call of this method. */
  readonly faultAt?: (method: string) => Fault | undefined;
}

function drawn(chance: Chance, renewal: Renewal): Malformation {
  const [method = ''] =
    METHODS[renewal].length === 0 || chance.is(0.5) ? [] : [chance.of(METHODS[renewal])];
  if (method !== '') {
    const isList = method === 'ListKeys' || method === 'VerifyKey';
    if (chance.is(0.1)) {
      return {
        name: `${method}: a change of protocol`,
        worth: 'unusable',
        begin: () => undefined,
        faultAt: (called) => (called === method ? { kind: 'upgrade', when: 'after' } : undefined),
      };
    }
    const bytes = chance.is(0.4) ? chance.of(OF_BYTES) : undefined;
    const body = chance.of(isList ? LIST_CHANGES : KEY_CHANGES);
    const { name, worth } = bytes ?? body;
    // A run succeeds without lists of keys, and leaves keys that weren't revoked to the next run.
    const isNeeded = method === 'CreateKey' || method === 'RefreshKey';
    const rewrite = (text: string): RawAnswer => {
      if (bytes !== undefined) return bytes.change(text);
      const read = JSON.parse(text) as Json;
      const fits = isList ? Array.isArray(read.key_info) : read.api_key !== undefined;
      return { body: JSON.stringify(fits ? body.change(read, chance) : read) };
    };
    return {
      name: `${method}: ${name}`,
      worth: isNeeded ? worth : 'harmless',
      begin: () => undefined,
      faultAt: (called) => (called === method ? { kind: 'rewrite', rewrite } : undefined),
    };
  }
  if (chance.is(0.25)) {
    const endless = chance.is(0.3) ? undefined : chance.of(['same', 'other'] as const);
    const overlap = chance.below(3);
    return {
      name:
        endless === undefined ? `pages that overlap by ${overlap}` : `endless pages (${endless})`,
      worth: endless === undefined ? 'harmless' : 'usable',
      begin: ({ secretManager }) => {
        secretManager.endlessPages = endless;
        secretManager.maxPageSize = overlap + 1;
        secretManager.pageOverlap = overlap;
      },
    };
  }
  if (chance.is(0.3)) {
    const { method: called, field, worth } = chance.of(MISSING_FIELDS);
    return {
      name: `${called}: no ${field}`,
      worth,
      begin: ({ secretManager }) => {
        secretManager.rewrite = (method, answer) =>
          method === called ? { ...answer, [field]: undefined } : answer;
      },
    };
  }
  const { name, change } = chance.of(OF_VERSIONS);
  return {
    name: `ListSecretVersions: ${name}`,
    worth: 'harmless',
    begin: ({ secretManager }) => {
      secretManager.rewrite = (method, answer) => {
        if (method !== 'ListSecretVersions') return answer;
        const { versions } = answer as { versions: Json[] };
        return {
          ...answer,
          versions: change(
            versions.map((one) => ({ ...one })),
            chance,
          ),
        };
      };
    },
  };
}

function endMalformations({ secretManager }: TestBed): void {
  secretManager.rewrite = secretManager.endlessPages = undefined;
  secretManager.maxPageSize = 25_000;
  secretManager.pageOverlap = 0;
}

/** The number of keys that arrived in usable answers, but that no version contains. */
function lostKeys(
  { momento, secretManager, secret }: TestBed,
  usable: ReadonlySet<string>,
): number {
  const stored = secretManager
    .versions(secret.name)
    .map(({ payload }) => payload?.toString() ?? '')
    .join();
  return momento.account
    .keys()
    .filter(({ info, apiKey }) => usable.has(info.key_id) && !stored.includes(apiKey)).length;
}

function malformed(seed: number): Case {
  const chance = new Chance(seed);
  const renewal = chance.of(['v1', 'v2', 'mint', 'mint'] as const);
  return testCase(`seed ${seed}`, { renewal, refreshTokens: 'single-use' }, async (bed) => {
    const violations: string[] = [];
    const usable = new Set<string>();
    const names: string[] = [];
    let isRenewable = true;
    for (let runs = 0; runs < 3; runs += 1) {
      const malformations = [
        drawn(chance, renewal),
        ...(chance.is(0.4) ? [drawn(chance, renewal)] : []),
      ];
      names.push(malformations.map(({ name }) => name).join(' and '));
      for (const { begin } of malformations) begin(bed);
      const known = new Set(bed.momento.account.keys());
      const once = chance.is(0.3);
      const { outcome, code } = await bed.run({
        onCall: ({ method, when, n }) => {
          const faults = malformations
            .map(({ faultAt }) => faultAt?.(method))
            .filter((fault) => fault !== undefined);
          return when === 'after' && (!once || n === 1) ? faults[0] : undefined;
        },
      });
      const worths = malformations.map(({ worth }) => worth);
      const isHarmless = isRenewable && worths.every((worth) => worth === 'harmless');
      // Two malformations can hide every version.
      const isOne = malformations.length === 1;
      if (code === 'INTERNAL' || (isHarmless && isOne && outcome === 'failed')) {
        violations.push(`run ${runs + 1} is ${outcome} ${code ?? ''}`);
      }
      // If a refresh token was used or didn't arrive, an operator must store another key.
      if (renewal === 'v2' && !isHarmless) isRenewable = false;
      if (!worths.includes('unusable')) {
        for (const key of bed.momento.account.keys()) {
          if (!known.has(key)) usable.add(key.info.key_id);
        }
      }
      endMalformations(bed);
      bed.clock.advance(chance.of([MINUTE, HOUR]));
    }
    if (renewal === 'v2') {
      // This run stores the unsaved credential, if there is one.
      await bed.run();
      const lost = lostKeys(bed, usable);
      if (lost > 0) violations.push(`${lost} usable keys were lost`);
    }
    repair(bed);
    bed.lostAnswers = 0;
    await bed.runLast();
    const all = [...violations, ...bed.invariants.violations];
    return all.length === 0 ? [] : [...violations, `[${names.join('; ')}]`];
  });
}

export const answers: Group = {
  name: 'answers',
  title: 'generated malformed answers of Secret Manager and the key API',
  concurrency: 4,
  cases: (extent) =>
    Array.from({ length: extent === 'full' ? 2000 : 100 }, (_, seed) => malformed(seed)),
};
