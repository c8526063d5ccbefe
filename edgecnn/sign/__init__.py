"""Signatures of files in the OpenSSF Model Signing format: what was signed is what is opened.

Needs the extra `verify` (cryptography), which is imported when a key is used, not before.
"""

from edgecnn.sign.check import check_data, check_signature, open_signed, open_trusted, read_signature, signature_path
from edgecnn.sign.write import sign_file

__all__ = ["check_data", "check_signature", "open_signed", "open_trusted", "read_signature", "sign_file", "signature_path"]
