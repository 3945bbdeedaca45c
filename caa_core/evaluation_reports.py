"""An evaluation as an HTML report with its map, or as JSON or CSV."""

from pathlib import Path
from typing import Any

from caa_core.figures import COST, EFFECT, VALUE, sweep_map
from caa_core.html_reports import Part, versions, write_html
from caa_core.reports import ENDINGS as NUMBERS
from caa_core.reports import cells_in_words, check_report, write_report
from caa_core.sweeps import Cell

ENDINGS = (".html", *NUMBERS)
MAPS = {
    EFFECT: ("Effect", "Change against the unsteered model, over both letter orders where items have letters."),
    VALUE: ("As asked", "In the order given, letter and all."),
    COST: ("Cost", "KL(unsteered ‖ steered), mean over the answer's positions."),
}


def write_evaluation(found: dict[str, Any], path: Path) -> None:
    """Write an evaluation's summary by the file's ending; see `reports.write_report`.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path, ENDINGS)
    if path.suffix.lower() in NUMBERS:
        write_report(found, path)
        return
    heads, rows = cells_in_words(found)
    cells, unsteered, best = [Cell(**cell) for cell in found["cells"]], Cell(**found["unsteered"]), found["best"]
    place = best and (best["layer"], best["multiplier"])
    items = f"{found['items']} items measured, {len(found['skipped'])} skipped"
    parts = [Part("Verdict", f"{found['verdict']['text']}\n{items}. Measured: {found['measure']}.")]
    parts += [
        Part(title, text, figure=sweep_map(cells, unsteered, which, place)) for which, (title, text) in MAPS.items()
    ]
    parts.append(Part("All cells in numbers", "Intervals of 95 % over items.", heads=heads, rows=rows))
    if found["skipped"]:
        parts.append(Part("Skipped", "\n".join(found["skipped"])))
    provenance = {**found["provenance"], **versions()}
    vector = provenance.pop("vector")
    provenance |= {f"vector: {name}": value for name, value in vector.items()}
    write_html(path, f"{found['vector']} on {found['data']}", parts, found["settings"], provenance)
