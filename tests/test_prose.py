"""The prose is plain: its sentences are short, and its words are those that a learner of English has.

The measure is the length of sentences, in words: a mean of at most 15, and at most 3 in 100 over 28. Headings, tables
and blocks of code are no sentences.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.tools.notebooks import all_notebooks

ROOT = Path(__file__).parents[1]
A_TABLE_ONLY = "architecture.md"
GUIDES = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != A_TABLE_ONLY]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *GUIDES, *all_notebooks()]
NOT_PLAIN = r"\b(whoever|come by|mend(s|ed|ing)?|anew|thence|hereby|likewise|henceforth|stor(y|ies))\b"
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_END_OF_A_SENTENCE = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=\S)")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)


def sentences(document: Path) -> list[str]:
    """The sentences of a document, or of a notebook's texts; a span of code is one word."""
    if document.suffix == ".md":
        texts = [document.read_text(encoding="utf-8")]
    else:
        cells = nbformat.read(document, as_version=4).cells
        texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    paragraphs = [paragraph for text in texts for paragraph in _paragraphs(_MARKDOWN.parse(text))]
    found = [sentence for paragraph in paragraphs for sentence in _END_OF_A_SENTENCE.split(paragraph)]
    return [sentence for sentence in found if words(sentence)]


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def _paragraphs(tokens: list[Token]) -> Iterator[str]:
    outside = 0
    for token in tokens:
        if token.type in {"heading_open", "heading_close", "table_open", "table_close"}:
            outside += token.nesting
        elif token.type == "inline" and not outside:
            yield "".join(_plain(part) for part in token.children or [])


def _plain(part: Token) -> str:
    if part.type == "code_inline":
        return "CODE"
    return " " if part.type in {"softbreak", "hardbreak"} else part.content if part.type == "text" else ""


@each_document
def test_sentences_are_short(document: Path) -> None:
    found = sentences(document)
    lengths = [words(sentence) for sentence in found]
    assert sum(lengths) / len(lengths) <= 15
    longest = [sentence for sentence in found if words(sentence) > 28]
    assert len(longest) <= 0.03 * len(found), "\n".join(longest)


@each_document
def test_words_are_plain(document: Path) -> None:
    assert [sentence for sentence in sentences(document) if re.search(NOT_PLAIN, sentence, re.IGNORECASE)] == []


def test_a_long_sentence_and_a_bad_word_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_text("# Whoever\n\nWhoever has `one two three`" + " and more" * 20 + ". Short one.\n")
    long, short = sentences(tmp_path / "bad.md")
    assert words(long) == 3 + 40
    assert re.search(NOT_PLAIN, long, re.IGNORECASE)
    assert words(short) == 2
