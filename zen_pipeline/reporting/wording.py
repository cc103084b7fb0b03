"""The language of the report: English is written where it is used, Chinese stands here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Language = Literal["en", "zh"]

_language: ContextVar[Language] = ContextVar("language", default="en")


def page_language(languages: Mapping[str, float]) -> Language:
    """Chinese when the corpus is mostly Chinese or the user's locale is, else English.

    Args:
        languages: how many records the corpus has in each language.
    """
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    main = max(languages, key=lambda name: languages[name], default="")
    return "zh" if main.startswith("zh") or locale.lower().startswith("zh") else "en"


@contextmanager
def in_language(language: Language) -> Iterator[None]:
    """Have `gettext` answer in this language."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def gettext(english: str, **values: object) -> str:
    """The text in the page's language with its `{names}` filled in; English where there is no translation."""
    text = CHINESE.get(english, english) if _language.get() == "zh" else english
    return text.format(**values) if values else text


CHINESE: Mapping[str, str] = {
    " ": "",
    "Evaluation": "评估",
    "Corpus": "语料",
    "Budget": "预算",
    "Machine": "机器",
    "Date": "日期",
    "No model was trained, so there is nothing to judge.": "没有训练出模型，因此没有可评估的内容。",
    "The model needs {value} bits per byte of unseen text.": "模型在未见过的文本上每字节需要 {value} 比特。",
    "The model needs {value} bits per byte of unseen text and beats the {baseline} model's {other}.": (
        "模型在未见过的文本上每字节需要 {value} 比特，优于 {baseline} 模型的 {other}。"
    ),
    "The model needs {value} bits per byte of unseen text and does not reach the {baseline} model's {other}.": (
        "模型在未见过的文本上每字节需要 {value} 比特，不及 {baseline} 模型的 {other}。"
    ),
    "Its answers to {questions} new questions reach F1 {value}.": "对 {questions} 个新问题，回答的 F1 为 {value}。",
    "Its answers to {questions} new questions reach F1 {value}, above what a fixed answer gets ({other}).": (
        "对 {questions} 个新问题，回答的 F1 为 {value}，高于固定回答的 {other}。"
    ),
    "Its answers to {questions} new questions reach F1 {value}; a fixed answer gets {other}.": (
        "对 {questions} 个新问题，回答的 F1 为 {value}；固定回答可得 {other}。"
    ),
    "bits per byte, test": "比特/字节（测试集）",
    "of next tokens right": "的下一个词元预测正确",
    "answer F1": "回答 F1",
    "tokens per second, one at a time": "词元/秒（逐个生成）",
    "{baseline}: {other}": "{baseline}：{other}",
    "most frequent answer": "最常见的回答",
    "repeat the question": "复述问题",
    "this model": "本模型",
    "test loss": "测试损失",
    "{loss} nats per token": "每词元 {loss} 奈特",
    "next token right": "下一个词元正确率",
    "test documents": "测试文档数",
    "test tokens": "测试词元数",
    "test bytes": "测试字节数",
    "training tokens of the n-gram models": "n-gram 模型的训练词元数",
    "parameters": "参数量",
    "generation": "生成速度",
    "{rate} tokens/s, batch 1, {threads} thread(s)": "{rate} 词元/秒，批大小 1，{threads} 个线程",
    "memory while generating": "生成时的内存",
    "device": "设备",
    "How many bits the model needs to write down one byte of the test documents; less is better. The others "
    "are interpolated Kneser-Ney models of the same tokens, counted on the same training text.": (
        "模型平均用多少比特记录测试文档的一个字节，越少越好。"
        "其余各条是在同一训练文本、同一词元上统计的 Kneser-Ney 插值模型。"
    ),
    "Bits per byte of unseen text": "未见文本上的每字节比特数",
    "Bits per byte of the test documents": "测试文档的每字节比特数",
    "measure": "指标",
    "value": "数值",
    "Pretraining": "预训练",
    "Fine-tuning": "微调",
    "Training": "训练",
    "training": "训练",
    "steps": "步数",
    "tokens": "词元数",
    "tokens per second": "词元/秒",
    "seconds in steps": "训练步用时（秒）",
    "seconds for checkpoints, for samples": "检查点、采样用时（秒）",
    "model FLOPs": "模型浮点运算量",
    "share of the fastest matrix product measured here (MFU)": "相对本机实测最快矩阵乘法的利用率（MFU）",
    "largest resident memory": "峰值常驻内存",
    "largest memory on the GPU": "峰值显存",
    "energy": "能耗",
    "energy, estimated": "能耗（估计）",
    "each step": "每一步",
    "mean of {window} steps": "{window} 步平均",
    "validation": "验证集",
    "Loss: {stage}": "损失：{stage}",
    "loss, nats per token": "损失（奈特/词元）",
    "the model goes on": "模型续写",
    "the document says": "原文",
    "The model has read the grey beginning of a test document, and continues it (temperature 0.8, top-p 0.95).": (
        "灰色部分是测试文档的开头，其后由模型续写（temperature 0.8，top-p 0.95）。"
    ),
    "Samples": "样例",
    "question": "问题",
    "answer": "回答",
    "reference": "参考答案",
    "{count} more": "另有 {count} 条",
    "kind of question": "问题类型",
    "questions": "问题数",
    "F1 of the question said again": "复述问题的 F1",
    "Answers": "问答",
    "exact match": "完全匹配",
    "Training never asks about the subjects of the questions on documentation, and holds none of their answers. ": (
        "关于文档的测试问题，其主题从未在训练中被问到，答案也不在训练数据里。"
    ),
    "But the documentation that they come from was part of the text that the model was pretrained on. ": (
        "但这些问题所依据的文档属于预训练文本。"
    ),
    "Questions of the kind chat are dialogues from the test split of the corpus. ": (
        "chat 类问题是语料测试集中的对话。"
    ),
    "Answers are the likeliest tokens one after the other (greedy), compared with the reference as in SQuAD: words "
    "without case, punctuation and articles. The other rows are what can be had without a model: the answer that is "
    "most frequent in training, and the question itself, said again (echo).": (
        "回答采用贪心解码，按 SQuAD 的方式与参考答案比较：忽略大小写、标点和冠词。"
        "其余各行不需要模型：训练中最常见的回答，以及复述问题本身。"
    ),
    "Release": "发布",
    "version": "版本",
    "is now": "当前状态",
    "champion": "冠军（champion）",
    "challenger": "挑战者（challenger）",
    "why": "原因",
    "Data": "数据",
    "records read": "读入记录",
    "records kept": "保留记录",
    "records set aside": "隔离记录",
    "set aside because": "隔离原因",
    "kinds": "记录类型",
    "languages": "语言",
    "changed": "清洗改动",
    "personal data replaced": "已替换的个人信息",
    "text": "文本量",
    "split": "划分",
    "records": "记录数",
    "train": "训练集",
    "valid": "验证集",
    "test": "测试集",
    "all figures": "全部数字",
    "A vocabulary of {size} tokens, measured on text that it was not trained on. A word is a run of letters, in "
    "Chinese one of jieba's dictionary; spaces, marks and numbers count as tokens.": (
        "词表共 {size} 个词元，在未用于训练分词器的文本上测量。"
        "词指连续的字母，中文按 jieba 词典切分；空格、标点和数字都计为词元。"
    ),
    "language": "语言",
    "tokens per word": "词元/词",
    "tokens per byte": "词元/字节",
    "characters per token": "字符/词元",
    "Tokens": "分词",
    "Word vectors": "词向量",
    "The nearest words by cosine, for some frequent words of the corpus.": "部分高频词按余弦相似度最接近的词。",
    "word": "词",
    "neighbours": "近邻",
    "Map of the word vectors": "词向量分布图",
    "A model of this run's width with {layers} layers, trained for {steps} steps of {tokens} tokens from each start "
    "with the same seed, order and steps; held-out loss in nats per token. It compares the starts. It is not this "
    "run's model: the longer a model is trained, the less its start counts.": (
        "用与本次同宽、{layers} 层的小模型，从各种初始向量出发，以相同的种子、"
        "顺序训练 {steps} 步，每步 {tokens} 个词元；"
        "数值为留出文本上的损失（奈特/词元）。这里比较的是初始化方式，不是本次的模型：训练越久，初始化的影响越小。"
    ),
    "after {steps} steps": "{steps} 步之后",
    "token tables start from": "词元表的初始值",
    "before the first step": "训练之前",
    "Start vectors": "初始向量",
    "random numbers": "随机数",
    "word vectors": "词向量",
    "next-token vectors": "下一词元向量",
    "Skipped": "已跳过",
    "stage": "阶段",
    "Glossary": "术语",
    "terms": "展开术语表",
    "term": "术语",
    "meaning": "含义",
    "bits per byte": "每字节比特数",
    "how many bits the model needs, on average, to write down one byte of text that it has not seen; "
    "it does not depend on the tokenizer, and less is better": (
        "模型平均用多少比特记录一个字节的未见文本；与分词器无关，越少越好"
    ),
    "Kneser-Ney n-gram": "Kneser-Ney n-gram",
    "a model that only counts which token follows the n − 1 before it; what a neural model must beat": (
        "只统计前 n − 1 个词元之后出现什么的模型，是神经网络必须胜过的基线"
    ),
    "F1": "F1",
    "how many words an answer shares with the reference, from 0 (none) to 1 (the same words)": (
        "回答与参考答案的用词重合程度，从 0（毫无重合）到 1（完全相同）"
    ),
    "the share of answers that are equal to the reference but for case and punctuation": (
        "除大小写和标点外与参考答案完全相同的回答所占比例"
    ),
    "the quantity that training makes smaller: minus the natural logarithm of the probability of the right token": (
        "训练所降低的量：正确词元概率的负自然对数"
    ),
    "text that is never trained on and watched during training; the test split is looked at only once": (
        "不参与训练、在训练过程中用于观察的文本；测试集只在最后使用一次"
    ),
    "champion, challenger": "冠军、挑战者",
    "the registered version that is used, and one that was not better by more than noise": (
        "冠军是正在使用的注册版本；挑战者的优势没有超出噪声"
    ),
    "fingerprint": "指纹",
    "a hash of everything that decides a result; the same fingerprint, the same result": (
        "由决定结果的全部因素计算出的哈希；指纹相同，结果相同"
    ),
    "The artifacts that this evaluation was made from: what each was made of, and what it holds.": (
        "本次评估所用的制品：各自的来源指纹与内容摘要。"
    ),
    "Lineage and settings": "来源与设置",
    "content": "内容",
    "all settings": "全部设置",
}
