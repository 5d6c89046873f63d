"""Code of a model's own runs when its worker trusts that very model, at that very revision; nothing else is meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill.access import code_trusted
from maskmill.errors import ModelUnusable
from maskmill.models.files import resolve
from maskmill.schema import Spec
from maskmill_worker.model.models import Models

MakeModel = Callable[..., Path]


@pytest.mark.parametrize(
    ("model", "revision", "patterns", "trusted"),
    [
        ("me/net", None, ["me/net"], True),
        ("me/net", "main", ["me/net"], True),
        ("me/net", "refs/pr/7", ["me/net"], False),
        ("me/net", "v2", ["me/net"], False),
        ("me/net", "v2", ["me/net@v2"], True),
        ("me/net", None, ["me/net@v2"], False),
        ("me/net", "refs/pr/7", ["me/*", "all"], False),
        ("me/net", "v2", ["me/net@*"], True),
        ("me/net", None, ["me/*"], True),
        ("other/net", None, ["me/*"], False),
        ("other/net", None, ["all"], True),
        ("other/net", None, [], False),
        ("/models/a@b", None, ["/models/a@b"], True),
        ("/models/a", None, ["/models/*"], True),
        ("/models/../home/a", None, ["/models/*"], False),
    ],
)
def test_trust_is_for_one_model_at_one_revision(
    model: str, revision: str | None, patterns: list[str], trusted: bool
) -> None:
    assert code_trusted(model, revision, patterns) is trusted


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that the code of models here writes."""
    return tmp_path / "ran"


@pytest.fixture
def make(tmp_path: Path, ran: Path, modules_of_models: Path) -> MakeModel:
    """A function that makes a copy of the demo model with code for one of its parts."""

    def make(name: str, file: str, auto: str, reference: str) -> Path:
        folder = Path(shutil.copytree(resolve("demo"), tmp_path / name))
        code = f"open({str(ran)!r}, 'w').close()\nraise RuntimeError('it ran')\n"
        (folder / "own_code.py").write_text(code)
        found = json.loads((folder / file).read_text())
        change = {"image_processor_type": "OwnProcessor"} if auto == "AutoImageProcessor" else {"model_type": "own"}
        (folder / file).write_text(json.dumps(found | change | {"auto_map": {auto: reference}}))
        return folder

    return make


def load(spec: Spec, *trusted: Path | str) -> None:
    Models("cpu", trusted=[str(each) for each in trusted]).get(spec)


def test_trusting_a_model_trusts_no_other_image_processor(make: MakeModel, ran: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(resolve("demo"), tmp_path / "model"))
    processor = make("processor", "preprocessor_config.json", "AutoImageProcessor", "own_code.OwnProcessor")
    spec = Spec(model=str(model), image_processor=str(processor))
    with pytest.raises(ModelUnusable, match=r"processor' has code of its own.*MASKMILL_TRUSTED_MODELS"):
        load(spec, model)
    assert not ran.exists()
    with pytest.raises(ModelUnusable, match=r"processor' cannot be loaded: .*it ran"):
        load(spec, processor)
    assert ran.exists()


def test_a_model_s_code_runs_only_if_the_model_is_trusted(make: MakeModel, ran: Path, tmp_path: Path) -> None:
    model = make("model", "config.json", "AutoConfig", "own_code.OwnConfig")
    with pytest.raises(ModelUnusable, match="MASKMILL_TRUSTED_MODELS"):
        load(Spec(model=str(model)), tmp_path / "another")
    assert not ran.exists()
    with pytest.raises(ModelUnusable, match="it ran"):
        load(Spec(model=str(model)), model)


@pytest.mark.parametrize(
    ("file", "auto"), [("config.json", "AutoConfig"), ("preprocessor_config.json", "AutoImageProcessor")]
)
def test_code_that_lies_in_another_repository_must_be_trusted_there(make: MakeModel, file: str, auto: str) -> None:
    model = make("model", file, auto, "stranger/code--own_code.Own")
    with pytest.raises(ModelUnusable, match="its code in 'stranger/code', which MASKMILL_TRUSTED_MODELS lacks"):
        load(Spec(model=str(model)), model)
