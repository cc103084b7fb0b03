"""The map of words as one HTML page that can be searched and needs nothing else: no network, no other file."""

from __future__ import annotations

from zen_pipeline.blocks import Scatter
from zen_pipeline.embeddings.projection import WordMap
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.reporting.rendering import picture, render_template
from zen_pipeline.reporting.wording import Language

_NEIGHBOURS = 8


def map_page(vectors: WordVectors, word_map: WordMap, *, title: str, language: Language = "en") -> str:
    """The page, with the nearest words of each word by cosine (which the map can only hint at)."""
    entries = [
        {**entry, "near": [word for word, _ in vectors.similar(entry["word"], _NEIGHBOURS)]}
        for entry in word_map.entries()
    ]
    return render_template("map.html", language=language, title=title, entries=entries)


def map_picture(word_map: WordMap, *, title: str) -> str:
    """The map as an SVG file; names that would cover one of a more frequent word are shown by pointing at the dot."""
    drawn = picture(Scatter(title, [(e["word"], e["x"], e["y"]) for e in word_map.entries()]))
    return drawn or ""
