"""Word vectors of this project, of gensim and of the Stanford GloVe program, side by side on one text.

    python benchmarks/embeddings.py --text train.txt --held-out valid.txt --seeds 0 1 2 3 4
    python benchmarks/embeddings.py … --methods glove --glove-bin GloVe/build --probes similarity/*.txt

Every training is a process of its own, the programs take turns, and all get the same word ids, settings and threads;
gensim gets the documents in an order drawn from the seed, as ours visits them, and the original program's rates.
Times are those of the training alone: reading the text, gensim's vocabulary, our compilation and GloVe's counting are
not in them; the Stanford program's start and its writing of the vectors are, as it is timed from outside. Its commit
11e9dfe moves biases without the learning rate; ours move with it, as those of its earlier df70b05. The held-out loss is
each method's objective on other text, by one estimator for all programs:

- skip-gram: the expectation over windows and over the whole noise distribution, without sampling;
- CBOW: full windows, and the expectation over the whole noise distribution for every 10th centre;
- GloVe: weighted squared error of log X on the held-out counts, scaled by the ratio of the sizes of the texts.

Text is cut into documents at WikiText's first-level headings, or at empty lines. gensim is the extra `peers`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.words import WordCorpus, encode_corpus, segment

PROGRAMS = {"word2vec": ("ours", "ours, lock-free", "gensim"), "glove": ("ours", "ours, lock-free", "stanford")}
ALL_PROGRAMS = list(dict.fromkeys(name for names in PROGRAMS.values() for name in names))
NEGATIVES = 5
SUBSAMPLE = 1e-4
ORIGINAL_RATES = {"skipgram": 0.025, "cbow": 0.05}  # defaults of word2vec.c; gensim's is 0.025 for both
NEIGHBOURS, NEIGHBOUR_WORDS = 10, 1000


# --- one training, in a process of its own ----------------------------------------------------------------------------


def train(job: dict[str, Any], folder: Path) -> None:
    """Train as the job says; write `inputs`, `outputs`, `biases` and the figures into the folder."""
    corpus = load_corpus(folder.parent)
    trainer = {"gensim": with_gensim, "stanford": with_stanford}.get(job["program"], with_ours)
    made = trainer(corpus, job, folder)
    np.savez(folder / "vectors.npz", **{k: v for k, v in made.items() if isinstance(v, np.ndarray)})
    figures = {k: v for k, v in made.items() if not isinstance(v, np.ndarray)}
    figures.setdefault("peak_megabytes", peak_megabytes("self"))
    (folder / "figures.json").write_text(json.dumps(figures))


def peak_megabytes(process: int | str) -> float:
    """Largest resident size so far, from /proc (`ru_maxrss` counts the parent that forked); 0 when it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    [kilobytes] = re.findall(r"VmHWM:\s*(\d+) kB", status) or ["0"]
    return int(kilobytes) / 1024


def with_ours(corpus: WordCorpus, job: dict[str, Any], _folder: Path) -> dict[str, Any]:
    from zen_pipeline.embeddings.glove import GloveResult
    from zen_pipeline.embeddings.training import train_vectors

    given = {key: job[key] for key in ("dimensions", "window", "epochs", "seed", "threads")}
    if job["method"] != "glove":
        given |= {"learning_rate": job["learning_rate"], "noise_words": job["noise_words"]}
    given |= {"negatives": NEGATIVES, "subsample": SUBSAMPLE, "deterministic": job["program"] == "ours"}
    result = train_vectors(corpus, job["method"], given)
    if isinstance(result, GloveResult):
        return {"inputs": result.words, "outputs": result.contexts, "biases": result.biases,
                "speed": result.pairs_per_second}  # fmt: skip
    return {"inputs": result.vectors.matrix, "outputs": result.contexts, "speed": result.words_per_second}


