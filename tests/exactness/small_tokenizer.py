"""A CLIP tokenizer with a vocabulary just large enough for OneFormer's task sentences."""

import json
import string
from pathlib import Path

from transformers import CLIPTokenizer

WORDS = ("the", "task", "is", "panoptic", "instance", "semantic")
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_END_OF_WORD = "</w>"


def _pieces(word: str) -> list[str]:
    """The word's letters, the last with the end-of-word mark, as byte-pair encoding starts from."""
    return [*word[:-1], word[-1] + _END_OF_WORD]


def _merges(word: str) -> list[tuple[str, str]]:
    """Merges that join the word from its front: t+h, th+e</w>."""
    pieces = _pieces(word)
    return [("".join(pieces[:end]), pieces[end]) for end in range(1, len(pieces))]


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes `vocab.json` and `merges.txt` into `folder` and loads a tokenizer from them."""
    merges = list(dict.fromkeys(merge for word in WORDS for merge in _merges(word)))
    letters = [*string.ascii_lowercase, *(letter + _END_OF_WORD for letter in string.ascii_lowercase)]
    tokens = dict.fromkeys([*letters, *("".join(merge) for merge in merges), *_SPECIAL])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)
