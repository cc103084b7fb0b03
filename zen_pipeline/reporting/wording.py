"""The language of a page: English is written where it is used, Chinese stands here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from zen_pipeline.blocks import Label, Phrase
from zen_pipeline.reporting.chinese_data import DATA

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
    """Have `said` answer in this language."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def said(label: Label) -> str:
    """A label in the page's language; English where there is no translation."""
    if isinstance(label, str):
        return _translated(label)
    values = {name: said(value) if isinstance(value, Phrase) else value for name, value in label.values.items()}
    return _translated(label.text).format(**values) if values else _translated(label.text)


def _translated(english: str) -> str:
    return CHINESE.get(english, english) if _language.get() == "zh" else english


CHINESE: Mapping[str, str] = {
    " ": "",
    "yes": "是",
    "no": "否",
    "name": "名称",
    "value": "数值",
    "measure": "指标",
    "{count} more": "另有 {count} 条",
    "all figures": "全部数字",
    "all settings": "全部设置",
    "stage": "阶段",
    "why": "原因",
    # --- the head of a page
    "Corpus": "语料",
    "Budget": "预算",
    "Machine": "机器",
    "Date": "日期",
    "No model was trained, so there is nothing to judge.": "没有训练出模型，无从评估。",
    # --- the language model
    "The language model needs {value} bits per byte of unseen text.": "语言模型在未见文本上为 {value} 比特/字节。",
    "The language model needs {value} bits per byte of unseen text and beats the {baseline} model's {other}.": (
        "语言模型在未见文本上为 {value} 比特/字节，优于 {baseline} 模型的 {other}。"
    ),
    "The language model needs {value} bits per byte of unseen text and does not reach the {baseline} "
    "model's {other}.": ("语言模型在未见文本上为 {value} 比特/字节，未能胜过 {baseline} 模型（{other}）。"),
    "bits per byte, test": "比特/字节（测试集）",
    "of next tokens right": "的下一词元预测正确",
    "tokens per second, one at a time": "词元/秒（逐个生成）",
    "{baseline}: {other}": "{baseline}：{other}",
    "{model}: {label}": "{model}：{label}",
    "Bits per byte of unseen text": "未见文本上的比特/字节",
    "Bits per byte of the test documents": "测试文档的比特/字节",
    "How many bits the model needs to write down one byte of the test documents; less is better. The others "
    "are interpolated Kneser-Ney models of the same tokens, counted on the same training text.": (
        "模型编码测试文档平均每字节所需的比特数，越低越好。"
        "其余各条是在同一训练文本、同一分词下统计的 Kneser-Ney 插值模型。"
    ),
    "this model": "本模型",
    "test loss": "测试损失",
    "{loss} nats per token": "{loss} 奈特/词元",
    "next token right": "下一词元正确率",
    "test documents": "测试文档数",
    "test tokens": "测试词元数",
    "test bytes": "测试字节数",
    "training tokens of the n-gram models": "n-gram 模型的训练词元数",
    "parameters": "参数量",
    "generation": "生成速度",
    "{rate} tokens/s, batch 1, {threads} thread(s)": "{rate} 词元/秒（批大小 1，{threads} 线程）",
    "memory while generating": "生成时的内存占用",
    "device": "设备",
    "Samples": "样例",
    "The model has read the grey beginning of a test document, and continues it (temperature 0.8, top-p 0.95).": (
        "灰色部分是测试文档的开头，由模型接着往下写（temperature 0.8，top-p 0.95）。"
    ),
    # --- the chat model
    "The chat model's answers to {questions} new questions reach F1 {value}.": (
        "对话模型回答 {questions} 个新问题，F1 为 {value}。"
    ),
    "The chat model's answers to {questions} new questions reach F1 {value}, above what a fixed answer gets "
    "({other}).": ("对话模型回答 {questions} 个新问题，F1 为 {value}，高于固定回答的 {other}。"),
    "The chat model's answers to {questions} new questions reach F1 {value}; a fixed answer gets {other}.": (
        "对话模型回答 {questions} 个新问题，F1 为 {value}；固定回答可得 {other}。"
    ),
    "answer F1": "回答 F1",
    "most frequent answer": "最常见的回答",
    "repeat the question": "复述问题",
    "Answers": "问答",
    "question": "问题",
    "answer": "回答",
    "reference": "参考答案",
    "exact match": "完全匹配",
    "kind of question": "问题类型",
    "questions": "问题数",
    "F1 of the question said again": "复述问题的 F1",
    "Training never asks about the subjects of the questions on documentation, and holds none of their answers.": (
        "文档类测试问题的主题从未在训练中被问到，训练数据里也没有它们的答案。"
    ),
    "But the documentation that they come from was part of the text that the model was pretrained on.": (
        "不过，这些问题所依据的文档出现在预训练文本中。"
    ),
    "Questions of the kind chat are dialogues from the test split of the corpus.": (
        "chat 类问题取自语料测试集中的对话。"
    ),
    "Answers are the likeliest tokens one after the other (greedy), compared with the reference as in SQuAD: words "
    "without case, punctuation and articles. The other rows are what can be had without a model: the answer that is "
    "most frequent in training, and the question itself, said again (echo).": (
        "回答采用贪心解码，按 SQuAD 的方式与参考答案比较，忽略大小写、标点和冠词。"
        "其余各行是不用模型也能得到的结果：训练集中最常见的回答，以及直接复述问题。"
    ),
    # --- the encoder, gaps, translations
    "The encoder needs {value} bits per byte of what is hidden.": "编码器预测被遮盖的内容为 {value} 比特/字节。",
    "The encoder needs {value} bits per byte of what is hidden and beats the {baseline} model's {other}.": (
        "编码器预测被遮盖的内容为 {value} 比特/字节，优于 {baseline} 模型的 {other}。"
    ),
    "The encoder needs {value} bits per byte of what is hidden and does not reach the {baseline} model's {other}.": (
        "编码器预测被遮盖的内容为 {value} 比特/字节，未能胜过 {baseline} 模型（{other}）。"
    ),
    "bits per hidden byte": "比特/字节（被遮盖部分）",
    "of hidden tokens right": "的被遮盖词元预测正确",
    "hidden token right": "被遮盖词元正确率",
    "{loss} nats per hidden token": "{loss} 奈特/被遮盖词元",
    "Bits per byte of hidden tokens": "被遮盖词元的比特/字节",
    "How many bits the model needs to write down one byte of the tokens that are hidden in the test documents, 15 % of "
    "them; less is better. The unigram model knows how frequent each token is.": (
        "测试文档中有 15 % 的词元被遮盖，此处是模型编码它们平均每字节所需的比特数，越低越好。"
        "unigram 模型只知道各词元的频率。"
    ),
    "The beginning of test documents with hidden tokens in grey, and with the likeliest ones in their places.": (
        "灰色是测试文档的开头（部分词元被遮盖），其后是填入最可能词元的结果。"
    ),
    "The model needs {value} bits per byte of the spans that were cut out.": (
        "模型补写被挖去的片段为 {value} 比特/字节。"
    ),
    "The model needs {value} bits per byte of the spans that were cut out and beats the {baseline} model's {other}.": (
        "模型补写被挖去的片段为 {value} 比特/字节，优于 {baseline} 模型的 {other}。"
    ),
    "The model needs {value} bits per byte of the spans that were cut out and does not reach the {baseline} "
    "model's {other}.": "模型补写被挖去的片段为 {value} 比特/字节，未能胜过 {baseline} 模型（{other}）。",
    "bits per cut byte": "比特/字节（被挖去部分）",
    "Bits per byte of spans cut out": "被挖去片段的比特/字节",
    "How many bits the model needs to write down one byte of the spans that are cut out of the test documents, 15 % of "
    "the tokens; less is better. The unigram model knows how frequent each token is.": (
        "测试文档中有 15 % 的词元成段挖去，此处是模型编码它们平均每字节所需的比特数，越低越好。"
        "unigram 模型只知道各词元的频率。"
    ),
    "Test documents with numbered gaps in grey, what the model writes for them, and what was cut out.": (
        "灰色是带编号空缺的测试文档，其后是模型补写的内容和原来被挖去的内容。"
    ),
    "The translations reach chrF {value}.": "译文的 chrF 为 {value}。",
    "The translations reach chrF {value}, above {baseline} ({other}).": (
        "译文的 chrF 为 {value}，高于“{baseline}”的 {other}。"
    ),
    "The translations reach chrF {value}; {baseline} gets {other}.": (
        "译文的 chrF 为 {value}；“{baseline}”可得 {other}。"
    ),
    "chrF, test": "chrF（测试集）",
    "BLEU, test": "BLEU（测试集）",
    "BLEU": "BLEU",
    "chrF of the translations": "译文的 chrF",
    "copying the source": "照抄原文",
    "Agreement of characters with the reference translations, from 0 to 100; more is better (Popović 2015, as "
    "sacrebleu counts it). BLEU counts words.": (
        "与参考译文在字符层面的吻合程度，从 0 到 100，越高越好（Popović 2015，由 sacrebleu 计算）。BLEU 按词计算。"
    ),
    "sacrebleu's signature": "sacrebleu 签名",
    "empty translations": "空译文",
    "copies of the source": "照抄原文的译文",
    "Sources of the test set in grey, with the model's translation and the reference.": (
        "灰色是测试集的原文，其后是模型译文和参考译文。"
    ),
    "test questions": "测试问题数",
    "test pairs": "测试句对数",
    "the model": "模型",
    "the truth": "参考",
    # --- release
    "Release": "发布",
    "version": "版本",
    "is now": "当前状态",
    "champion": "冠军（champion）",
    "challenger": "挑战者（challenger）",
    "this version": "本版本",
    "champion before": "此前的冠军",
    # --- training
    "Training": "训练",
    "Pretraining": "预训练",
    "Fine-tuning": "微调",
    "{stage} ({model})": "{stage}（{model}）",
    "Loss: {stage}": "损失曲线：{stage}",
    "loss, nats per token": "损失（奈特/词元）",
    "each step": "每一步",
    "mean of {window} steps": "{window} 步平均",
    "training": "训练集",
    "validation": "验证集",
    "steps": "步数",
    "tokens": "词元数",
    "tokens per second": "词元/秒",
    "seconds in steps": "训练步耗时（秒）",
    "seconds for checkpoints, for samples": "检查点耗时、采样耗时（秒）",
    "model FLOPs": "模型浮点运算量",
    "share of the fastest matrix product measured here (MFU)": "相对本机实测最快矩阵乘法的利用率（MFU）",
    "largest resident memory": "内存峰值",
    "largest memory on the GPU": "显存峰值",
    "energy": "能耗",
    "energy, estimated": "能耗（估算）",
    # --- data and tokens, on the page of the models
    "Data": "数据",
    "records read": "读入记录",
    "records kept": "保留记录",
    "records set aside": "隔离记录",
    "set aside because": "隔离原因",
    "kinds": "记录类型",
    "languages": "语种",
    "changed": "清洗改动",
    "personal data replaced": "已替换的个人信息",
    "text": "文本量",
    "split": "划分",
    "records": "记录数",
    "train": "训练集",
    "valid": "验证集",
    "test": "测试集",
    "Tokens": "分词",
    "A vocabulary of {size} tokens, measured on text that it was not trained on. A word is a run of letters, in "
    "Chinese one of jieba's dictionary; spaces, marks and numbers count as tokens.": (
        "词表共 {size} 个词元，在未参与分词器训练的文本上测量。"
        "西文以连续字母为一个词，中文以 jieba 的切分结果为准；空格、标点和数字都计入词元。"
    ),
    "language": "语种",
    "tokens per word": "词元/词",
    "tokens per byte": "词元/字节",
    "characters per token": "字符/词元",
    # --- word vectors
    "Word vectors": "词向量",
    "The nearest words by cosine, for some frequent words of the corpus.": "部分高频词及其余弦相似度最高的近邻。",
    "word": "词",
    "neighbours": "近邻",
    "Map of the word vectors": "词向量分布图",
    "Find": "查找",
    "words": "个词",
    "a word or its beginning": "词或词的开头",
    "nearest by cosine": "余弦相似度最高",
    # --- the end of the page
    "Skipped": "已跳过",
    "Lineage and settings": "来源与设置",
    "The artifacts that this evaluation was made from: what each was made of, and what it holds.": (
        "本次评估所依据的制品：指纹标识其来源，摘要标识其内容。"
    ),
    "fingerprint": "指纹",
    "content": "内容摘要",
    "Glossary": "术语表",
    "terms": "展开术语表",
    "bits per byte": "比特/字节",
    "how many bits the model needs, on average, to write down one byte of text that it has not seen; "
    "it does not depend on the tokenizer, and less is better": (
        "模型编码一个字节的未见文本平均所需的比特数；与分词器无关，越低越好"
    ),
    "a model that only counts which token follows the n − 1 before it; what a neural model must beat": (
        "只统计前 n − 1 个词元之后出现什么的模型，是神经网络必须胜过的基线"
    ),
    "how many words an answer shares with the reference, from 0 (none) to 1 (the same words)": (
        "回答与参考答案的用词重合程度，从 0（毫无重合）到 1（完全一致）"
    ),
    "the share of answers that are equal to the reference but for case and punctuation": (
        "忽略大小写和标点后，与参考答案完全相同的回答所占比例"
    ),
    "the quantity that training makes smaller: minus the natural logarithm of the probability of the right token": (
        "训练所要降低的量：正确词元概率的自然对数取负"
    ),
    "text that is never trained on and watched during training; the test split is looked at only once": (
        "不参与训练、只在训练过程中用来观察的文本；测试集则只在最后使用一次"
    ),
    "champion, challenger": "冠军、挑战者",
    "the registered version that is used, and one that was not better by more than noise": (
        "冠军是模型注册表中正在使用的版本；挑战者的优势没有超出噪声"
    ),
    "a hash of everything that decides a result; the same fingerprint, the same result": (
        "由决定结果的全部因素算出的哈希；指纹相同，结果就相同"
    ),
    **DATA,
}
