"""What an English text states about an image: one lexicon and one reader for all who ask.

`lexicon` holds every word that is known, `sentences` cuts a text, `reading` finds which
attributes it addresses and which defects it states or denies, how strong, and `said` is what it
returns. The rubric judge and the
case studies decide from the same reading.

Source:
    Decision D72.
"""

from qponder_lib.text.assertions.reading import kinship, named_in, read, read_sentence
from qponder_lib.text.assertions.said import Clause, Mention, QualityWord, Reading, Sentence
from qponder_lib.text.assertions.sentences import sentence_spans, split_sentences

__all__ = [
    "Clause",
    "Mention",
    "QualityWord",
    "Reading",
    "Sentence",
    "kinship",
    "named_in",
    "read",
    "read_sentence",
    "sentence_spans",
    "split_sentences",
]
