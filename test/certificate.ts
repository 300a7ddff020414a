/** A certificate authority for tests, made without tools that a machine might lack (RFC 5280, in DER). */
import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { DAY } from '../src/duration';

export interface Certificate {
  /** PEM */
  readonly cert: string;
  /** PEM */
  readonly key: string;
}

const SEQUENCE = 0x30;
const SET = 0x31;

/** A self-signed certificate for these host names. Clients that trust `cert` as an authority accept it. */
export function selfSigned(hosts: readonly string[]): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = der(SEQUENCE, oid('1.2.840.10045.4.3.2')); // ecdsa-with-SHA256
  const name = der(
    SEQUENCE,
    der(SET, der(SEQUENCE, oid('2.5.4.3'), der(0x0c, Buffer.from('test authority')))),
  );
  const body = der(
    SEQUENCE,
    der(0xa0, integer(2)), // version 3
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])), // serial number
    algorithm,
    name,
    der(SEQUENCE, time(Date.now() - DAY), time(Date.now() + DAY)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(SEQUENCE, ...extensions(hosts))),
  );
  return {
    cert: pem(der(SEQUENCE, body, algorithm, bits(signature(body, privateKey)))),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

function extensions(hosts: readonly string[]): Buffer[] {
  const names = hosts.map((host) => der(0x82, Buffer.from(host)));
  const isAuthority = der(0x01, Buffer.from([0xff]));
  return [
    der(SEQUENCE, oid('2.5.29.19'), isAuthority, der(0x04, der(SEQUENCE, isAuthority))),
    der(SEQUENCE, oid('2.5.29.17'), der(0x04, der(SEQUENCE, ...names))),
  ];
}

function signature(body: Buffer, key: KeyObject): Buffer {
  return sign('sha256', body, key);
}

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function integer(value: number): Buffer {
  return der(0x02, Buffer.from([value]));
}

function bits(content: Buffer): Buffer {
  return der(0x03, Buffer.from([0]), content);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(0x06, Buffer.from(bytes));
}

/** UTCTime */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\D/g, '').slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function pem(content: Buffer): string {
  const lines = content.toString('base64').replace(/(.{64})(?!$)/g, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}
