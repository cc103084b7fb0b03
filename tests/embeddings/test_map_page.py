from __future__ import annotations

import json
import re

import numpy as np

from zen_pipeline.embeddings.map_page import map_page
from zen_pipeline.embeddings.projection import WordMap
from zen_pipeline.embeddings.vectors import WordVectors


def test_the_page_holds_every_word_and_asks_for_nothing_else() -> None:
    words = ["one", "</script><b>", "北京", "__TITLE__"]
    vectors = WordVectors(words, np.ones(4, np.int64), np.eye(4, dtype=np.float32) + 0.1)
    page = map_page(vectors, WordMap(words, np.random.default_rng(0).random((4, 2))), title="a <b> & c")
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    assert data is not None
    entries = json.loads(data[1])
    assert [entry["word"] for entry in entries] == words
    assert entries[0]["near"] == [w for w, _ in vectors.similar("one", 8)]
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert not re.search(r"(src|href)\s*=|https?://|@import|fetch\(", page)
