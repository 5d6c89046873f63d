"""Models of a hub: the commit that a branch is at is found out once, and what is in the cache needs no hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from maskmill.errors import HubUnavailable, ModelUnavailable, ModelUnusable
from maskmill.models.files import find_model, resolve
from maskmill.schema import ModelIdentity, Spec
from maskmill_worker.model.models import Models
from tests.fake_hub import GONE, FakeHub, Files, files_of, running_hub

REPOSITORY = "me/scenes"
FILES = files_of(Path(resolve("demo")))


def moved(files: Files) -> Files:
    """The same model with another label: what a later commit may have."""
    return files | {"config.json": files["config.json"].replace(b'"sky"', b'"heaven"')}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with nothing on it, an empty cache, and no patience."""
    with running_hub() as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        yield hub


def load(models: Models | None = None, known: ModelIdentity | None = None, **spec: str) -> tuple[str, set[str]]:
    """The identity of the model that is loaded, and its labels."""
    segmenter = (models or Models("cpu")).get(Spec(model=REPOSITORY, **spec), known)
    return segmenter.identity.model, set(segmenter.pipeline.model.config.id2label.values())


def test_a_branch_that_has_moved_is_another_model(hub: FakeHub) -> None:
    first = hub.push(REPOSITORY, FILES)
    models = Models("cpu")
    identity, labels = load(models)
    assert (identity, "sky" in labels) == (f"commit:{first}", True)

    second = hub.push(REPOSITORY, moved(FILES))
    identity, labels = load(models)
    assert (identity, "heaven" in labels) == (f"commit:{second}", True)


def test_a_job_that_began_with_a_commit_goes_on_with_it_on_any_worker(hub: FakeHub) -> None:
    first = hub.push(REPOSITORY, FILES)
    hub.push(REPOSITORY, moved(FILES))
    identity, labels = load(known=ModelIdentity(model=f"commit:{first}"))
    assert (identity, "sky" in labels) == (f"commit:{first}", True)


def test_all_files_are_of_one_commit_although_the_branch_moves_meanwhile(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub.push(REPOSITORY, FILES)
    files = find_model(REPOSITORY, None)
    hub.push(REPOSITORY, FILES | {"preprocessor_config.json": b"{}"})
    assert files.read("preprocessor_config.json")
    assert files.content() == f"commit:{first}"


def test_what_is_in_the_cache_is_loaded_without_the_hub(hub: FakeHub) -> None:
    commit = hub.push(REPOSITORY, FILES)
    load()
    hub.status = GONE
    hub.asked.clear()
    assert load()[0] == f"commit:{commit}"
    assert len(hub.asked) <= 1, "the branch is asked for, and nothing else"
    hub.asked.clear()
    assert load(revision=commit)[0] == f"commit:{commit}"
    assert not hub.asked


def test_what_is_missing_in_the_cache_is_fetched(hub: FakeHub) -> None:
    commit = hub.push(REPOSITORY, FILES)
    find_model(REPOSITORY, None)  # another process was interrupted after this
    assert load()[0] == f"commit:{commit}"


@pytest.mark.parametrize("status", [GONE, 429, 500, 503])
def test_a_hub_that_is_out_of_reach_is_passing(hub: FakeHub, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.push(REPOSITORY, FILES)
    hub.status = status
    with pytest.raises(HubUnavailable, match="HF_ENDPOINT"):
        load()
    hub.status = 200
    assert load()


@pytest.mark.parametrize("status", [401, 403])
def test_a_hub_that_refuses_is_final_and_names_the_token(hub: FakeHub, status: int) -> None:
    hub.status = status
    with pytest.raises(ModelUnusable, match="HF_TOKEN"):
        load()


def test_a_hub_that_breaks_off_in_the_middle_of_the_weights_is_passing(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(REPOSITORY, FILES)
    found = find_model(REPOSITORY, None)
    found.read("preprocessor_config.json")
    hub.status = GONE
    with pytest.raises(HubUnavailable):
        load()


def test_what_the_hub_does_not_have_is_final(hub: FakeHub) -> None:
    with pytest.raises(ModelUnusable, match="no model 'me/scenes' for you"):
        load()
    hub.push(REPOSITORY, FILES)
    with pytest.raises(ModelUnusable, match="no revision 'v2'"):
        load(revision="v2")
    hub.push("me/onnx", {"model.onnx": b""})
    with pytest.raises(ModelUnusable, match=r"no config\.json"):
        Models("cpu").get(Spec(model="me/onnx"))


def test_a_name_that_is_none_is_final(hub: FakeHub) -> None:
    with pytest.raises(ModelUnusable, match="neither a folder here nor a model id"):
        Models("cpu").get(Spec(model="C:\\models\\net"))


def test_a_worker_that_may_not_ask_leaves_the_model_to_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE is set") as found:
        load()
    assert type(found.value) is ModelUnavailable


def test_a_folder_that_names_files_of_the_hub_says_so_and_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reason is whole: whose file it is, its address, and what to do."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found = {
        "image_processor_type": "OneFormerImageProcessor",
        "repo_path": "me/classes",
        "class_info_file": "own.json",
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(found))
    with pytest.raises(ModelUnavailable) as caught:
        Models("cpu").get(Spec(model="demo", image_processor=str(tmp_path)))
    assert str(caught.value).startswith(f"'{tmp_path}' names files of the model hub")
    assert "HF_ENDPOINT" in str(caught.value)
    assert "me/classes/resolve/main/own.json" in str(caught.value)


def test_broken_files_are_final_on_the_hub_as_in_a_folder(hub: FakeHub) -> None:
    hub.push(REPOSITORY, FILES | {"model.safetensors": FILES["model.safetensors"][:5000]})
    with pytest.raises(ModelUnusable, match="broken or cut off"):
        load()


def test_the_image_processor_of_another_repository_has_an_identity_of_its_own(hub: FakeHub, tmp_path: Path) -> None:
    model = hub.push(REPOSITORY, FILES)
    processor = hub.push("me/processor", {"preprocessor_config.json": FILES["preprocessor_config.json"]})
    segmenter = Models("cpu").get(Spec(model=REPOSITORY, image_processor="me/processor"))
    assert segmenter.identity == ModelIdentity(model=f"commit:{model}", image_processor=f"commit:{processor}")


def test_trust_in_a_repository_does_not_reach_its_pull_requests(hub: FakeHub, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n".encode()
    own = json.loads(FILES["config.json"]) | {"auto_map": {"AutoConfig": "own.Own"}, "model_type": "own"}
    hub.push(REPOSITORY, FILES)
    hub.push(REPOSITORY, FILES | {"own.py": code, "config.json": json.dumps(own).encode()}, "refs/pr/7")
    models = Models("cpu", trusted=[REPOSITORY])
    with pytest.raises(ModelUnusable, match="MASKMILL_TRUSTED_MODELS"):
        load(models, revision="refs/pr/7")
    assert not ran.exists()
