import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Metadata, status } from '@grpc/grpc-js';
import { protobuf } from 'google-gax';

// google-gax contains these definitions and doesn't export them.
const path = join(require.resolve('google-gax'), '../../protos/status.json');
const root = protobuf.Root.fromJSON(JSON.parse(readFileSync(path, 'utf8')) as protobuf.INamespace);

/** A message of google/rpc/error_details.proto: its name, and its fields. */
export type Detail = readonly [name: string, fields: object];

/** The machine-readable reason, which every error of Google contains (AIP-193). */
export function errorInfo(
  reason: string,
  domain: string,
  metadata: Readonly<Record<string, string>> = {},
): Detail {
  return ['ErrorInfo', { reason, domain, metadata }];
}

/** The trailers of an error of Google's services: a google.rpc.Status with details. */
export function statusDetails(code: status, message: string, details: readonly Detail[]): Metadata {
  const metadata = new Metadata();
  metadata.set(
    'grpc-status-details-bin',
    encode('Status', {
      code,
      message,
      details: details.map(([name, fields]) => ({
        type_url: `type.googleapis.com/google.rpc.${name}`,
        value: encode(name, fields),
      })),
    }),
  );
  return metadata;
}

function encode(name: string, fields: object): Buffer {
  const type = root.lookupType(`google.rpc.${name}`);
  return Buffer.from(type.encode(type.create(fields)).finish());
}
