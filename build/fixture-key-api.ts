/** Momento's key API as far as a good mint, with nothing to revoke, needs it: see fixture.ts. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

interface Mint {
  readonly role_id: string;
  readonly expiry: number;
}

/** A v2 key, which is a JWT; without an expiry it never ends. */
export function v2Key(id: string, expiry?: number): string {
  const claims = JSON.stringify({ t: 'g', jti: id, exp: expiry });
  return `e30.${Buffer.from(claims).toString('base64url')}.e30`;
}

/** Returns `host:port`. */
export async function startKeyApi(): Promise<string> {
  const server = createServer((request, response) => {
    const list = { key_info: [] };
    const answer = request.method === 'POST' ? json(request).then(mint) : Promise.resolve(list);
    void answer.then((body) => response.end(JSON.stringify(body)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function mint(request: unknown): object {
  const { role_id, expiry } = request as Mint;
  return {
    api_key: v2Key('new', expiry),
    key_info: {
      key_id: 'new',
      role_id,
      issued_at_epoch_seconds: Math.floor(Date.now() / 1000),
      expires_at_epoch_seconds: expiry,
    },
  };
}
