"""Settings of the data: where it comes from, what it must be like, how it becomes tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import Field, model_validator

from zen_pipeline.settings.base import NOT_IDENTITY, Fraction, Section

Characters = Annotated[int, Field(ge=0)]
RecordKind = Literal["document", "chat", "preference", "translation", "qa", "classification"]


_SHORTEST: dict[RecordKind, int] = {"document": 32}


class PythonDocsSource(Section):
    """The documentation of the Python installation in use: docstrings and the language reference."""

    type: Literal["python_docs"] = "python_docs"
    packages: list[str] = Field(default=[], description="installed distributions to read besides the standard library")


class FilesSource(Section):
    """Files, folders and globs, here or at addresses; see docs/data.md for the formats."""

    type: Literal["files"] = "files"
    paths: list[str] = Field(description="files, folders, globs, addresses; relative ones start at the working folder")
    kind: RecordKind | None = Field(None, description="what every row is; default: recognised by its fields")
    text_column: str = Field("text", description="the field or column that holds the text of a document")
    fields: dict[str, str] = Field(
        default={}, description="names of other fields in the data, by our own: {question: ask, answers: reply}"
    )
    turn_separator: str | None = Field(
        None, min_length=1, description="the mark between turns where a line of text is a dialogue; default: recognised"
    )
    header: bool | None = Field(
        None,
        description="whether the first line of a table names its columns; default: recognised; without, they are "
        "named 1, 2, 3, …",
    )
    languages: list[str] | None = Field(
        None,
        description="of files with the same lines in several languages (train.en, train.de, train.fr), those to pair; "
        "default: all of them, each with each",
    )
    alignment: Literal["checked", "as_is"] = Field(
        "checked",
        description="of such files: `checked` refuses different numbers of lines and lines that do not fit; `as_is` "
        "pairs them line by line",
    )
    charset: str | None = Field(
        None,
        description="of text files that do not name theirs by a byte order mark, such as windows-1251; default: what "
        "the server or the page says, else UTF-8",
    )
    split_text: Literal["auto", "headings", "blank_lines", "file"] = Field(
        "auto", description="how a plain text file becomes records"
    )

    def identity(self) -> dict[str, Any]:
        """Without `paths`: the content digests stand for them."""
        return self.model_dump(mode="json", exclude={"paths"})


Source = Annotated[PythonDocsSource | FilesSource, Field(discriminator="type")]


class CollectConfig(Section):
    """Where the text comes from."""

    sources: list[Source] = Field(default=[PythonDocsSource()], min_length=1)


class NearDuplicatesConfig(Section):
    """Which records are so much like another that they are set aside (MinHash)."""

    enabled: bool = Field(True, description="set aside records that resemble another")
    kinds: list[RecordKind] = Field(
        default=["document"],
        description="kinds that are compared; questions about one context, say, resemble each other",
    )
    threshold: float = Field(0.8, gt=0.0, lt=1.0, description="Jaccard similarity of the shingles from which they do")
    shingle: int = Field(5, ge=1, le=50, description="words of a shingle; characters where no spaces are written")
    permutations: int = Field(128, ge=16, le=1024, description="length of a signature, in bytes per record on disk")


class ContaminationConfig(Section):
    """Which training records share too much with the test split or with the evaluation data."""

    enabled: bool = Field(True, description="set aside training records that hold runs of words of a test record")
    words: int = Field(13, ge=4, le=100, description="length of a run")
    characters: int = Field(50, ge=4, le=400, description="the same for scripts without spaces between words")
    boilerplate_documents: int | None = Field(
        10, ge=0, description="runs that more training records hold are ignored; null: none is"
    )
    max_overlap: Fraction = Field(0.0, description="share of a record's runs that may be in the test data; 0: none")


QualityRules = Literal["gopher_quality", "gopher_repetition", "c4"]
PersonalType = Literal["key", "login", "email", "iban", "card", "ssn", "ip", "phone", "person", "address"]
PersonalAction = Literal["replace", "drop", "report", "ignore"]


class CleanSettings(Section):
    """What is repaired in a record, and what it must be like to be kept; see docs/data.md, "Cleaning"."""

    encoding: bool = Field(True, description="repair text that was decoded wrongly, such as `Ã©` for `é`")
    line_ends: bool = Field(True, description="make every line end a line feed")
    control: bool = Field(True, description="remove control characters and terminal escapes")
    invisible: bool = Field(True, description="remove zero-width characters that mean nothing")
    nfc: bool = Field(True, description="compose characters as Unicode NFC does")
    markup: bool = Field(False, description="turn documents that are whole HTML pages into text")
    languages: list[str] | None = Field(
        None, description="keep records in these only, as two-letter codes; `und`: too short to say; default: all"
    )
    min_language_score: Fraction = Field(0.5, description="a language that is less likely than this is `und`")
    quality: list[QualityRules] = Field(default=[], description="published rules that documents must meet")
    quality_action: Literal["set_aside", "report"] = Field(
        "set_aside", description="what follows when they are not met"
    )
    personal_data: PersonalAction = Field("replace", description="what is done with personal data, keys and passwords")
    personal_types: dict[PersonalType, PersonalAction] = Field(
        default={}, description="another action for some types: {ip: report, email: drop}"
    )
    names_model: str | None = Field(
        None, description="spaCy model, by name or folder, that finds names of persons and places (extra `pii`)"
    )

    def action(self, kind: str) -> PersonalAction:
        """What is done with personal data of one type."""
        return self.personal_types.get(cast(PersonalType, kind), self.personal_data)


class ValidateConfig(Section):
    """What a record must be like, and when the whole corpus is refused."""

    suites: str | None = Field(
        None,
        description="folder with suites of your own (records.json, corpus.json, …); what is not in it stays as "
        "shipped, an unknown name is an error",
    )
    min_characters: Characters | dict[RecordKind, Characters] = Field(
        _SHORTEST,
        description="shorter records are set aside, by kind (a kind that is not named: empty ones); one number is for "
        "all kinds. A shorter document is a heading or a menu; a short pair, question or turn is a whole one",
    )
    max_characters: int = Field(1_000_000, ge=1, description="longer records are set aside")
    deduplicate: bool = Field(True, description="set aside records whose normalized text has been seen")
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    evaluation_data: list[str] = Field(
        default=[], description="files, folders or globs that no training record may repeat, besides the test split"
    )
    personal_labels: list[str] = Field(
        default=[],
        description="labelled texts on which the report measures how much personal data is found; see docs/data.md",
        json_schema_extra=NOT_IDENTITY,
    )
    max_replacement_share: Fraction = Field(0.01, description="share of U+FFFD above which it is set aside")
    max_control_share: Fraction = Field(0.01, description="share of control characters above which it is set aside")
    validation_fraction: Fraction = Field(0.05, description="share of the groups in the validation split")
    test_fraction: Fraction = Field(0.05, description="share of the groups in the test split")
    split_salt: str = Field("zen", description="changes which groups are in which split")
    workers: int | None = Field(
        None, ge=1, description="processes; default: by the cores and the size", json_schema_extra=NOT_IDENTITY
    )
    clean: CleanSettings = CleanSettings()

    def shortest(self, kind: str) -> int:
        """The fewest characters that a record of this kind may have."""
        limits = self.min_characters
        return max(1, limits if isinstance(limits, int) else limits.get(cast(RecordKind, kind), 1))

    @model_validator(mode="after")
    def _limits_leave_something(self) -> Self:
        shortest = max(map(self.shortest, get_args(RecordKind)))
        if shortest > self.max_characters:
            raise ValueError(f"min_characters {shortest} is above max_characters {self.max_characters}")
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction and test_fraction together leave nothing to train on")
        return self


class TokenizeConfig(Section):
    """Byte-level BPE and the token shards."""

    vocab_size: int | None = Field(None, ge=300, le=262_144, description="default: chosen by the budget")
    train_bytes: int = Field(
        100_000_000, ge=1, description="text that the tokenizer is trained on at most; of a larger corpus a sample"
    )
