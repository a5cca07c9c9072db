"""Which generations a node takes: with `--trust`, only those that one of these keys has signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xget_lib.errors import NotTrusted, UsageError, printable
from xget_lib.manifest.signature import Signed
from xget_lib.report.log import LOGGER
from xget_lib.signing.keys import is_signed, read_public_keys
from xget_lib.swarm.messages import News

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Trust:
    """The keys in a file. Whoever sends the news, the manifest and the content: the keys decide.

    The file is read again for each generation: a follower lives for years, and keys do not. If that fails, as in a node
    whose boot image is gone, the keys that were there count.
    """

    def __init__(self, path: str) -> None:
        """Raises UsageError."""
        self._path = path
        self._keys: list[Ed25519PublicKey] = read_public_keys("trust", path)
        self._trouble = ""
        """Why the file could not be read again, as it was logged last."""
        self._last: Signed | None = None
        """What was found to be signed last: there may be many lines of news of one generation."""

    def signed(self, news: News) -> Signed:
        """The generation in the news, with its signature. Raises NotTrusted if it has none by one of the keys."""
        if news.signature is None:
            raise NotTrusted(news.generation, "the master has no signature of it (xget sign, or --sign-key there)")
        signed = Signed(news.generation, news.signature)
        if signed != self._last:
            self._read_again()
            if not is_signed(signed, self._keys):
                why = f"none of the keys in {printable(self._path)} has signed it (is a key missing there?)"
                raise NotTrusted(news.generation, why)
            self._last = signed
        return signed

    def accepts(self, news: News) -> bool:
        """Whether one of the keys has signed the generation in the news."""
        try:
            self.signed(news)
        except NotTrusted:
            return False
        return True

    def _read_again(self) -> None:
        try:
            self._keys = read_public_keys("trust", self._path)
        except UsageError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                LOGGER.warning("trusting the same keys as before: %s", error)
