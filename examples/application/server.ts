/** A service that keeps items in a Momento cache. No request fails while its key is rotated. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import * as momento from '@gomomento/sdk';
import {
  NoKeyError,
  RotatingCacheClient,
  secretManager,
  type Options,
  type RotationEvent,
} from 'momento-rotating-client';
import { localMomento, localSecretManager } from './local-services.ts';

const { CacheGet, CacheSet, MomentoErrorCode } = momento;
const ITEM_TTL_SECONDS = 3600;
const MAX_ITEM_BYTES = 1024 * 1024;
/** Longer than Google's proxies keep a connection, so that none is closed while a request is on its way. */
const KEEP_ALIVE_MS = 620_000;
/** Cloud Run kills an instance ten seconds after its SIGTERM. */
const DRAIN_MS = 9000;
const SECRET = /^projects\/[^/]+(\/locations\/[a-z0-9-]+)?\/secrets\/[\w-]+$/;
const LOOPBACK = /^((localhost|127(\.\d{1,3}){3}|\[::1\]):\d{1,5})?$/;
const DURATION = /^[1-9]\d{0,5}[smhd]$/;
const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

interface Reply {
  readonly status: number;
  readonly body?: Uint8Array | object;
  readonly headers?: Readonly<Record<string, string>>;
}

const { port, secret, options } = readEnvironment(process.env);
const cache = new RotatingCacheClient(options);
/** The severity of the last event of the client: a problem that lasts is logged once. */
let severity = 'INFO';

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
  void answer(request)
    .catch((error: unknown) => explain(error, request))
    .then((reply) => {
      // The client's events explain why a probe fails.
      const isFailure = reply.status >= 500 && request.url !== '/healthz';
      if (isFailure) log('ERROR', 'a request failed', reply);
      send(response, reply);
    });
});
server.listen(port, () => log('INFO', `listens on port ${port}`));
process.once('SIGTERM', drain).once('SIGINT', drain);
// The first request doesn't have to wait for the key.
void health().catch(() => undefined);

async function answer(request: IncomingMessage): Promise<Reply> {
  const { method, url = '' } = request;
  const [path = ''] = url.split('?');
  if (path === '/healthz') return method === 'GET' ? health() : notAllowed('GET');
  const [, encoded] = /^\/items\/([^/]+)$/.exec(path) ?? [];
  if (encoded === undefined) return failure(404, 'NOT_FOUND', 'try /items/{key} or /healthz');
  const key = decode(encoded);
  if (key === undefined) return failure(400, 'INVALID_KEY', 'the key is not percent-encoded UTF-8');
  if (method === 'GET') return getItem(key);
  if (method === 'PUT') return putItem(key, request);
  return notAllowed('GET, PUT');
}

/**
 * Whether there is a usable key, for a startup probe. Not for a liveness probe: a restarted instance gets the same key. From
 * outside, Cloud Run answers this path itself.
 */
async function health(): Promise<Reply> {
  const answer = await cache.use((client) => client.get(options.cache, 'healthz'));
  const code = answer instanceof CacheGet.Error ? answer.errorCode() : undefined;
  if (code !== MomentoErrorCode.AUTHENTICATION_ERROR) return { status: 200, body: { ok: true } };
  return failure(503, code, 'the cache rejects the key');
}

async function getItem(key: string): Promise<Reply> {
  const answer = await cache.use((client) => client.get(options.cache, key));
  if (answer instanceof CacheGet.Error) return refusal(answer.errorCode());
  const item = answer instanceof CacheGet.Hit ? answer.valueUint8Array() : undefined;
  return item ? { status: 200, body: item } : failure(404, 'NO_SUCH_ITEM', 'there is no such item');
}

async function putItem(key: string, request: IncomingMessage): Promise<Reply> {
  const item = await readBody(request);
  if (item === undefined) {
    return failure(413, 'ITEM_TOO_LARGE', `an item has at most ${MAX_ITEM_BYTES} bytes`);
  }
  const answer = await cache.use((client) => client.set(options.cache, key, item));
  return answer instanceof CacheSet.Error ? refusal(answer.errorCode()) : { status: 204 };
}

/** Reads a body. Reads a body that is too long to its end without keeping it, so that the sender gets the answer. */
async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes <= MAX_ITEM_BYTES) chunks.push(chunk);
  }
  return bytes <= MAX_ITEM_BYTES ? Buffer.concat(chunks) : undefined;
}

