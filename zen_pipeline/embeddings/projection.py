"""A map of the most frequent content words in two dimensions: t-SNE, as points for the report and as a picture."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

# A word more frequent than this is taken for a function word, in any language; English has about fifty of them.
_FUNCTION_WORD_SHARE = 2.5e-3
# Families that hold Han, kana and Hangul, in the order of preference; matplotlib's own font holds none of them.
_CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Hiragino Sans GB", "Droid Sans Fallback",
)  # fmt: skip


@dataclass(frozen=True)
class WordMap:
    """Words with their places.

    Attributes:
        words: most frequent first.
        points: (words, 2) float64, both coordinates in 0 … 1.
    """

    words: list[str]
    points: NDArray[np.float64]

    def entries(self) -> list[dict[str, Any]]:
        """The content of `map.json`."""
        return [
            {"word": w, "x": round(float(x), 4), "y": round(float(y), 4)}
            for w, (x, y) in zip(self.words, self.points, strict=True)
        ]


def content_words(vectors: WordVectors, n: int) -> list[str]:
    """The `n` most frequent words that mean something by themselves, as far as that can be told.

    Left out: words more frequent than one in 400, English stop words, words of one or two letters (one character in
    Han, kana and Hangul).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    limit = vectors.counts.sum() * _FUNCTION_WORD_SHARE
    found = [
        w for w, c in zip(vectors.words, vectors.counts, strict=True) if c <= limit and _may_mean(w, ENGLISH_STOP_WORDS)
    ]
    if len(found) < min(n, 10):  # a vocabulary so small that every word is frequent
        found = [w for w in vectors.words if _may_mean(w, ENGLISH_STOP_WORDS)] or vectors.words
    return found[:n]


def _may_mean(word: str, stop: frozenset[str]) -> bool:
    shortest = 2 if unicodedata.category(word[0]) == "Lo" else 3
    return len(word) >= shortest and word not in stop and "'" not in word


def project(vectors: WordVectors, words: list[str], *, seed: int = 0) -> WordMap:
    """Place words so that neighbours by cosine are near each other.

    t-SNE (van der Maaten and Hinton 2008) from a PCA start, on one thread so that the result is the same every time;
    PCA alone for fewer than 10 words.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = vectors.unit[[vectors.index[w] for w in words]].astype(np.float64)
    with threadpool_limits(1):
        if len(words) < 10:
            size = min(2, len(words) - 1, rows.shape[1])
            points = np.zeros((len(words), 2))
            if size:
                points[:, :size] = PCA(size, svd_solver="full").fit_transform(rows)
        else:
            near = min(20.0, (len(words) - 1) / 3)
            tsne = TSNE(perplexity=near, init="pca", learning_rate="auto", max_iter=750, random_state=seed)
            points = np.asarray(tsne.fit_transform(rows), np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return WordMap(words, (points - low) / np.maximum(high - low, 1e-12))


def draw(word_map: WordMap, path: Path, *, title: str) -> int:
    """Draw the map as PNG; returns how many words have a label.

    Labels that would cover one of a more frequent word, or that no installed font can show, are left out; the points
    of these words are drawn, and `map.json` has them all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), dpi=120)
    FigureCanvasAgg(figure)  # what labels are measured on
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.94))
    x, y = word_map.points.T
    axes.scatter(x, y, s=7, color="#4477aa", linewidths=0)
    axes.set(xlim=(-0.03, 1.06), ylim=(-0.03, 1.04), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color("#cccccc")
    labels = _label(axes, word_map)
    left_out = len(word_map.words) - labels
    note = f" ({left_out} without a label)" if left_out else ""
    axes.set_title(f"{title}: {len(word_map.words)} frequent words{note}", fontsize=12, loc="left")
    figure.savefig(path, metadata={"Software": None})
    return labels


def _label(axes: Axes, word_map: WordMap) -> int:
    fonts = _Fonts()
    taken: list[Any] = []
    for word, point in zip(word_map.words, word_map.points, strict=True):
        font = fonts.for_word(word)
        if font is None:
            continue
        text = axes.annotate(
            word, (float(point[0]), float(point[1])), xytext=(3, 0), textcoords="offset points", va="center",
            fontproperties=font, fontsize=8, color="#222222",
        )  # fmt: skip
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)
    return len(taken)


class _Fonts:
    """Finds an installed font that has every character of a word."""

    def __init__(self) -> None:
        from matplotlib.font_manager import FontProperties, fontManager, get_font

        installed = {entry.name: entry.fname for entry in fontManager.ttflist}
        self._fonts = [
            (FontProperties(family=name), frozenset(get_font(installed[name]).get_charmap()))
            for name in ("DejaVu Sans", *_CJK_FONTS)
            if name in installed
        ]

    def for_word(self, word: str) -> FontProperties | None:
        needed = {ord(c) for c in word}
        return next((font for font, characters in self._fonts if needed <= characters), None)
