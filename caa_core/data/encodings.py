"""Bytes to text: which encoding a file is in, also where it has no mark of it, or lines of two."""

import codecs
import re
import unicodedata
from collections import Counter

from caa_core.errors import InputError

# Encodings of one byte a character that are tried on text which is no UTF-8. Where two fit equally well the first is
# meant more often.
NARROW = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp1257": "Windows-1257",
    "cp874": "Thai Windows-874",
    "koi8_r": "KOI8-R",
    "koi8_u": "KOI8-U",
    "mac_roman": "Mac Roman",
    "cp850": "DOS 850",
    "cp852": "DOS 852",
    "cp866": "DOS 866",
    "iso8859_2": "ISO 8859-2",
    "iso8859_5": "ISO 8859-5",
    "iso8859_6": "ISO 8859-6",
    "mac_cyrillic": "Mac Cyrillic",
}
# And those of several, by the order in which they are meant.
EASTERN = {
    "cp932": "Shift JIS",
    "euc_jp": "EUC-JP",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "Korean Windows-949",
}
LEGACY = NARROW | EASTERN
# The letters of languages beyond ASCII, the first ones frequent: where there are few bytes they tell encodings apart.
ALPHABETS = (
    "éèàêçâîôùûëïœüæÿ",  # French
    "äöüß",
    "éáíóúñüª",  # Spanish
    "ãçáéíóêâúõôàº",  # Portuguese
    "èàéùòì",  # Italian
    "åäöé",  # Swedish, Finnish
    "æøåé",  # Danish, Norwegian
    "éëïöüèáóí",  # Dutch
    "àéèíóòúçï·",  # Catalan
    "áíéðýóúöþæ",  # Icelandic
    "äõöüšž",  # Estonian
    "ąęłóśćżńź",  # Polish
    "áíéěýčšřžúůóďťň",  # Czech
    "áéíčýšžôúľťäňóďĺŕ",  # Slovak
    "áéöóőüíúű",  # Hungarian
    "ăîâșţşț",  # Romanian
    "čšžćđ",  # Croatian, Slovenian
    "ıişğçüöâİ",  # Turkish
    "éèäöüáíóñàçßêãâåøæõôîûùòìúëïœÿýðþ",  # several of the above
    "ąčęėįšųūž",  # Lithuanian
    "āčēģīķļņšūž",  # Latvian
    "оаеинтрслвкмдпуязыьгчбйжхшюцщэфъё",  # Russian, Bulgarian
    "оаинвіертслкмдпуязьгбчйжхшюцщєїґф",  # Ukrainian
    "αοιετνσηρπκμλυςάίέόήύώωδγχθφβξζψϊϋΐΰ",
    "יוהלאמתבשרנםדקחעכפטגצןסזךףץ",
    "الينمورتبةعدسفهكقحأجشطصىخإذزثئءغضظؤآ،؟؛ـ",
    "".join(map(chr, range(0x0E01, 0x0E5C))),  # Thai
)
FREQUENT = 10
# Signs that stand in texts of any language; some only behind a letter, or only before.
SIGNS = set("“”‘’«»„‚–—…•€£§°¿¡©®™½¼¾²³´·\xa0\xad")
OPENING = set("“„‚«¿¡")
# Fits of less are no text in one of these languages.
LEAST_FIT = 0.5
# Bytes that an encoding is guessed from, and bytes before the first that is no ASCII.
SAMPLE = 20_000
CONTEXT = 200
# Bytes that are held against alphabets.
FITTED = 4_000
# Fewer stray bytes are no sample.
FEW = 8
# With more, a file is no UTF-8 with strays.
MOST_STRAYS = 200_000
# Lines that are named.
NAMED = 5

