"""The language of a text, offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from zen_pipeline.corpus.language.identify import LANGUAGES, UNKNOWN, _classifier, guess_language, identify


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The weather was fine, and so we walked along the river until it was dark."),
        ("zh", "今天天气很好，我们沿着河边一直走到天黑。"),
        ("de", "Das Wetter war schön, und so gingen wir am Fluss entlang, bis es dunkel wurde."),
        ("fr", "Il faisait beau, et nous avons marché le long de la rivière jusqu'à la nuit."),
        ("es", "Hacía buen tiempo, así que caminamos junto al río hasta que se hizo de noche."),
        ("ja", "天気が良かったので、暗くなるまで川沿いを歩きました。"),
        ("ru", "Погода была хорошая, и мы шли вдоль реки, пока не стемнело."),
    ],
)
def test_a_sentence_is_recognised(language: str, text: str) -> None:
    found = identify(text)
    assert found.language == language
    assert 0.5 <= found.score <= 1


def test_the_compiled_loop_answers_as_the_library_does(shared_data: Callable[[str], Path]) -> None:
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    library.set_languages(LANGUAGES)
    texts = ["", "A", "ÉTÉ", "ΓΛΩΣΣΑ", "e\u0301te\u0301", "\ud800 alone", "zzz qqq", "你好", "\0\1"]
    for path in sorted((shared_data("xquad")).glob("xquad.*.json")):
        articles = json.loads(path.read_text())["data"]
        questions = [q["question"] for a in articles for p in a["paragraphs"] for q in p["qas"]]
        texts += [paragraph["context"] for article in articles for paragraph in article["paragraphs"]][:40]
        texts += questions[:200]
    assert len(texts) > 900
    ours = [_classifier().classify(text) for text in texts]
    theirs = [library.classify(text) for text in texts]
    assert [language for language, _ in ours] == [language for language, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-4)


@pytest.mark.parametrize("text", ["", "   \n", "12 + 34 = 46", "!?", "🙂🙂"])
def test_a_text_without_letters_has_no_language(text: str) -> None:
    assert identify(text) == (UNKNOWN, 0.0)


def test_an_unsure_answer_is_withheld_but_its_score_is_told() -> None:
    found = identify("Ok", at_least=0.99)
    assert found.language == UNKNOWN
    assert 0 < found.score < 0.99
    assert identify("Ok", at_least=0.0).language in LANGUAGES


def test_a_long_text_is_judged_by_its_beginning_and_its_middle() -> None:
    french = "Il faisait beau, et nous avons marché le long de la rivière jusqu'à la nuit. "
    assert guess_language("Licence\n" * 60 + french * 100) == "fr"


@pytest.mark.parametrize("language", ["en", "de", "es", "zh"])
def test_paragraphs_of_real_data_are_recognised(language: str, shared_data: Callable[[str], Path]) -> None:
    articles = json.loads((shared_data("xquad") / f"xquad.{language}.json").read_text())["data"]
    contexts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    right = sum(guess_language(context) == language for context in contexts)
    assert right / len(contexts) > 0.99
