from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np

from zen_pipeline.embeddings.projection import WordMap
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.reporting.map_page import map_page, map_picture


def test_the_page_holds_every_word_and_asks_for_nothing_else() -> None:
    words = ["one", "</script><b>", "北京", "{{ title }}"]
    vectors = WordVectors(words, np.ones(4, np.int64), np.eye(4, dtype=np.float32) + 0.1)
    page = map_page(vectors, WordMap(words, np.random.default_rng(0).random((4, 2))), title="a <b> & c")
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    assert data is not None
    entries = json.loads(data[1])
    assert [entry["word"] for entry in entries] == words
    assert entries[0]["near"] == [w for w, _ in vectors.similar("one", 8)]
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert not re.search(r"(src|href)\s*=|https?://|@import|fetch\(", page)


def test_the_picture_names_words_of_any_script() -> None:
    words = ["first", "北京", "<covered>"]
    picture = map_picture(WordMap(words, np.array([[0.1, 0.1], [0.9, 0.9], [0.1, 0.1001]])), title="a <b>")
    root = ElementTree.fromstring(picture)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["a <b>", "first", "北京"]
    assert "<covered>" in [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
