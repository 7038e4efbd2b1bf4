"""Text of users as tables, terminals and pictures can show it: names hold any character."""

import codecs
import sys
import unicodedata
from typing import TextIO

UNPRINTED = {'Cc', 'Cs', 'Zl', 'Zp'}  # categories: controls, halves of pairs, ends of lines
SIMPLER = {'±': '+-', '─': '-'}  # what this library writes beyond ASCII


def printable(text: str) -> str:
    """The text on one line, its control characters and line breaks as escapes such as \\n."""
    if text.isprintable():
        return text
    return ''.join(escape(c) if unicodedata.category(c) in UNPRINTED else c for c in text)


def escape(character: str) -> str:
    return character.encode('unicode_escape').decode()


def shown(text: str) -> str:
    """`printable`, in the characters of standard output."""
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    return printable(text).encode(encoding, SIMPLIFY).decode(encoding)


def simplify(error: UnicodeError) -> tuple[str, int]:
    """Replaces characters that an encoding lacks by simpler ones, or by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return ''.join(SIMPLER.get(c) or escape(c) for c in lacking), error.end


SIMPLIFY = 'rnnlab_simplify'
codecs.register_error(SIMPLIFY, simplify)


def never_fail(stream: TextIO) -> None:
    """Lets a text stream write every character, those that its encoding lacks simplified."""
    if hasattr(stream, 'reconfigure'):
        stream.reconfigure(errors=SIMPLIFY)
