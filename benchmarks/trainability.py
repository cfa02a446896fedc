"""The trainability map that is kept with the library: one seed, cell by cell.

    python benchmarks/trainability.py [--store FILE] [--processes N] [--recipes he isometric]
    python benchmarks/trainability.py --picture docs/trainability.svg

Interrupted and typed again it goes on. Without --store the file is the one that the library ships and
`isometry lab trainability-map` draws; recipes that are named are trained anew.
`isometry lab trainability-map --full` trains three seeds, and convolutions a hundred deep.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

import isometry.lab
from isometry.lab.store import Store
from isometry.lab.trainability_cells import cells, train_cell
from isometry.lab.trainability_figures import figures
from isometry.lab.trainability_map import KEPT, kept_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    shipped = Path(isometry.lab.__file__).parent / KEPT
    parser.add_argument("--store", type=Path, default=shipped)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--recipes", nargs="*")
    parser.add_argument("--picture", type=Path, help="draw the deepest networks; train nothing")
    asked = parser.parse_args()
    if asked.picture is not None:
        asked.picture.write_text(picture(), encoding="utf-8")
        return

    store = Store(asked.store)
    if asked.recipes and asked.store == shipped:
        for cell in cells(recipes=asked.recipes):
            store.cells.pop(cell.key, None)
    missing = [cell for cell in cells(recipes=asked.recipes) if cell.key not in store.cells]
    started = time.monotonic()
    with ProcessPoolExecutor(asked.processes, initializer=one_thread) as pool:
        running = {pool.submit(train_cell, cell): cell for cell in missing}
        for done, future in enumerate(as_completed(running), 1):
            cell, found = running[future], future.result()
            store.get(cell.key, lambda found=found: found)
            took = (time.monotonic() - started) / 60
            said = f"{found['accuracy']:.1%} at {found['rate']:g}" if found else "declined"
            print(f"{done:4} of {len(missing)} {took:6.1f} min  {cell.key:36} {said}", flush=True)


def picture() -> str:
    """The deepest networks of the kept map side by side, as SVG on a white ground."""
    import vl_convert

    panels = [
        {**{k: v for k, v in f.spec.items() if k not in ("$schema", "autosize")}, "width": 330,
         "title": f.title}
        for f in figures(kept_map())
        if f.title.startswith(("100 linear", "30 convolutions"))
    ]  # fmt: skip
    heat = ["#f3f0ea", "#e4e2c8", "#c3d9b4", "#95c9ae", "#66b5b5", "#4a9fc4"]  # as on the page
    config = {
        "background": "white",
        "view": {"stroke": None},
        "range": {"ramp": heat, "heatmap": heat},
    }
    return vl_convert.vegalite_to_svg({"hconcat": panels, "spacing": 30, "config": config})


def one_thread() -> None:
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
