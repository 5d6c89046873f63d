"""Makes small random models say something: fits their heads to photographs, so that several labels come out.

The stock initialisation (std 0.02) gives near-constant features, near-uniform class scores and masks that
cover all or nothing. Here every matrix is drawn anew at a variance-keeping scale, and the heads' outputs are
standardised over photographs, as layer-sequential unit-variance initialisation does (Mishkin and Matas, 2015,
arXiv:1511.06422).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

EMBEDDING_STD = 2.0
CLASS_LOGIT_STD = 6.0
MASK_LOGIT_STD = 20.0
MASK_LOGIT_MEAN = -8.0
KEPT_QUERIES = 0.25
"""The part of all queries that must pass the pipeline's default threshold."""
DEFAULT_THRESHOLD = 0.9

Runs = Sequence[Callable[[], object]]
"""Each runs the model once, on one photograph."""


def enliven(model: nn.Module) -> None:
    """Draws weights anew at a scale that keeps the signal's variance, and embeddings far apart."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, gain=1.2)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=EMBEDDING_STD)


@contextmanager
def _last_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list whose one item is the module's newest output; decoders call their heads after every layer."""
    newest: list[Tensor] = []

    def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        newest[:] = [output.detach()]

    handle = module.register_forward_hook(record)
    try:
        yield newest
    finally:
        handle.remove()


def observe(module: nn.Module, runs: Runs) -> Tensor:
    """The module's last outputs in every run, as rows of channels, shape (positions, channels)."""
    rows = []
    with _last_output(module) as newest:
        for run in runs:
            run()
            rows.append(_channels_last(module, newest[0]).flatten(0, -2))
    return torch.cat(rows)


def _channels_last(module: nn.Module, output: Tensor) -> Tensor:
    return output if isinstance(module, nn.Linear) else output.movedim(1, -1)


def standardise(module: nn.Module, runs: Runs, std: float = 1.0) -> None:
    """Gives every output channel of a module with weight and bias mean 0 and the given std over the runs."""
    rows = observe(module, runs)
    factor = std / rows.std(dim=0)
    with torch.no_grad():
        module.weight.mul_(factor.view(-1, *[1] * (module.weight.ndim - 1)))
        module.bias.sub_(rows.mean(dim=0)).mul_(factor)


def fit_semantic(classifier: nn.Module, runs: Runs) -> None:
    """Each class wins on a similar part of the photographs, by margins far above float noise."""
    standardise(classifier, runs, CLASS_LOGIT_STD)


def fit_classes(classifier: nn.Linear, runs: Runs, kept_queries: float = KEPT_QUERIES) -> None:
    """Standardises the class logits, then biases "no object" so that only some queries pass the threshold."""
    standardise(classifier, runs, CLASS_LOGIT_STD)
    bias = _no_object_bias(observe(classifier, runs), kept_queries)
    with torch.no_grad():
        classifier.bias[-1] += bias


def _no_object_bias(logits: Tensor, kept_queries: float) -> float:
    """The bias in the middle of the widest gap near which `kept_queries` of the rows pass the threshold."""
    limits = _limits(logits).sort(descending=True).values
    kept = int(len(limits) * kept_queries)
    window = limits[kept - kept // 4 : kept + kept // 4]
    widest = int((window[:-1] - window[1:]).argmax())
    return window[widest : widest + 2].mean().item()


def _limits(logits: Tensor) -> Tensor:
    """For each row the greatest "no object" bias with which its best class still has a score above the threshold."""
    classes, no_object = logits[:, :-1], logits[:, -1]
    room = classes.amax(dim=-1).exp() / DEFAULT_THRESHOLD - classes.exp().sum(dim=-1)
    return room.clamp(min=1e-12).log() - no_object


def fit_flat_masks(output: nn.Module, runs: Runs) -> None:
    """Fits mask logits that one module puts out as its only channel: varied in space, mostly off."""
    standardise(output, runs, MASK_LOGIT_STD)
    with torch.no_grad():
        output.bias.add_(MASK_LOGIT_MEAN)


def fit_masks(
    pixels: nn.Module,
    embedder: nn.Module,
    runs: Runs,
    mean: float = MASK_LOGIT_MEAN,
    std: float = MASK_LOGIT_STD,
) -> None:
    """Fits mask logits that are products of query embeddings and pixel features: varied in space, mostly off.

    Args:
        pixels: the last module with weight and bias before the product on the pixels' side.
        embedder: the perceptron that makes the queries' mask embeddings.
        runs: each runs the model on one photograph.
        mean: of the logits.
        std: their standard deviation.
    """
    standardise(pixels, runs)
    last = [module for module in embedder.modules() if isinstance(module, nn.Linear)][-1]
    embeddings = observe(last, runs)
    features = observe(pixels, runs)
    scale = std / (_sample(embeddings) @ _sample(features).T).std(dim=1).mean()
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale)
        pixels.bias.add_(_offset(embeddings * scale, mean))


def _offset(embeddings: Tensor, mean: float) -> Tensor:
    """The feature vector whose product with every embedding is nearest to the wanted mean logit."""
    wanted = embeddings.new_full((len(embeddings), 1), mean)
    one = torch.eye(embeddings.shape[1], device=embeddings.device)
    ridge = 0.05 * embeddings.pow(2).mean() * len(embeddings) * one
    return torch.linalg.solve(embeddings.T @ embeddings + ridge, embeddings.T @ wanted).squeeze(1)


def _sample(rows: Tensor, count: int = 2048) -> Tensor:
    return rows[:: max(1, len(rows) // count)]


def repeat(times: int, steps: Sequence[Callable[[], None]]) -> None:
    """Runs the steps in turn, several times: masked attention makes the heads depend on one another."""
    for _ in range(times):
        for step in steps:
            step()
