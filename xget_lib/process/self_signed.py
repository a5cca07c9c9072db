"""A certificate for this process alone, signed by itself, with a new key that is never written to a disk.

Nobody trusts it for what is in it: the secret's proof names its fingerprint (`ninep.auth`). Python's `ssl` makes no
certificates, so this calls the OpenSSL that `ssl` itself uses. That is there wherever TLS is, in a boot image too, and
takes 4 ms. The `openssl` command would be one more program to install, and `cryptography` a package of 10 MB.
"""

from __future__ import annotations

import ctypes

from xget_lib.errors import UsageError

_NAME = b"xget"
_ASCII = 0x1001  # MBSTRING_ASC
_SECONDS = 10 * 365 * 24 * 3600
"""How long it is valid. Nobody looks: the key lives as long as its process."""
_EARLIER = 24 * 3600
_V3 = 2
_SIZE = 16 * 1024
"""Bytes, many more than it takes."""
_POINTERS = (
    *("EVP_PKEY_Q_keygen", "EVP_sha256", "BIO_new", "BIO_s_mem", "X509_new", "X509_get_subject_name"),
    *("X509_get_serialNumber", "X509_getm_notBefore", "X509_getm_notAfter", "X509_gmtime_adj"),
)
"""The functions that return pointers; all others return a number, which is 0 or less for an error."""


def self_signed() -> bytes:
    """A private key (EC, P-256) and its certificate, as PEM. Raises UsageError where OpenSSL cannot make them."""
    try:
        import _ssl

        openssl = ctypes.CDLL(_ssl.__file__)  # which finds what the library needs, by whatever name
        for name in _POINTERS:
            getattr(openssl, name).restype = ctypes.c_void_p
    except (ImportError, AttributeError, OSError) as error:
        raise _refused(str(error)) from None
    key, certificate, text = _Pointer(openssl.EVP_PKEY_free), _Pointer(openssl.X509_free), _Pointer(openssl.BIO_free)
    with key, certificate, text:
        key.value = openssl.EVP_PKEY_Q_keygen(None, None, b"EC", b"P-256")
        certificate.value = openssl.X509_new()
        text.value = openssl.BIO_new(ctypes.c_void_p(openssl.BIO_s_mem()))
        if not (key.value and certificate.value and text.value):
            raise _refused("OpenSSL makes no key")
        _fill(openssl, certificate, key)
        _check(openssl.PEM_write_bio_PrivateKey(text, key, None, None, 0, None, None))
        _check(openssl.PEM_write_bio_X509(text, certificate))
        pem = ctypes.create_string_buffer(_SIZE)
        length = _check(openssl.BIO_read(text, pem, _SIZE))
        return pem.raw[:length]


def _fill(openssl: ctypes.CDLL, certificate: _Pointer, key: _Pointer) -> None:
    pointer, seconds = ctypes.c_void_p, ctypes.c_long
    name = pointer(openssl.X509_get_subject_name(certificate))
    _check(openssl.X509_set_version(certificate, seconds(_V3)))
    _check(openssl.ASN1_INTEGER_set(pointer(openssl.X509_get_serialNumber(certificate)), seconds(1)))
    # Clocks differ: it is valid already yesterday.
    _check(openssl.X509_gmtime_adj(pointer(openssl.X509_getm_notBefore(certificate)), seconds(-_EARLIER)) or 0)
    _check(openssl.X509_gmtime_adj(pointer(openssl.X509_getm_notAfter(certificate)), seconds(_SECONDS)) or 0)
    _check(openssl.X509_set_pubkey(certificate, key))
    _check(openssl.X509_NAME_add_entry_by_txt(name, b"CN", _ASCII, _NAME, -1, -1, 0))
    _check(openssl.X509_set_issuer_name(certificate, name))
    _check(openssl.X509_sign(certificate, key, pointer(openssl.EVP_sha256())))


class _Pointer:
    """A value of OpenSSL, which is freed at the end of a `with`."""

    def __init__(self, free: ctypes._NamedFuncPointer) -> None:
        self._free = free
        self.value: int | None = None

    @property
    def _as_parameter_(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.value)

    def __enter__(self) -> _Pointer:
        return self

    def __exit__(self, *_: object) -> None:
        self._free(self)


def _check(result: int) -> int:
    if result <= 0:
        raise _refused("OpenSSL makes no certificate")
    return result


def _refused(why: str) -> UsageError:
    return UsageError(f"--tls: cannot make a certificate: {why} (give one with --tls-cert)")