function refusal(code: momento.MomentoErrorCode): Reply {
  switch (code) {
    case MomentoErrorCode.INVALID_ARGUMENT_ERROR:
      return failure(400, code, 'the key or the item is invalid for the cache');
    case MomentoErrorCode.TIMEOUT_ERROR:
      return failure(504, code, 'the cache did not answer in time');
    case MomentoErrorCode.LIMIT_EXCEEDED_ERROR:
    case MomentoErrorCode.SERVER_UNAVAILABLE:
      return failure(503, code, 'the cache cannot answer now');
    default:
      return failure(502, code, 'the cache refused the request');
  }
}

function explain(error: unknown, request: IncomingMessage): Reply {
  if (error instanceof NoKeyError)
    return failure(503, 'NO_KEY', 'there is no usable key for the cache');
  if (request.errored) return failure(400, 'INCOMPLETE', 'the request ended too early');
  // The log gets only the stack frames, because the message might quote a secret.
  const frames = error instanceof Error ? error.stack?.match(/^ +at .*$/gm) : undefined;
  log('ERROR', 'a fault of this service', { frames });
  return failure(500, 'INTERNAL', 'a fault of this service');
}

function notAllowed(allow: string): Reply {
  return { ...failure(405, 'METHOD_NOT_ALLOWED', `use ${allow}`), headers: { allow } };
}

function failure(status: number, code: string, message: string): Reply {
  return { status, body: { error: { code, message } } };
}

function send(response: ServerResponse, { status, body, headers = {} }: Reply): void {
  const isItem = body instanceof Uint8Array;
  const type = isItem ? 'application/octet-stream' : 'application/json';
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (body !== undefined) response.setHeader('content-type', type);
  if (status === 503) response.setHeader('retry-after', '1');
  if (!server.listening) response.setHeader('connection', 'close');
  response.end(isItem ? body : body && JSON.stringify(body));
}

/** Lets the requests in progress end, and accepts no more. */
function drain(signal: NodeJS.Signals): void {
  log('INFO', `${signal}: the service ends after the requests in progress`);
  server.close(() => {
    void cache.close().finally(() => process.exit());
  });
  setTimeout(() => server.closeAllConnections(), DRAIN_MS).unref();
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Logs which version is in use, and every problem once. */
function logEvent(event: RotationEvent): void {
  const previous = severity;
  if (event.type === 'rejected') return;
  const isRotated = event.type === 'rotated';
  const hasKey = event.version !== undefined;
  severity = isRotated ? 'INFO' : hasKey ? 'WARNING' : 'ERROR';
  const problem = isRotated ? '' : `; ${event.error.code}: ${event.error.message}`;
  const news = `${secret}, version in use: ${event.version ?? 'none'}${problem}`;
  if (isRotated || severity !== previous) log(severity, news);
}

/** Writes one line, which Cloud Run reads as a structured entry. */
function log(severity: string, message: string, fields: object = {}): void {
  process.stdout.write(`${JSON.stringify({ severity, message, ...fields })}\n`);
}

/** Ends the process with one line if a variable is invalid. The line doesn't quote the value, which might be a secret. */
function readEnvironment(env: NodeJS.ProcessEnv): {
  port: number;
  secret: string;
  options: Options;
} {
  const problems: string[] = [];
  const read = (name: string, pattern: RegExp, expected: string, byDefault = ''): string => {
    const value = (env[name] ?? '').trim() || byDefault;
    if (!pattern.test(value)) problems.push(`${name} must be ${expected}`);
    return value;
  };
  const secret = read('SECRET', SECRET, 'projects/P/secrets/S or projects/P/locations/L/secrets/S');
  const cache = read('CACHE', /./, 'the name of a cache');
  const every = read('REREAD_EVERY', DURATION, 'a duration such as 90s, 5m or 1h', '5m');
  const endpoint = read('MOMENTO_ENDPOINT', /^[a-z0-9.-]*$/i, 'the name of a host');
  const port = read('PORT', /^\d{1,5}$/, 'a number', '8080');
  const secretManagerHost = read('SECRET_MANAGER_EMULATOR_HOST', LOOPBACK, 'localhost:PORT');
  const momentoHost = read('MOMENTO_EMULATOR_HOST', LOOPBACK, 'localhost:PORT');
  if (problems.length > 0) {
    log('CRITICAL', `The service can't start: ${problems.join('; ')}. Correct these variables.`);
    process.exit(1);
  }
  const { Configurations, NoopMomentoLoggerFactory } = momento;
  return {
    port: Number(port),
    secret,
    options: {
      source: secretManager(secret, localSecretManager(secretManagerHost)),
      cache,
      endpoint,
      configuration: Configurations.InRegion.Default.latest(new NoopMomentoLoggerFactory()),
      defaultTtlSeconds: ITEM_TTL_SECONDS,
      rereadEveryMs: parseInt(every) * UNITS[every.at(-1) as keyof typeof UNITS],
      onEvent: logEvent,
      redirect: localMomento(momentoHost),
    },
  };
}
