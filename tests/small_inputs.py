"""Small submissions and labels in a folder, for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

N, D = 60, 6


def write_inputs(folder: Path) -> Path:
    """Write submissions a.npz and b.csv, matrix.npy with ids.txt, labels of three tasks, groups and a split."""
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:03d}" for i in range(N)])
    x = rng.normal(size=(N, D)).astype(np.float32)
    np.savez(folder / "a.npz", id=ids, x=x)
    np.save(folder / "matrix.npy", x)
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    rows = [",".join([i, *(repr(float(v)) for v in row[:4])]) for i, row in zip(ids, x, strict=True)]
    (folder / "b.csv").write_text("\n".join(["id,0,1,2,3", *rows]) + "\n")
    labels = folder / "labels"
    labels.mkdir()
    noise = rng.normal(size=(N, 3))
    columns = {
        "height__regression": x[:, 0] + 0.3 * noise[:, 0],
        "width__regr": x[:, 4] + 0.3 * noise[:, 1],
        "ships__cls": (x[:, 1] + 0.3 * noise[:, 2] > 0).astype(int),
    }
    for name, y in columns.items():
        write_csv(labels / f"{name}.csv", "id,label", zip(ids, y.tolist(), strict=True))
    write_csv(folder / "groups.csv", "id,group", ((i, f"g{k % 5}") for k, i in enumerate(ids)))
    write_csv(folder / "split.csv", "id,split", ((i, "eval" if k % 4 == 0 else "dev") for k, i in enumerate(ids)))
    return folder


def write_csv(path: Path, header: str, rows: object) -> None:
    """Write rows of cells under a header."""
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
