"""The trainability map that is kept with the library: one seed, cell by cell.

    python benchmarks/trainability.py [--store FILE] [--processes N] [--recipes he isometric]

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
from isometry.lab.trainability_map import KEPT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    shipped = Path(isometry.lab.__file__).parent / KEPT
    parser.add_argument("--store", type=Path, default=shipped)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--recipes", nargs="*")
    asked = parser.parse_args()

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


def one_thread() -> None:
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
