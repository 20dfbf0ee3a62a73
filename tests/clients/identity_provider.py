"""An OpenID Connect provider on loopback: a JWKS for services, and tokens for clients."""

import json
import time
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from seaweedfs import AUDIENCE
from serving import Handler, HttpService

KEY_ID = "key-1"


class IdentityProvider(HttpService):
    """Signs with RS256. Listens inside `with`; another process can sign with its issuer and key."""

    def __init__(self, issuer: str = "", key: str = ""):
        if key:
            self.issuer, self._key = issuer, serialization.load_pem_private_key(key.encode(), None)
            return
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        super().__init__(_Handler)
        self.issuer = self.endpoint

    @property
    def key(self) -> str:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self._key.private_bytes(*form).decode()

    def token(self, subject: str = "system:serviceaccount:default:app", seconds: int = 3600, audience: str = AUDIENCE) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": subject, "aud": audience, "iat": now, "exp": now + seconds}
        text = f"{_part({'alg': 'RS256', 'kid': KEY_ID, 'typ': 'JWT'})}.{_part(claims)}"
        return f"{text}.{_encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def documents(self) -> dict[str, dict]:
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": _encode(numbers.n.to_bytes(256, "big")),
            "e": _encode(numbers.e.to_bytes(3, "big")),
        }
        return {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"},
            "/jwks": {"keys": [key]},
        }


class _Handler(Handler):
    def do_GET(self) -> None:
        document = self.server.service.documents().get(self.path)
        self.answer(200 if document else 404, json.dumps(document))


def _part(value: dict) -> str:
    return _encode(json.dumps(value).encode())


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