# What a few letters of Windows-1252 are easily taken for; and nothing at all.
WESTERN = ("", "cp1252", "cp1250", "cp1254", "mac_roman", "cp850", "cp852")
WIDE = {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32", "utf-32-be": "UTF-32"}
BOMS = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
# Characters of more than one byte in UTF-8, and bytes that are no part of such.
MULTIBYTE = rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
PIECES = re.compile(rb"((?:[\x00-\x7f]|" + MULTIBYTE + rb")+)|([\x80-\xff]+?(?=[\x00-\x7f]|" + MULTIBYTE + rb"|\Z))")
ODD = re.compile(rb"[\x80-\xff]")


def decode(raw: bytes, name: str, formats: str) -> tuple[str, str]:
    """The text of a file, and its encoding where that is not UTF-8, in words.

    Raises:
        InputError: it is binary, or in an encoding that cannot be told. `formats` says what is read.
    """
    try:
        text, encoding = _marked(raw) or _wide(raw) or _narrow(raw)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not text in an encoding that can be told (byte {error.start} is {raw[error.start]:#04x}); "
            "save it as UTF-8."
        ) from error
    if is_binary(text):
        raise InputError(f"{name} is a binary file; it should be {formats}.")
    return text, encoding


def _marked(raw: bytes) -> tuple[str, str] | None:
    """Text behind a byte order mark of a wide encoding."""
    codec = next((codec for mark, codec in BOMS if raw.startswith(mark)), "")
    return (raw.decode(codec), codec.upper()) if codec else None


def _wide(raw: bytes) -> tuple[str, str] | None:
    """Text in a wide encoding without a mark: one whose characters are of text, most of them ASCII or all in words."""
    part = raw[:SAMPLE]
    foreign = len(part) - len(part.translate(None, bytes(range(128, 256))))
    # A stray null in other text makes none: half of the bytes of Latin text are such, and others are no ASCII.
    if b"\0" not in part or 2.5 * part.count(b"\0") + 5 * foreign < len(part):
        return None
    found = []
    for codec in WIDE:
        width = 4 if "32" in codec else 2
        try:
            sample = part.decode(codec, "strict" if len(raw) <= SAMPLE else "ignore")
        except UnicodeDecodeError:
            continue
        plain = sum(letter.isascii() for letter in sample) / max(len(sample), 1)
        if len(raw) % width == 0 and sample and plain > 0.05 and not is_binary(sample) and _is_text(sample):
            found.append((plain, codec))
    if not found:
        return None
    codec = max(found)[1]
    return raw.decode(codec), WIDE[codec]


def _is_text(sample: str) -> bool:
    return sum(letter.isprintable() or letter.isspace() for letter in sample) >= 0.98 * len(sample)


def _narrow(raw: bytes) -> tuple[str, str]:
    if is_binary(raw.decode("latin-1")):
        return "\0", ""
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        codec = guess(raw)
        if mixed := _mixed(raw, codec):
            return mixed
        if not codec:
            raise error
        return raw.decode(codec), LEGACY[codec]


def guess(raw: bytes) -> str:
    """The codec that the lines with letters beyond ASCII look like; empty where none does."""
    from charset_normalizer import from_bytes

    odd = b"\n".join(line for line in raw.splitlines() if not line.isascii())
    start = max(0, next(ODD.finditer(odd)).start() - CONTEXT)
    # These are no part of a character of several bytes, so none is cut in two.
    end = re.compile(rb"[\n ,;]").search(odd, start + SAMPLE, start + SAMPLE + CONTEXT)
    sample = odd[start : end.start() if end else start + SAMPLE]
    ranks = {codec: rank for rank, codec in enumerate(LEGACY)}
    tried = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "mac_roman", *EASTERN]
    found = [
        (match.chaos, -match.coherence, ranks[codec], codec)
        for match in from_bytes(sample, cp_isolation=tried)
        for codec in match.could_be_from_charset
        if codec in ranks
    ]
    likely = min(found)[-1] if found else ""
    if likely in EASTERN:
        return likely
    fit, _, codec = max((_fit(sample[:FITTED], codec), -ranks[codec], codec) for codec in NARROW)
    return codec if fit >= LEAST_FIT else likely


def _fit(sample: bytes, codec: str) -> float:
    """How much a text is one of some language, up to about 1: which letters beyond ASCII it has, and where."""
    try:
        text = sample.decode(codec)
    except UnicodeDecodeError:
        return -1.0
    seen: Counter[tuple[str, bool]] = Counter()
    for found in re.finditer(r"[^\x00-\x7f]", text):
        letter = found[0]
        before, behind = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        if letter in SIGNS:
            odd = before.isalpha() and (letter in OPENING or (behind.isalpha() and letter not in "’·‘\xad"))
        else:
            # Other scripts than the Latin stand in words of their own.
            beside = letter >= "Ͱ" and (before + behind).isascii() and any(map(str.isalpha, before + behind))
            odd = beside or (letter.isupper() and before.islower())
        seen[letter, odd] += 1
    return max(_share(seen, alphabet) for alphabet in ALPHABETS) if seen else 0.0


def _share(seen: Counter[tuple[str, bool]], alphabet: str) -> float:
    """The sum over letters of what each says for a language, for each of them."""
    fit = 0.0
    for (letter, odd), count in seen.items():
        plain = letter if letter in alphabet else letter.lower()
        if odd:
            worth = -1.0
        elif letter in SIGNS:
            worth = 1.0 if letter == "’" else 0.5
        elif plain in alphabet:
            worth = 1.0 if alphabet.index(plain) < FREQUENT else 0.8
        else:
            worth = -1.0 if unicodedata.category(letter)[0] == "L" else -1.5
        fit += worth * count
    return fit / seen.total()


def _mixed(raw: bytes, codec: str) -> tuple[str, str] | None:
    """UTF-8 in which lines, or bytes, of another encoding stand: each is read as what it is.

    None for text that is all of another encoding. That seldom has characters which are UTF-8 by accident, and a western
    one has none: "Ã©" is no word.
    """
    text = raw.decode("utf-8", "ignore")
    strays = len(raw) - len(text.encode())
    there = len(text) - len(raw.translate(None, bytes(range(128, 256))))
    if not there or strays > MOST_STRAYS or not (codec in WESTERN or there >= strays):
        return None
    lines = raw.removeprefix(codecs.BOM_UTF8).split(b"\n")
    odd = [number for number, line in enumerate(lines) if not line.isascii() and not _is_utf8(line)]
    whole = [lines[number] for number in odd if not re.search(MULTIBYTE, lines[number])]
    other = guess(b"\n".join(whole)) if strays >= FEW and whole else ""
    other = "cp1252" if other in WESTERN else other
    for number in odd:
        lines[number] = _read_as(lines[number], other).encode()
    said = ", ".join(str(number + 1) for number in odd[:NAMED]) + (", ..." if len(odd) > NAMED else "")
    where = f"line{'s' * (len(odd) > 1)} {said}"
    return b"\n".join(lines).decode(), f"UTF-8, but {where} as {LEGACY[other]}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read_as(line: bytes, codec: str) -> str:
    """A line of another encoding; where it has UTF-8 too, each byte as what it is."""
    if not re.search(MULTIBYTE, line):
        try:
            return line.decode(codec)
        except UnicodeDecodeError:
            pass
    return "".join(
        found[1].decode("utf-8", "replace") if found[1] else _stray(found[2], codec) for found in PIECES.finditer(line)
    )


def _stray(found: bytes, codec: str) -> str:
    try:
        return found.decode(codec)
    except UnicodeDecodeError:
        return found.decode("cp1252", "replace")


def encoded_once(text: str) -> str:
    """What was meant by a text that is UTF-8 read as Windows-1252 or Latin-1; empty for any other."""
    for codec in ("cp1252", "latin-1") if not text.isascii() else ():
        try:
            return text.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return ""


def is_binary(text: str) -> bool:
    """True where there is a null character, or about one control character in a hundred at the beginning."""
    sample = text[:SAMPLE]
    controls = re.findall(r"[\x01-\x08\x0b\x0e-\x1f\x7f]", sample)
    return "\0" in text or len(controls) > 2 + len(sample) / 100
