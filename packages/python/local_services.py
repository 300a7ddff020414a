"""For tests: connects clients to the emulators of this repository, over plaintext and without credentials."""

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import secretmanager
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)


def local_secret_manager(host):
    """Creates clients of the emulator at ``host:port``."""

    def create():
        channel = grpc.insecure_channel(host)
        transport = SecretManagerServiceGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        return secretmanager.SecretManagerServiceClient(transport=transport)

    return create


def local_momento(host):
    """Sends the calls of a key to the emulator at ``host:port``. The SDK itself can't redirect v2 keys."""

    def redirect(provider):
        name, port = host.split(":")
        provider.cache_endpoint = provider.control_endpoint = provider.token_endpoint = name
        provider.port = int(port)
        provider.secure_endpoints = provider.secure_connection = False
        return provider

    return redirect
