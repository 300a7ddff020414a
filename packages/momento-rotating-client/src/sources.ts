import { readFile } from 'node:fs/promises';
import { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { InvalidOptionError, NoKeyError } from './errors.ts';

/** A payload that was read from a source. */
export interface StoredPayload {
  readonly payload: string | Uint8Array;
  /** The number of the version, if the source numbers its versions. */
  readonly version?: number | undefined;
}

/** Where the key is stored. `secretManager` and `file` create the usual ones. */
export interface KeySource {
  /** For errors and events. It must not contain a secret. */
  readonly name: string;
  /** Reads the newest payload. If the source has `readVersion`, the result can lag behind. */
  readNewest(): Promise<StoredPayload>;
  /** Reads one version without lag. Resolves with undefined if there is no such version, or it can't be accessed. */
  readVersion?(version: number): Promise<StoredPayload | undefined>;
}

type GoogleClientOptions = ConstructorParameters<typeof SecretManagerServiceClient>[0];

const SECRET_NAME = /^projects\/[^/]+(?:\/locations\/([a-z0-9-]+))?\/secrets\/[\w-]+$/;
const TIMEOUT_MS = 5000;

/** Codes of google.rpc. */
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const FAILED_PRECONDITION = 9;
const UNAUTHENTICATED = 16;
const FINAL = [NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION, UNAUTHENTICATED];

/**
 * A secret in Secret Manager: `projects/P/secrets/S`, or `projects/P/locations/L/secrets/S` for a regional one.
 * `options` are those of Google's client.
 */
export function secretManager(secret: string, options?: GoogleClientOptions): KeySource {
  const match = SECRET_NAME.exec(secret);
  if (match === null) {
    throw new InvalidOptionError(
      'The name of the secret is invalid. Use projects/PROJECT/secrets/SECRET or projects/PROJECT/locations/LOCATION/secrets/SECRET.',
    );
  }
  const location = match[1];
  const regional = location ? { apiEndpoint: `secretmanager.${location}.rep.googleapis.com` } : {};
  const access = (version: string): Promise<StoredPayload> =>
    accessVersion(`${secret}/versions/${version}`, { ...regional, ...options });
  return {
    name: secret,
    async readNewest() {
      try {
        return await access('latest');
      } catch (error) {
        throw explain(secret, error);
      }
    },
    async readVersion(version) {
      try {
        return await access(String(version));
      } catch (error) {
        if (codeOf(error) === NOT_FOUND || codeOf(error) === FAILED_PRECONDITION) return undefined;
        throw explain(secret, error);
      }
    },
  };
}

/** A mounted file: a secret volume of Cloud Run, the CSI driver, GKE's add-on, External Secrets. */
export function file(path: string): KeySource {
  return {
    name: path,
    async readNewest() {
      try {
        return { payload: await readFile(path) };
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
        throw new NoKeyError(
          code === 'ENOENT' ? 'SECRET_NOT_FOUND' : 'SOURCE_UNAVAILABLE',
          `The file ${path} couldn't be read (${code}).`,
          'Mount the secret at this path, and let the process read it.',
        );
      }
    },
  };
}

/** A function that returns the payload. */
export function fromFunction(read: () => Promise<string | Uint8Array>): KeySource {
  return { name: 'The payload', readNewest: async () => ({ payload: await read() }) };
}

async function accessVersion(name: string, options: GoogleClientOptions): Promise<StoredPayload> {
  // A new client for each read: the connection of a process that was suspended might be dead.
  const client = new SecretManagerServiceClient(options);
  try {
    // Without this call a lack of credentials is an unhandled rejection, which ends the process.
    await client.initialize();
    const read = () => client.accessSecretVersion({ name }, { timeout: TIMEOUT_MS, retry: null });
    const [found] = await read().catch((error: unknown) => {
      if (FINAL.includes(codeOf(error) ?? -1)) throw error;
      return read();
    });
    return {
      payload: found.payload?.data ?? '',
      version: Number(found.name?.split('/').at(-1)),
    };
  } finally {
    await client.close();
  }
}

function codeOf(error: unknown): number | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === 'number' ? code : undefined;
}

function explain(secret: string, error: unknown): NoKeyError {
  const code = codeOf(error);
  switch (code) {
    case NOT_FOUND:
      return new NoKeyError(
        'SECRET_NOT_FOUND',
        `${secret} doesn't exist or has no version (NOT_FOUND).`,
        'Check its name, and let the rotator or a person add a version.',
      );
    case PERMISSION_DENIED:
      return new NoKeyError(
        'SECRET_ACCESS_DENIED',
        `The application can't access ${secret} (PERMISSION_DENIED).`,
        "Grant roles/secretmanager.secretAccessor on the secret to the application's service account.",
      );
    case FAILED_PRECONDITION:
      return new NoKeyError(
        'SECRET_VERSION_DISABLED',
        `The newest version of ${secret} is disabled, destroyed or encrypted with a disabled key (FAILED_PRECONDITION).`,
        'Enable it, or run the rotator, which adds a new version.',
      );
    case undefined:
    case UNAUTHENTICATED:
      return new NoKeyError(
        'GOOGLE_CREDENTIALS_MISSING',
        `There are no usable Google Cloud credentials to access ${secret}.`,
        'Run the application with a service account, or run `gcloud auth application-default login`.',
      );
    default:
      return new NoKeyError(
        'SOURCE_UNAVAILABLE',
        `${secret} couldn't be read (gRPC status ${code}).`,
        'The client reads it again. If this lasts, check the network and the status of Secret Manager.',
      );
  }
}
