/* global require, process, Buffer */
// The simplest implementation: both SDKs unchanged, without a bundle, with only the steps that a rotation needs. It doesn't
// check, retry or verify anything.
const functions = require('@google-cloud/functions-framework');
const { AuthClient, CredentialProvider, RefreshApiKey } = require('@gomomento/sdk');
const { SecretManagerServiceClient } = require('@google-cloud/secret-manager');
const { PassThroughClient } = require('google-auth-library');
const { grpc } = require('google-gax');

const { SECRETS, SECRET_MANAGER_EMULATOR_HOST, MOMENTO_EMULATOR_HOST } = process.env;
const [apiEndpoint, port] = SECRET_MANAGER_EMULATOR_HOST.split(':');
const secretManager = new SecretManagerServiceClient({
  apiEndpoint,
  port: Number(port),
  sslCreds: grpc.credentials.createInsecure(),
  authClient: new PassThroughClient(),
});

functions.http('rotate', async (request, response) => {
  const [latest] = await secretManager.accessSecretVersion({ name: `${SECRETS}/versions/latest` });
  const credential = JSON.parse(latest.payload.data.toString());

  const momento = new AuthClient({
    credentialProvider: CredentialProvider.fromString({
      apiKey: credential.apiKey,
      endpointOverrides: {
        controlEndpoint: MOMENTO_EMULATOR_HOST,
        cacheEndpoint: MOMENTO_EMULATOR_HOST,
        tokenEndpoint: MOMENTO_EMULATOR_HOST,
        secureConnection: false,
      },
    }),
  });
  const refreshed = await momento.refreshApiKey(credential.refreshToken);
  if (!(refreshed instanceof RefreshApiKey.Success)) throw new Error(refreshed.toString());

  const { apiKey, refreshToken, expiresAt } = refreshed;
  const renewed = { ...credential, apiKey, refreshToken, validUntil: expiresAt.epoch() };
  const [added] = await secretManager.addSecretVersion({
    parent: SECRETS,
    payload: { data: Buffer.from(JSON.stringify(renewed)) },
  });
  await secretManager.disableSecretVersion({ name: latest.name });
  response.json({ version: added.name });
});
