import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FunctionProcess } from '../function-process';
import { leaks } from '../leaks';

const SECRET = 'projects/p/secrets/s';
const REFRESH_TOKEN = randomBytes(24).toString('base64url');
const ACCESS_TOKEN = randomBytes(24).toString('base64url');

/** Answers a request for a token, or for anything else that the metadata server knows. */
type Answer = (response: ServerResponse, asksForToken: boolean) => void;

const answered =
  (status: number, body: object = {}): Answer =>
  (response) => {
    // Without this header nobody takes it for Google's metadata server.
    response.writeHead(status, { 'metadata-flavor': 'Google', 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };

const token = answered(200, { access_token: ACCESS_TOKEN, expires_in: 3600, token_type: 'Bearer' });
const never: Answer = () => undefined;

/** What surrounds the function on Google Cloud: where tokens come from, and the way to Secret Manager, which is closed. */
class Surroundings {
  /** How often a token was asked for. */
  tokens = 0;
  /** The endpoints that were called. */
  readonly called = new Set<string>();
  onCall: (() => void) | undefined;
  readonly #server = createServer((request, response) => {
    const asksForToken = /\/token(\?|$)/.test(request.url ?? '');
    if (asksForToken) this.tokens += 1;
    this.answer(response, asksForToken);
  }).on('connect', (request, socket) => {
    this.called.add(request.url ?? '');
    this.onCall?.();
    socket.destroy();
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
  readonly rotator: FunctionProcess;
  readonly surroundings: Surroundings;
}

/** Starts the function as on Google Cloud, or with the login of a person. */
async function withFunction(
  options: { answer: Answer; secrets?: string; login?: boolean },
  use: (started: Started) => Promise<void>,
): Promise<void> {
  const surroundings = new Surroundings(options.answer);
  const host = await surroundings.listen();
  const folder = await mkdtemp(join(tmpdir(), 'rotator-'));
  let rotator: FunctionProcess | undefined;
  try {
    const login = join(folder, 'login.json');
    // What gcloud writes for a person of an identity pool: the one kind of login that says where its tokens come from.
    const content = {
      type: 'external_account_authorized_user',
      audience: '//iam.googleapis.com/locations/global/workforcePools/pool/providers/provider',
      client_id: 'client',
      client_secret: REFRESH_TOKEN,
      refresh_token: REFRESH_TOKEN,
      token_url: `http://${host}/token`,
    };
    await writeFile(login, JSON.stringify(content));
    rotator = await FunctionProcess.start({
      env: {
        SECRETS: options.secrets ?? SECRET,
        K_SERVICE: 'rotator',
        GCE_METADATA_HOST: host,
        grpc_proxy: `http://${host}`,
        ...(options.login === true && { GOOGLE_APPLICATION_CREDENTIALS: login }),
      },
    });
    await use({ rotator, surroundings });
    expect(leaks([REFRESH_TOKEN, ACCESS_TOKEN], [rotator.output])).toEqual([]);
  } finally {
    await rotator?.stop();
    surroundings.stop();
    await rm(folder, { recursive: true });
  }
}

async function expectNoCredentials({ rotator, surroundings }: Started): Promise<void> {
  const { status, body } = await rotator.post({});
  expect(body).toMatchObject({
    results: [
      {
        outcome: 'failed',
        error: { code: 'CREDENTIALS_UNAVAILABLE', step: 'gather', retryable: false },
      },
    ],
  });
  expect(status).toBe(500);
  expect(leaks([REFRESH_TOKEN, ACCESS_TOKEN], [JSON.stringify(body)])).toEqual([]);
  expect([...surroundings.called]).toEqual([]);
  // One line for the run, and nothing by the libraries.
  expect(rotator.output.trim().split('\n')).toHaveLength(1);
}

// Some take the time in which the library tries again, or that it is given.
jest.setTimeout(40_000);

describe('credentials that cannot be got', () => {
  it('because there is no account: told at once', () =>
    withFunction({ answer: answered(404) }, async (started) => {
      await expectNoCredentials(started);
      // At the start and in the run, which may share it; never again.
      expect(started.surroundings.tokens).toBeLessThanOrEqual(2);
    }));

  it('because a login has expired: told at once', () =>
    withFunction(
      {
        answer: answered(400, {
          error: 'invalid_grant',
          error_description: `reauth related error (invalid_rapt) ${REFRESH_TOKEN}`,
          error_subtype: 'invalid_rapt',
        }),
        login: true,
      },
      async (started) => {
        await expectNoCredentials(started);
        // At the start, and in the run for each of the calls that it makes together; never again.
        expect(started.surroundings.tokens).toBeLessThanOrEqual(4);
      },
    ));

  it('because the metadata server is out of order, or never answers anything, or no token', async () => {
    const answers: Answer[] = [
      answered(503),
      never,
      (response, asksForToken) => (asksForToken ? never : answered(404))(response, asksForToken),
    ];
    await Promise.all(answers.map((answer) => withFunction({ answer }, expectNoCredentials)));
  });

  it('and can be got later: the function goes on, to the endpoints of its secrets', () =>
    withFunction(
      { answer: answered(404), secrets: `${SECRET},projects/p/locations/eu/secrets/s` },
      async ({ rotator, surroundings }) => {
        await rotator.post({});
        expect(surroundings.called.size).toBe(0);
        surroundings.answer = token;
        await new Promise<void>((resolve) => {
          surroundings.onCall = () => {
            if (surroundings.called.size === 2) resolve();
          };
          // Its answer takes longer than anybody has to wait for here.
          void rotator.post({}).catch(() => undefined);
        });
        expect([...surroundings.called].sort()).toEqual([
          'secretmanager.eu.rep.googleapis.com:443',
          'secretmanager.googleapis.com:443',
        ]);
      },
    ));
});
