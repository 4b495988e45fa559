"""Text in scripts that are written without spaces, made so that an index of words can hold it."""

import re
import unicodedata

# Thai to Myanmar, Khmer; CJK with its kana, Hangul syllables, compatibility forms; the planes of rare Han characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED_CHARACTER = re.compile(f"([{_UNSPACED}])")
UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
"""Characters of scripts that are written without spaces."""


def separated(text: str) -> str:
    """Return text as it is indexed: in compatibility form (NFKC: no ligatures, no full-width letters), and spaces
    around each character of a script without spaces."""
    if text.isascii():
        return text
    return _UNSPACED_CHARACTER.sub(r" \1 ", unicodedata.normalize("NFKC", text))
