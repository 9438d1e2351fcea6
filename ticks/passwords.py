"""Passwords are hashed beside the process that fans out ticks, not in it.

A hash is made to cost a good part of a second of processor time. On a thread of the gateway it would compete with the
event loop for the processor, and for the interpreter's lock before and after. So a process of its own makes it, of
low priority, one at a time. It starts nothing but the interpreter, and ends with its hash.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from typing import Final

from django.contrib.auth.hashers import PBKDF2PasswordHasher

__all__ = ["BesidePBKDF2PasswordHasher"]

# Not the lowest priority there is: where the processor is always busy a hash would take most of a minute.
_CHILD: Final = """
import hashlib, os, sys
if hasattr(os, "nice"):
    os.nice(10)
digest, iterations, salt, password = sys.stdin.read().split()
print(hashlib.pbkdf2_hmac(digest, bytes.fromhex(password), bytes.fromhex(salt), int(iterations)).hex())
"""

_SECONDS: Final = 50.0
"""For one hash, on a machine with better things to do; then the server gives the request up anyway."""

_one_at_a_time = threading.Lock()


class BesidePBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's default, by its name and in its format, made in a process beside this one."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        if not salt or "$" in salt or not password:
            return super().encode(password, salt, iterations)  # which says what is wrong with them
        rounds = iterations or self.iterations
        try:
            digest = _hashed(self.digest().name, rounds, salt.encode(), password.encode())
        except OSError:  # no process can be started
            return super().encode(password, salt, iterations)
        return f"{self.algorithm}${rounds}${salt}${base64.b64encode(digest).decode()}"


def _hashed(digest: str, iterations: int, salt: bytes, password: bytes) -> bytes:
    # The password goes through a pipe: command lines and environments are for others to see.
    request = f"{digest} {iterations} {salt.hex()} {password.hex()}"
    with _one_at_a_time:
        done = subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=request,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    return bytes.fromhex(done.stdout)
