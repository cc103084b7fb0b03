"""The Chinese of the page on data, tokens and vectors: its own words, the advice of the suites, the reasons."""

from __future__ import annotations

from collections.abc import Mapping

DATA: Mapping[str, str] = {
    "Validation of {name}": "{name}：数据校验",
    "Tokens of {name}": "{name}：词元校验",
    "Vectors of {name}": "{name}：向量校验",
    "Refused": "拒绝",
    "Accepted, with warnings": "通过，有警告",
    "Accepted": "通过",
    "{met} of {all} expectations are met.": "{all} 条期望中满足 {met} 条。",
    "Unmet: {list}.": "未满足：{list}。",
    "{a}, {b}": "{a}、{b}",
    "{count} × {action}": "{action} {count} 条",
    "{share} of the records are set aside, {count} of {aside} as: {reason}": (
        "{share} 的记录被隔离，{aside} 条中有 {count} 条的原因是：{reason}"
    ),
    "records in": "读入记录",
    "kept": "保留",
    "set aside": "隔离",
    "text kept": "保留文本量",
    "duplicates": "重复",
    "What was wrong": "问题",
    "Nothing: every expectation is met.": "没有问题：全部期望均已满足。",
    "Note: {note}.": "注：{note}。",
    "What it means": "含义与处理",
    "Measure": "指标",
    "Expected": "期望",
    "Observed": "实际",
    "met": "满足",
    "stop": "中止",
    "warning": "警告",
    "Set aside": "隔离的记录",
    "Reason": "原因",
    "Stage": "阶段",
    "Share": "占比",
    "Records": "记录数",
    "Examples": "示例",
    "Drift": "漂移",
    "Compared with the last accepted data set, {name}.": "与上一次通过校验的数据集 {name} 相比。",
    "The same shares as before: {names}.": "占比与之前相同：{names}。",
    "before": "之前",
    "now": "现在",
    "moved, in points": "变化（百分点）",
    "all others": "其余",
    "{low} to {high} characters": "{low} 至 {high} 个字符",
    "Length of the kept records": "保留记录的长度",
    "characters of a record": "每条记录的字符数",
    "Kind": "类型",
    "Split": "划分",
    "Language": "语种",
    "Source": "来源",
    "Text": "文本量",
    "What the kept records are": "保留记录的构成",
    "All expectations": "全部期望",
    "Expectation": "期望",
    "What rows were taken for": "各行识别为何种记录",
    "kind, and what told it": "类型与判断依据",
    "rows": "行数",
    "Fields that were not used": "未使用的字段",
    "field": "字段",
    "Cleaning": "清洗",
    "step": "步骤",
    "places changed": "改动处数",
    "Personal data": "个人信息",
    "type": "类别",
    "found": "检出",
    "what was done": "处理方式",
    "replaced by {placeholder}": "已替换为 {placeholder}",
    "record set aside": "隔离该记录",
    "left in the text": "保留在文本中",
    "not looked for": "未查找",
    "Names of persons and places are looked for with validate.clean.names_model.": (
        "设置 validate.clean.names_model 后才会查找人名和地名。"
    ),
    "How much personal data is found": "个人信息检出率",
    "labelled texts": "标注文本",
    "labelled": "标注数",
    "recall": "召回率",
    "exact": "边界完全一致",
    "precision": "精确率",
    "Measured on the files of validate.personal_labels. A label counts as found when a finding of its "
    "type overlaps it, and as exact when both ends agree.": (
        "在 validate.personal_labels 的文件上测量。有同类检出与标注重叠即算检出，两端都一致才算边界完全一致。"
    ),
    "Personal data that was missed": "漏检的个人信息",
    "after": "前文",
    "shape": "形状",
    # --- advice of the suites that come with the project
    "A conversation without an answer teaches nothing": "没有回答的对话不提供任何可学的内容",
    "A token holds less than 1.5 bytes on average: the tokenizer does not fit this text, or the vocabulary is tiny": (
        "平均每个词元不足 1.5 字节：分词器与文本不匹配，或词表过小"
    ),
    "Add text: training, validation and test need one record each": (
        "请补充文本：训练、验证、测试集各至少需要一条记录"
    ),
    "All records have the same label, so there is nothing to learn: check which field holds it": (
        "所有记录的标签都相同，没有可学的内容：请检查标签在哪个字段"
    ),
    "Both answers are the same, so there is nothing to prefer": "两个回答相同，无从比较优劣",
    "Both sides are in the same language: are the columns the right ones?": "两侧是同一种语言：列是否选对了？",
    "Both sides are the same text: nothing was translated": "两侧文本相同：并未翻译",
    "Characters were lost before the text came here (U+FFFD): convert the files to UTF-8 from their own encoding": (
        "文本在读入之前就已丢失字符（U+FFFD）：请从原始编码重新转换为 UTF-8"
    ),
    "Documents, tokens and bytes of the index do not fit the file: run the stage again": (
        "索引中的文档数、词元数或字节数与文件不符：请重新运行该阶段"
    ),
    "Every record must be in one split": "每条记录都必须属于某一个划分",
    "Few labels have nearly all records: accuracy alone will look better than it is": (
        "少数标签占了绝大多数记录：只看准确率会偏于乐观"
    ),
    "In many documents a token holds hardly more than a byte: the tokenizer does not know their script": (
        "许多文档中每个词元仅略多于一个字节：分词器不认识其文字"
    ),
    "Its answers are empty": "回答为空",
    "Less than half of the text trains: lower validate.validation_fraction and test_fraction": (
        "用于训练的文本不到一半：请调低 validate.validation_fraction 和 test_fraction"
    ),
    "Many records are copies: is the same data collected twice?": "重复记录很多：是否把同一份数据采集了两次？",
    "Many records held personal data, which validate.clean.personal_data replaces, drops or reports: make sure that "
    "these texts may be used at all": (
        "许多记录含有个人信息，按 validate.clean.personal_data 替换、丢弃或仅报告：请确认这些文本可以使用"
    ),
    "More is set aside than kept: look at the reasons in the report, and mend the data or the limits under validate": (
        "隔离的比保留的还多：请查看报告中的原因，修正数据或 validate 下的限值"
    ),
    "Most conversations are longer than the context: raise pretrain.model.context_length, or shorten them": (
        "大多数对话超出上下文长度：请调高 pretrain.model.context_length，或缩短对话"
    ),
    "Most documents are very short: check how the text is divided into records (split_text)": (
        "大多数文档很短：请检查文本如何切分成记录（split_text）"
    ),
    "Most questions have no answer": "大多数问题没有答案",
    "Much of this is tables of numbers, from which a language model learns little": (
        "内容多为数字表格，语言模型从中学不到多少"
    ),
    "No language has half of the documents: if that is wanted, list the languages in the suite": (
        "没有哪个语种占到一半：若是有意为之，请在期望套件中列出这些语种"
    ),
    "One side is more than nine times as long as the other, so they hardly say the same": (
        "一侧的长度超过另一侧的九倍，两者意思不太可能相同"
    ),
    "Raise validate.min_characters, so that empty records are set aside": (
        "请调高 validate.min_characters，以隔离空记录"
    ),
    "Records are much longer or shorter than those of the last accepted data set": (
        "记录长度与上一次通过校验的数据集相差很大"
    ),
    "The answer does not begin where answer_start says: offsets are counted in characters, not in bytes": (
        "答案的起点与 answer_start 不符：偏移量按字符计，而非字节"
    ),
    "The answer is not in the context as it is written there": "答案未原样出现在上下文中",
    "The file is not the one that was written: look at the disk, and run the stage again": (
        "文件与写入时不一致：请检查磁盘，并重新运行该阶段"
    ),
    "The ids need another type: run the stage again": "词元编号的数据类型不对：请重新运行该阶段",
    "The kinds of records are mixed otherwise than in the last accepted data set": (
        "记录类型的构成与上一次通过校验的数据集不同"
    ),
    "The language of most records could not be guessed: check a few of them": "多数记录无法判断语种：请抽查几条",
    "The languages are not those of the last accepted data set": "语种构成与上一次通过校验的数据集不同",
    "The longest vector is much longer than the typical one: training may have diverged": (
        "最长的向量远超一般长度：训练可能已发散"
    ),
    "The most frequent words are not those of the last accepted data set": "高频词与上一次通过校验的数据集不同",
    "The preferred answer is empty": "被偏好的回答为空",
    "The preferred answer is nearly always the longer one: a model would learn length, not quality": (
        "被偏好的几乎总是较长的回答：模型学到的会是长度而非质量"
    ),
    "The preferred answer is nearly always the shorter one: a model would learn length, not quality": (
        "被偏好的几乎总是较短的回答：模型学到的会是长度而非质量"
    ),
    "The question is empty": "问题为空",
    "The sources are mixed otherwise than in the last accepted data set": "来源构成与上一次通过校验的数据集不同",
    "The split has not as many documents as records were kept: run the stage again": (
        "该划分的文档数与保留的记录数不符：请重新运行该阶段"
    ),
    "The text was decoded with the wrong encoding: convert the files to UTF-8": (
        "文本的解码方式有误：请把文件转换为 UTF-8"
    ),
    "The vocabulary holds less than half of the words of the text: lower embed.min_count, or add text": (
        "词表覆盖的词不到文本的一半：请调低 embed.min_count，或补充文本"
    ),
    "There are documents without a token beside the one that begins them": "有的文档除起始词元外没有任何词元",
    "There are ids beyond the vocabulary: the tokenizer is not the one that made them": (
        "有超出词表的词元编号：它们并非由这个分词器产生"
    ),
    "There are negative ids": "有为负的词元编号",
    "There are vectors with values that are no numbers: lower embed.learning_rate": (
        "有的向量含 NaN 或无穷大：请调低 embed.learning_rate"
    ),
    "There are words whose vector has the length 0: the training did not reach them": (
        "有的词向量长度为 0：训练未覆盖到这些词"
    ),
    "There is no text to classify": "没有可供分类的文本",
    "These conversations are longer than the context, so nothing is learnt from them: raise "
    "pretrain.model.context_length, or shorten them": (
        "这些对话超出上下文长度，学不到任何内容：请调高 pretrain.model.context_length，或缩短对话"
    ),
    "This is little text: add more, or start from a trained model with pretrain.init_from": (
        "文本量偏少：请补充文本，或用 pretrain.init_from 从已训练的模型开始"
    ),
    "This kind of record is not known": "无法识别的记录类型",
    "This looks like binary data or terminal output: clean it first": "看起来像二进制数据或终端输出：请先清理",
    "Too much could not be read at all: check that the files are UTF-8 and of the format that their names say": (
        "无法读取的内容过多：请确认文件为 UTF-8 编码，且格式与文件名相符"
    ),
    "Two records have the same id: this is a fault of the source that made them": (
        "有两条记录 id 相同：这是数据来源的错误"
    ),
    "User and assistant do not take turns in many conversations: check how messages were joined": (
        "许多对话中用户与助手没有交替发言：请检查消息的拼接方式"
    ),
    "Very long lines are often encoded data or minified code": "超长的行往往是编码后的数据或压缩过的代码",
    # --- reasons
    "too short": "过短",
    "too long": "过长",
    "too many replacement characters": "替换字符（U+FFFD）过多",
    "too many control characters": "控制字符过多",
    "duplicate": "重复",
    "near duplicate": "近似重复",
    "contaminated": "与测试数据重合",
    "not JSON": "不是 JSON",
    "not a usable conversation": "对话不可用",
    "could not be read": "无法读取",
}
