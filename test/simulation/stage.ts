/** What scenes are played on and in: the services that several of them share, their time, a way to call the function. */
import { PassThrough, Readable } from 'node:stream';
import type { Request, Response } from '@google-cloud/functions-framework';
import type { Handler } from '../../src/http/handler';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { VirtualClock } from '../virtual-clock';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/**
 * A Secret Manager and its clients, for one scene after the other: the client is slow to make, and knows nothing of any
 * secret.
 */
export class Stage {
  /** Shared by all scenes, because the client has it: each begins at the same time of day. */
  readonly clock = new VirtualClock();
  readonly store: SecretManagerStore;
  #scenes = 0;

  private constructor(readonly secretManager: SecretManagerEmulator) {
    this.store = new SecretManagerStore({ emulator: secretManager.host, clock: this.clock });
  }

  static async start(): Promise<Stage> {
    return new Stage(await SecretManagerEmulator.start());
  }

  stop(): Promise<void> {
    return this.secretManager.stop();
  }

  nextName(): string {
    this.#scenes += 1;
    // The client limits its calls by project: a project of its own lets no scene wait for another one.
    return `projects/p${this.#scenes}/secrets/s`;
  }
}

interface HandlerCall {
  readonly method?: string;
  readonly path?: string;
  readonly body?: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Calls a handler without a server, which is functions-framework's part. */
export async function call(
  handler: Handler,
  { method = 'POST', path = '/', body, headers = {} }: HandlerCall = {},
): Promise<{ status: number; body: unknown }> {
  const answer: { status: number; body: unknown } = { status: 0, body: undefined };
  const response = Object.assign(new PassThrough(), {
    set: () => response,
    status: (code: number) => {
      answer.status = code;
      return response;
    },
    json: (json: unknown) => {
      answer.body = json;
      response.end();
      response.resume();
    },
  }) as unknown as Response & PassThrough;
  const request = Object.assign(Readable.from(body === undefined ? [] : [body]), {
    method,
    path,
    url: path,
    headers,
    get: (name: string) => headers[name.toLowerCase()],
  });
  await handler(request as unknown as Request, response);
  return answer;
}

export function secretName(name: string): SecretName {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`${name} is not a secret's name`);
  return secret;
}
