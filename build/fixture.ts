/**
 * Secret Manager and Momento as far as a good rotation of each kind needs them: every answer is the expected one, and
 * nothing else is known. The local services of the tests can do more, and change more often than what is deployed should.
 */
import { Crc32c } from '@aws-crypto/crc32c';
import { auth, control } from '@gomomento/generated-types';
import protos from '@google-cloud/secret-manager/build/protos/protos.json';
import {
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';

const { _RefreshApiTokenResponse } = auth.auth;
const { _ListCachesResponse } = control.control_client;

/** What the methods of a service answer. */
type Answers = Readonly<Record<string, (request: never) => object>>;

interface Named {
  readonly name: string;
}

interface Version extends Named {
  readonly state: string;
  readonly createTime: object;
  readonly etag: string;
  readonly data: Buffer;
}

const ENDPOINT = 'cell-1.momento.invalid';
const DAY_S = 24 * 3600;

/** A v1 key as the console gives it. */
export function consoleJson(): string {
  const apiKey = Buffer.from(JSON.stringify({ endpoint: ENDPOINT, api_key: 'old' }));
  return JSON.stringify({
    apiKey: apiKey.toString('base64'),
    refreshToken: 'old',
    validUntil: inDays(1),
  });
}

/**
 * Starts both services on one port; returns `host:port`.
 *
 * @param secrets names, and what the first version of each holds
 */
export async function startServices(secrets: Readonly<Record<string, string>>): Promise<string> {
  const server = new Server();
  const serve = (definition: unknown, answers: Answers): void =>
    server.addService(
      definition as ServiceDefinition,
      Object.fromEntries(
        Object.entries(answers).map(([method, answer]) => [
          method,
          ({ request }: ServerUnaryCall<object, object>, reply: sendUnaryData<object>) =>
            reply(null, answer(request as never)),
        ]),
      ),
    );
  const { 'google.cloud.secretmanager.v1.SecretManagerService': secretManager } = fromJSON(protos, {
    defaults: true,
    longs: String,
  });
  serve(secretManager, secretManagerAnswers(secrets));
  serve(auth.auth.UnimplementedAuthService.definition, {
    RefreshApiToken: () =>
      new _RefreshApiTokenResponse({
        api_key: 'new',
        refresh_token: 'new',
        endpoint: ENDPOINT,
        valid_until: inDays(30),
      }),
  });
  serve(control.control_client.UnimplementedScsControlService.definition, {
    ListCaches: () => new _ListCachesResponse(),
  });
  const credentials = ServerCredentials.createInsecure();
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, port) =>
      error === null ? resolve(`127.0.0.1:${port}`) : reject(error),
    ),
  );
}

function secretManagerAnswers(secrets: Readonly<Record<string, string>>): Answers {
  /** Of all secrets, newest first. */
  const versions: Version[] = [];

  function versionsOf(secret: string): Version[] {
    return versions.filter(({ name }) => name.startsWith(`${secret}/`));
  }
  function add(secret: string, data: Buffer): Version {
    const version = {
      name: `${secret}/versions/${versionsOf(secret).length + 1}`,
      state: 'ENABLED',
      createTime: { seconds: inDays(0) },
      etag: '"1"',
      data,
    };
    versions.unshift(version);
    return version;
  }
  function find(wanted: string): Version {
    const [found] = wanted.endsWith('/latest')
      ? versionsOf(wanted.replace('/versions/latest', ''))
      : versions.filter(({ name }) => name === wanted);
    if (found === undefined) throw new Error(`there is no ${wanted}`);
    return found;
  }

  for (const [secret, payload] of Object.entries(secrets)) add(secret, Buffer.from(payload));
  return {
    AccessSecretVersion: (request: Named) => {
      const { name, data } = find(request.name);
      return { name, payload: { data, dataCrc32c: new Crc32c().update(data).digest() } };
    },
    ListSecretVersions: ({ parent }: { parent: string }) => ({ versions: versionsOf(parent) }),
    TestIamPermissions: ({ permissions }: { permissions: string[] }) => ({ permissions }),
    AddSecretVersion: ({ parent, payload }: { parent: string; payload: { data: Buffer } }) =>
      add(parent, payload.data),
    DisableSecretVersion: ({ name }: Named) => Object.assign(find(name), { state: 'DISABLED' }),
  };
}

/** In epoch seconds. */
export function inDays(days: number): number {
  return Math.floor(Date.now() / 1000) + days * DAY_S;
}
