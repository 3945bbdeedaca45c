"""What a catalogue lacks is noted there, to be translated: python -m caa_core.app.opening.languages"""

from babel.messages.catalog import Catalog

from caa_core.app.opening.languages.catalogue import ENGLISH, FOLDER, languages, stored
from caa_core.app.opening.languages.source import needed_and_known


def main() -> None:
    """Put what each catalogue lacks into it, without a translation, and take out what is not said any more."""
    needed, known = needed_and_known()
    for language in languages():
        if language == ENGLISH:
            continue
        there = _messages(stored(language))
        kept = {source: said for source, said in there.items() if source in known} | {
            source: "" for source in needed if not there.get(source)
        }
        _write(language, kept)
        lacking = sorted(source for source, said in kept.items() if not said)
        print(f"{language}: {len(lacking)} without a translation, {len(there.keys() - kept.keys())} taken out")
        print(*lacking, sep="\n")


def _messages(catalog: Catalog) -> dict[str, str]:
    return {str(entry.id): str(entry.string) for entry in catalog if entry.id}


def _write(language: str, messages: dict[str, str]) -> None:
    """The file as it was, up to its first entry, and the entries in their order."""
    path = FOLDER / f"{language}.po"
    head, _, _ = path.read_text(encoding="utf-8").partition("\n\n")
    entries = (
        f"msgid {_quoted(source)}\nmsgstr {_quoted(messages[source])}\n"
        for source in sorted(messages, key=lambda source: (source.casefold(), source))
    )
    path.write_text("\n".join([f"{head}\n", *entries]), encoding="utf-8")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


if __name__ == "__main__":
    main()
