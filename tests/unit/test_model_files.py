"""What a model's files are: told by content, and refused with a sentence where they are no model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from maskmill.errors import InvalidSpec, ModelUnavailable, ModelUnusable
from maskmill.models import files as model_files
from maskmill.models.files import find_model, find_processor, resolve
from maskmill.parameters import parse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo model."""
    return Path(shutil.copytree(resolve("demo"), tmp_path / "model"))


def content(folder: Path) -> str:
    return find_model(str(folder), None).content()


def test_a_copy_elsewhere_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    assert content(folder) == find_model("demo", None).content()
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert content(link) == content(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "preprocessor_config.json", "own_code.py"])
def test_a_file_that_changes_makes_another_model(folder: Path, file: str) -> None:
    before = content(folder)
    path = folder / file
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")
    assert content(folder) != before


def test_weights_of_the_same_size_and_modification_time_are_other_weights(folder: Path) -> None:
    """As `rsync --times` or `cp --preserve` leave them."""
    before, weights = content(folder), folder / "model.safetensors"
    state, data = weights.stat(), bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content(folder) != before


@pytest.mark.parametrize("file", ["README.md", "optimizer.pt", "model.onnx", ".gitattributes"])
def test_files_that_are_not_loaded_do_not_count(folder: Path, file: str) -> None:
    before = content(folder)
    (folder / file).write_bytes(b"x")
    assert content(folder) == before


def test_weights_beside_safetensors_do_not_count_as_the_pipeline_does_not_read_them(folder: Path) -> None:
    before = content(folder)
    (folder / "pytorch_model.bin").write_bytes(b"an older one")
    assert content(folder) == before


def test_a_file_is_read_once_while_it_stays_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(folder)
    monkeypatch.setattr(model_files.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert content(folder) == before


def test_an_image_processor_is_told_without_weights(folder: Path) -> None:
    before = find_processor(str(folder), None).content()
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert find_processor(str(folder), None).content() == before
    (folder / "preprocessor_config.json").write_text("{}")
    assert find_processor(str(folder), None).content() != before


def only(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"{}")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 15032\n"

NO_MODELS: list[tuple[dict[str, bytes], str]] = [
    ({}, "no config.json: not a transformers model"),
    (only("best.pt", "args.yaml"), "best.pt is a file of PyTorch weights .*save_pretrained"),
    (only("model.onnx"), "an ONNX model"),
    (only("adapter_config.json", "adapter_model.safetensors"), "PEFT adapter; merge it"),
    (only("config.json"), "no weights: no model.safetensors"),
    (only("config.json", "saved_model.pb"), "no weights: saved_model.pb is a TensorFlow model"),
    (only("config.json") | {"model.safetensors": POINTER}, "Git LFS pointer, not weights: run `git lfs pull`"),
    (only("config.json") | {"pytorch_model-00001-of-00002.bin": POINTER}, "Git LFS pointer"),
]


@pytest.mark.parametrize(("files", "sentence"), NO_MODELS, ids=[sentence[:30] for _, sentence in NO_MODELS])
def test_a_folder_that_is_no_model_is_told_what_it_is(files: dict[str, bytes], sentence: str, tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelUnusable, match=sentence):
        find_model(str(tmp_path), None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("yolo11n-seg.pt", "YOLO"), ("net.ONNX", "ONNX"), ("model.gguf", "GGUF"), ("w.safetensors", "alone")],
)
def test_a_file_given_as_a_model_is_told_what_it_is_before_anything_starts(
    name: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(InvalidSpec, match=f"{kind}.*not a model: name the folder"):
        parse(model=str(tmp_path / name))
    with pytest.raises(ModelUnusable, match=kind):
        find_model(str(tmp_path / name), None)  # submitted elsewhere, where there was no such file


def test_a_folder_that_only_this_machine_lacks_is_tried_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="on this worker's machine") as found:
        find_model(str(tmp_path / "elsewhere"), None)
    assert found.value.retryable


def test_a_configuration_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(ModelUnusable, match=r"config\.json of .* is not JSON"):
        find_model(str(folder), None).read("config.json")