def with_gensim(corpus: WordCorpus, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    from gensim.models import Word2Vec

    order = np.random.default_rng(job["seed"]).permutation(len(corpus.offsets) - 1)  # ours is drawn from the seed, too
    text = str(write_lines(corpus, folder, order))
    rate = job["learning_rate"] or ORIGINAL_RATES[job["method"]]
    model = Word2Vec(
        vector_size=job["dimensions"], window=job["window"], sg=int(job["method"] == "skipgram"), hs=0,
        negative=NEGATIVES, sample=SUBSAMPLE, min_count=1, workers=job["threads"], seed=job["seed"] + 1, alpha=rate,
        min_alpha=rate * 1e-4,
    )  # fmt: skip
    model.build_vocab(corpus_file=text)
    began = time.perf_counter()
    model.train(corpus_file=text, total_words=len(corpus.ids), total_examples=model.corpus_count, epochs=job["epochs"])
    seconds = time.perf_counter() - began
    rows = [model.wv.key_to_index[word] for word in corpus.words]
    return {"inputs": model.wv.vectors[rows], "outputs": model.syn1neg[rows],
            "speed": len(corpus.ids) * job["epochs"] / seconds}  # fmt: skip


def with_stanford(corpus: WordCorpus, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The original programs, with our vocabulary so that ids are the same."""
    text = write_lines(corpus, folder, np.arange(len(corpus.offsets) - 1))
    binaries = Path(job["glove_bin"]).resolve()
    vocabulary = "".join(f"{w} {c}\n" for w, c in zip(corpus.words, corpus.counts, strict=True))
    (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8")

    peaks: list[float] = []

    def run(program: str, *arguments: object, source: Path | None = None, target: Path | None = None) -> None:
        with (source or Path("/dev/null")).open("rb") as stdin, (target or folder / "log.txt").open("wb") as stdout:
            command = [str(binaries / program), *map(str, arguments)]
            process = subprocess.Popen(command, cwd=folder, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
            while process.poll() is None:
                peaks.append(peak_megabytes(process.pid))
                time.sleep(0.05)
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, command)

    run("cooccur", "-window-size", job["window"], "-vocab-file", "vocab.txt", "-memory", 2.0, "-verbose", 0,
        source=text, target=folder / "counts.bin")  # fmt: skip
    run("shuffle", "-memory", 2.0, "-verbose", 0, "-seed", job["seed"] + 1, source=folder / "counts.bin",
        target=folder / "shuffled.bin")  # fmt: skip
    pairs = (folder / "shuffled.bin").stat().st_size // 16
    began = time.perf_counter()
    run("glove", "-input-file", "shuffled.bin", "-vocab-file", "vocab.txt", "-save-file", "out", "-threads",
        job["threads"], "-vector-size", job["dimensions"], "-iter", job["epochs"], "-x-max", 10, "-eta", 0.05,
        "-binary", 1, "-model", 0, "-verbose", 0, "-seed", job["seed"] + 1)  # fmt: skip
    seconds = time.perf_counter() - began
    shape = (2, len(corpus.words), job["dimensions"] + 1)  # words and contexts, each vector followed by its bias
    inputs, outputs = np.fromfile(folder / "out.bin", np.float64).reshape(shape).astype(np.float32)
    return {"inputs": inputs[:, :-1], "outputs": outputs[:, :-1], "biases": np.stack([inputs[:, -1], outputs[:, -1]]),
            "peak_megabytes": max(peaks), "speed": pairs * job["epochs"] / seconds}  # fmt: skip


def write_lines(corpus: WordCorpus, folder: Path, order: NDArray[np.int64]) -> Path:
    """The text with one document on each line, in an order."""
    path = folder / "text.txt"
    with path.open("w", encoding="utf-8") as file:
        for start, end in zip(corpus.offsets[:-1][order], corpus.offsets[1:][order], strict=True):
            file.write(" ".join(corpus.words[i] for i in corpus.ids[start:end]) + "\n")
    return path


# --- the text ---------------------------------------------------------------------------------------------------------


def documents(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return text.split("\n = ") if text.lstrip().startswith("= ") else text.split("\n\n")


def held_out_corpus(corpus: WordCorpus, path: Path) -> WordCorpus:
    """The words of other text that have a vector."""
    index = {word: i for i, word in enumerate(corpus.words)}
    parts = [[index[w] for w in segment(text) if w in index] for text in documents(path)]
    ids = np.array([i for part in parts for i in part], np.int32)
    offsets = np.cumsum([0, *map(len, parts)])
    return WordCorpus(corpus.words, np.bincount(ids, minlength=len(corpus.words)), ids, offsets, len(ids))


def save_corpus(corpus: WordCorpus, folder: Path) -> None:
    np.savez(folder / "corpus.npz", counts=corpus.counts, ids=corpus.ids, offsets=corpus.offsets)
    (folder / "words.json").write_text(json.dumps(corpus.words), encoding="utf-8")


def load_corpus(folder: Path) -> WordCorpus:
    arrays = np.load(folder / "corpus.npz")
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    return WordCorpus(words, arrays["counts"], arrays["ids"], arrays["offsets"], len(arrays["ids"]))


# --- held-out loss ----------------------------------------------------------------------------------------------------


def held_out_loss(job: dict[str, Any], made: dict[str, NDArray[Any]], corpus: WordCorpus, held: WordCorpus) -> float:
    if job["method"] == "glove":
        return glove_loss(made, corpus, held, job["window"])
    noise = corpus.counts.astype(np.float64) ** 0.75
    noise = (noise / noise.sum()).astype(np.float32)
    kept = subsampled(corpus, held)
    loss = skipgram_loss if job["method"] == "skipgram" else cbow_loss
    return loss(made["inputs"], made["outputs"], noise, kept, job["window"])


def subsampled(corpus: WordCorpus, held: WordCorpus) -> list[NDArray[np.int32]]:
    """The documents without the occurrences that a training would drop, by one fixed draw."""
    from zen_pipeline.embeddings.word2vec import keep_probabilities

    keep = keep_probabilities(corpus.counts, SUBSAMPLE)
    drawn = np.random.default_rng(0).random(len(held.ids)) < keep[held.ids]
    return [held.ids[a:b][drawn[a:b]] for a, b in zip(held.offsets[:-1], held.offsets[1:], strict=True)]


def softplus(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.logaddexp(np.float32(0), values), np.float32)


def noise_loss(rows: NDArray[np.float32], outputs: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[Any]:
    """For each row the expected loss of one noise word."""
    blocks = [softplus(rows[i : i + 512] @ outputs.T) @ noise for i in range(0, len(rows), 512)]
    return np.concatenate(blocks)


def skipgram_loss(
    inputs: NDArray[Any], outputs: NDArray[Any], noise: NDArray[Any], texts: list[NDArray[Any]], window: int
) -> float:
    against = np.zeros(len(inputs), np.float32)
    centres = np.unique(np.concatenate(texts))
    against[centres] = noise_loss(inputs[centres], outputs, noise)
    total = weights = 0.0
    for words in texts:
        for distance in range(1, min(window, len(words) - 1) + 1):
            weight = (window - distance + 1) / window  # the share of the drawn windows that reach so far
            for centre, context in ((words[distance:], words[:-distance]), (words[:-distance], words[distance:])):
                scores = np.einsum("nd,nd->n", inputs[centre], outputs[context])
                total += weight * float((softplus(-scores) + NEGATIVES * against[centre]).sum())
                weights += weight * len(centre)
    return total / weights


def cbow_loss(
    inputs: NDArray[Any], outputs: NDArray[Any], noise: NDArray[Any], texts: list[NDArray[Any]], window: int
) -> float:
    means, centres = [], []
    for words in texts:
        for place in range(0, len(words) if len(words) > 1 else 0, 10):
            around = np.concatenate([words[max(0, place - window) : place], words[place + 1 : place + 1 + window]])
            means.append(inputs[around].mean(axis=0))
            centres.append(words[place])
    rows = np.array(means, np.float32)
    scores = np.einsum("nd,nd->n", rows, outputs[centres])
    return float((softplus(-scores) + NEGATIVES * noise_loss(rows, outputs, noise)).mean())


def glove_loss(made: dict[str, NDArray[Any]], corpus: WordCorpus, held: WordCorpus, window: int) -> float:
    from zen_pipeline.embeddings.cooccurrence import count_cooccurrences

    counted = count_cooccurrences(held, window)
    rows, columns = counted.keys // counted.vocabulary, counted.keys % counted.vocabulary
    x = counted.counts / counted.unit
    weights = np.minimum(1.0, (x / 10.0) ** 0.75)
    target = np.log(x * len(corpus.ids) / len(held.ids))
    errors = np.zeros(len(rows))
    for i, j in ((rows, columns), (columns, rows)):
        for first in range(0, len(i), 1 << 18):
            part = slice(first, first + (1 << 18))
            scores = np.einsum("nd,nd->n", made["inputs"][i[part]], made["outputs"][j[part]])
            scores += made["biases"][0][i[part]] + made["biases"][1][j[part]]
            errors[part] += 0.5 * (scores - target[part]) ** 2
    return float((weights * errors).sum() / weights.sum())


# --- neighbours and probes --------------------------------------------------------------------------------------------


def nearest(vectors: WordVectors) -> NDArray[np.int64]:
    """(words, 10) the nearest rows of 1,000 words of middling frequency."""
    some = slice(100, 100 + NEIGHBOUR_WORDS)
    cosines = vectors.unit[some] @ vectors.unit.T
    cosines[np.arange(len(cosines)), np.arange(100, 100 + len(cosines))] = -np.inf
    return np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def overlap(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    return statistics.mean(
        len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(first.tolist(), second.tolist(), strict=True)
    )


def probe_scores(vectors: WordVectors, files: list[Path]) -> dict[str, float]:
    from zen_pipeline.embeddings.probes import Similarity, probe

    scores: dict[str, float] = {}
    for path in files:
        outcome = probe(vectors, path)
        score = outcome.spearman if isinstance(outcome, Similarity) else outcome.accuracy("add")
        if score is not None:
            scores[
                f"{outcome.name} ({outcome.covered if isinstance(outcome, Similarity) else outcome.total('covered')})"
            ] = score
    return scores


# --- all of it --------------------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace, folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """For each (method, program) one entry per seed: figures, held-out loss, probes and neighbours."""
    corpus = encode_corpus(documents(arguments.text), min_count=arguments.min_count)
    held = held_out_corpus(corpus, arguments.held_out)
    save_corpus(corpus, folder)
    print(f"{len(corpus.ids):,} words, {len(corpus.words):,} different; held out {len(held.ids):,}", flush=True)
    found: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for method in arguments.methods:
        programs = PROGRAMS["glove" if method == "glove" else "word2vec"]
        if arguments.programs:
            programs = tuple(p for p in programs if p in arguments.programs)
        if arguments.glove_bin is None:
            programs = tuple(p for p in programs if p != "stanford")
        for seed in arguments.seeds:
            for program in programs:
                job = {"method": method, "program": program, "seed": seed, "threads": arguments.threads,
                       "dimensions": arguments.dimensions, "glove_bin": arguments.glove_bin,
                       "learning_rate": arguments.learning_rate, "noise_words": arguments.noise_words,
                       "window": 10 if method == "glove" else 5,
                       "epochs": arguments.glove_epochs if method == "glove" else arguments.epochs}  # fmt: skip
                place = folder / f"{method}-{program}-{seed}"
                place.mkdir()
                subprocess.run([sys.executable, __file__, "--job", json.dumps(job), "--place", str(place)], check=True)
                made = dict(np.load(place / "vectors.npz"))
                figures = json.loads((place / "figures.json").read_text())
                figures["held_out_loss"] = held_out_loss(job, made, corpus, held)
                matrix = made["inputs"] + made["outputs"] if method == "glove" else made["inputs"]
                vectors = WordVectors(corpus.words, corpus.counts, matrix)
                figures["probes"] = probe_scores(vectors, arguments.probes)
                figures["nearest"] = nearest(vectors)
                found[method, program].append(figures)
                print(f"{method}, {program}, seed {seed}: {figures['speed'] / 1e6:.2f} M/s, "
                      f"loss {figures['held_out_loss']:.4f}", flush=True)  # fmt: skip
    return found


def spread(values: list[float], digits: int = 3) -> str:
    """Mean ± standard deviation."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def show(found: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    print("\n| method | program | M words/s (GloVe: M pairs/s) | peak MB | held-out loss | neighbours, between seeds |")
    print("|---|---|---|---|---|---|")
    for (method, program), runs in found.items():
        pairs = [overlap(a["nearest"], b["nearest"]) for a, b in combinations(runs, 2)]
        shared = spread(pairs) if pairs else ""
        cells = [spread([r["speed"] / 1e6 for r in runs], 2), spread([r["peak_megabytes"] for r in runs], 0),
                 spread([r["held_out_loss"] for r in runs], 4), shared]  # fmt: skip
        print(f"| {method} | {program} | {' | '.join(cells)} |")
    print("\n| method | programs | neighbours, between programs |\n|---|---|---|")
    for (first, a), (second, b) in combinations(found, 2):
        if first == second:
            shares = [overlap(x["nearest"], y["nearest"]) for x in found[first, a] for y in found[second, b]]
            print(f"| {first} | {a} / {b} | {statistics.mean(shares):.3f} |")
    names = list(dict.fromkeys(name for runs in found.values() for name in runs[0]["probes"]))
    if names:
        print("\n| probe (covered) | " + " | ".join(f"{m}, {p}" for m, p in found) + " |\n|---|" + "---|" * len(found))
        for name in names:
            cells = [spread([r["probes"][name] for r in runs]) for runs in found.values()]
            print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--methods", nargs="+", default=["skipgram", "cbow", "glove"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--glove-epochs", type=int, default=25)
    parser.add_argument("--learning-rate", type=float, help="of Word2Vec; default: ours, word2vec.c's for gensim")
    parser.add_argument("--noise-words", type=int, help="of our Word2Vec, shared by a group of centres")
    parser.add_argument("--programs", nargs="+", choices=ALL_PROGRAMS, help="default: all of the method")
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--glove-bin", help="folder of the Stanford programs cooccur, shuffle and glove")
    parser.add_argument("--probes", type=Path, nargs="*", default=[])
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        train(json.loads(arguments.job), arguments.place)
        return
    if arguments.text is None or arguments.held_out is None:
        parser.error("name the text with --text and other text with --held-out")
    with tempfile.TemporaryDirectory() as folder:
        show(measure(arguments, Path(folder)))


if __name__ == "__main__":
    main()
