"""Measures of the matrices in an embeddings artifact: one row for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import VECTORS_FILE

if TYPE_CHECKING:
    import pandas as pd


def measure_vectors(folder: Path, coverage: float | None) -> pd.DataFrame:
    """One row per matrix of every `.safetensors` file, named `file: tensor`.

    Columns: `vectors`, `dimensions`, `finite` (1 when all values are), `zero_share` (of the word vectors; a token that
    is part of no word rightly has a vector of zeros), `norm_ratio` (the largest norm over the median of those that
    are not zero), `coverage` (share of the text's words that have a vector; of the word vectors).

    Args:
        folder: of the artifact.
        coverage: of the word vectors, as the stage measured it.
    """
    import pandas as pd
    from safetensors.numpy import load_file

    rows: dict[str, dict[str, float]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, matrix in sorted(load_file(file).items()):
            if matrix.ndim == 2:
                rows[f"{file.name}: {name}"] = _matrix(matrix, coverage if file.name == VECTORS_FILE else None)
    columns = ["vectors", "dimensions", "finite", "zero_share", "norm_ratio", "coverage"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _matrix(matrix: NDArray[np.floating], coverage: float | None) -> dict[str, float]:
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1)
    lengths = norms[np.isfinite(norms) & (norms > 0)]
    return {
        "vectors": len(matrix),
        "dimensions": matrix.shape[1],
        "finite": int(np.isfinite(matrix).all()),
        "zero_share": np.nan if coverage is None else float((norms == 0).mean()),
        "norm_ratio": float(lengths.max() / np.median(lengths)) if len(lengths) else np.nan,
        "coverage": np.nan if coverage is None else coverage,
    }
