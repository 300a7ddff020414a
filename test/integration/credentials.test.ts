/** The client of Secret Manager in a process of its own, without Google credentials or with a login that fails. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConnectProxy } from '../connect-proxy';
import { leaks } from '../leaks';
import { StoreProcess } from '../store-process';

const SECRET = 'projects/p/secrets/s';
const REGIONAL = 'projects/p/locations/eu/secrets/s';
const REFRESH_TOKEN = randomBytes(24).toString('base64url');
const ACCESS_TOKEN = randomBytes(24).toString('base64url');

/** Answers a request for a token, or for anything else that the metadata server knows. */
type Answer = (response: ServerResponse, asksForToken: boolean) => void;

const answered =
  (status: number, body: object = {}): Answer =>
  (response) => {
    // Without this header no client takes it for Google's metadata server.
    response.writeHead(status, { 'metadata-flavor': 'Google', 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };

const token = answered(200, { access_token: ACCESS_TOKEN, expires_in: 3600, token_type: 'Bearer' });
const never: Answer = () => undefined;

/** A metadata server and token endpoint. */
class Tokens {
  /** How often a token was asked for. */
  count = 0;
  readonly #server = createServer((request, response) => {
    const asksForToken = /\/token(\?|$)/.test(request.url ?? '');
    if (asksForToken) this.count += 1;
    this.answer(response, asksForToken);
  });

  constructor(public answer: Answer) {}

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

interface Started {
  readonly store: StoreProcess;
  readonly tokens: Tokens;
  /** The proxy in front of Secret Manager. It refuses every connection. */
  readonly proxy: ConnectProxy;
}

/** Starts the client as on Google Cloud, or with the login of an operator. */
async function withStore(
  options: { answer: Answer; login?: boolean },
  use: (started: Started) => Promise<void>,
): Promise<void> {
  const tokens = new Tokens(options.answer);
  const proxy = new ConnectProxy();
  const [host, proxyHost] = await Promise.all([tokens.listen(), proxy.listen()]);
  const folder = await mkdtemp(join(tmpdir(), 'store-'));
  let store: StoreProcess | undefined;
  try {
    const login = join(folder, 'login.json');
    // What gcloud writes for a person of an identity pool: the one kind of login that names its token endpoint.
    const content = {
      type: 'external_account_authorized_user',
      audience: '//iam.googleapis.com/locations/global/workforcePools/pool/providers/provider',
      client_id: 'client',
      client_secret: REFRESH_TOKEN,
      refresh_token: REFRESH_TOKEN,
      token_url: `http://${host}/token`,
    };
    await writeFile(login, JSON.stringify(content));
    store = new StoreProcess({
      K_SERVICE: 'rotator',
      GCE_METADATA_HOST: host,
      https_proxy: `http://${proxyHost}`,
      ...(options.login === true && { GOOGLE_APPLICATION_CREDENTIALS: login }),
    });
    await use({ store, tokens, proxy });
    // The libraries write nothing of their own.
    expect(store.output).toBe('');
  } finally {
    store?.stop();
    proxy.stop();
    tokens.stop();
    await rm(folder, { recursive: true });
  }
}

async function expectNoCredentials({ store, proxy }: Started, problem: RegExp): Promise<void> {
  const results = await store.access(SECRET, SECRET);
  for (const result of results) {
    expect(result).toMatchObject({ code: 'CREDENTIALS_UNAVAILABLE', retryable: false });
    expect(result.problem).toMatch(problem);
  }
  expect(leaks([REFRESH_TOKEN, ACCESS_TOKEN], [JSON.stringify(results)])).toEqual([]);
  expect(proxy.asked).toEqual([]);
}

describe('missing credentials', () => {
  it('are reported at once when there is no account', () =>
    withStore({ answer: answered(404) }, async (started) => {
      await expectNoCredentials(started, /^The function got no Google Cloud credentials/);
      expect(started.tokens.count).toBeLessThanOrEqual(2);
    }));

  it('are reported at once when a login has expired', () =>
    withStore(
      {
        answer: answered(400, {
          error: 'invalid_grant',
          error_description: `reauth related error (invalid_rapt) ${REFRESH_TOKEN}`,
          error_subtype: 'invalid_rapt',
        }),
        login: true,
      },
      async (started) => {
        await expectNoCredentials(started, /answered with HTTP status 400/);
        // Once for each of the calls, which run together; never again.
        expect(started.tokens.count).toBeLessThanOrEqual(2);
      },
    ));

  it('are reported when the metadata server fails, hangs, or returns no token', async () => {
    const answers: [Answer, RegExp][] = [
      [answered(503), /HTTP status 503|no answer in time|none are configured/],
      [never, /there was no answer in time|none are configured/],
      [
        (response, asksForToken) => (asksForToken ? never : answered(404))(response, asksForToken),
        /there was no answer in time/,
      ],
    ];
    await Promise.all(
      answers.map(([answer, problem]) =>
        withStore({ answer }, (started) => expectNoCredentials(started, problem)),
      ),
    );
  });

  it('are requested again by the next call, which connects to the endpoint of its secret', () =>
    withStore({ answer: answered(404) }, async ({ store, tokens, proxy }) => {
      await store.access(SECRET, REGIONAL);
      expect(proxy.asked).toEqual([]);
      tokens.answer = token;
      const results = await store.access(SECRET, REGIONAL);
      expect(results).toMatchObject([
        { code: 'SECRET_MANAGER_UNAVAILABLE' },
        { code: 'SECRET_MANAGER_UNAVAILABLE' },
      ]);
      expect(new Set(proxy.asked)).toEqual(
        new Set(['secretmanager.eu.rep.googleapis.com:443', 'secretmanager.googleapis.com:443']),
      );
    }));
});
