"""Bare repositories and ``deploy`` (from the tests of deploy), and a running emulator of GitHub's API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.overlays_deploy.conftest import bare, overlays, remote, run_deploy
from tests.support import emulate

__all__ = ["bare", "overlays", "remote", "run_deploy"]


@pytest.fixture(scope="session")
def app_key() -> str:
    """The private key of a GitHub App, as GitHub hands it out (PEM, PKCS#1)."""
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(serialization.Encoding.PEM, *form).decode()


@pytest.fixture(scope="session")
def github_api(tmp_path_factory: pytest.TempPathFactory, app_key: str) -> Iterator[emulate.Emulate]:
    """emulate 0.11.2, or a skip that says why not."""
    if why := emulate.missing():
        pytest.skip(why)
    with emulate.running(tmp_path_factory.mktemp("emulate"), app_key) as running:
        yield running
