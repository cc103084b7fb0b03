"""The map of words as one HTML page that can be searched and needs nothing else: no network, no other file."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files

from zen_pipeline.embeddings.projection import WordMap
from zen_pipeline.embeddings.vectors import WordVectors

_NEIGHBOURS = 8


def map_page(vectors: WordVectors, word_map: WordMap, *, title: str) -> str:
    """The page, with the nearest words of each word by cosine (which the map can only hint at)."""
    entries = [
        {**entry, "near": [word for word, _ in vectors.similar(entry["word"], _NEIGHBOURS)]}
        for entry in word_map.entries()
    ]
    # `</script>` in a word must not end the data
    data = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = (files("zen_pipeline.embeddings") / "map_page.html").read_text(encoding="utf-8")
    return page.replace("__TITLE__", escape(title)).replace("__DATA__", data)
