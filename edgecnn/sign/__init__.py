"""Signatures of files in the OpenSSF Model Signing format: what is opened is what was signed.

`check` checks one and `write` makes one, by the extra `verify` (cryptography), which is imported when a key is used, not before.
"""

from edgecnn.sign.beside import read_signature, signature_path
from edgecnn.sign.trusted import open_signed, open_trusted

__all__ = ["open_signed", "open_trusted", "read_signature", "signature_path"]
