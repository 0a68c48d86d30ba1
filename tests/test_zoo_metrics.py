"""Figures of the tasks against brute force, scikit-learn and scipy; each sees an injected fault."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    jaccard_score,
    log_loss,
)

from hwquant.errors import InputError
from hwquant.zoo.tasks import detection, diffusion, language, outputs, segmentation
from hwquant.zoo.tasks.score import diffusion_figures

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 5, 3, generator=GENERATOR)
OTHER = LOGITS + 0.3 * torch.randn(40, 5, 3, generator=GENERATOR)
EMPTY = np.zeros((0, 6))
LABELS = torch.randint(0, 5, (40, 3), generator=GENERATOR)


def rows(x):
    """Put the classes last and flatten the rest."""
    return x.movedim(1, -1).reshape(-1, x.shape[1]).double()


def test_accuracy_and_agreement_equal_sklearn():
    predicted = rows(LOGITS).argmax(1)
    assert outputs.accuracy(LOGITS, LABELS) == accuracy_score(LABELS.flatten(), predicted)
    other = rows(OTHER).argmax(1)
    assert outputs.agreement(OTHER, LOGITS) == accuracy_score(predicted, other) < 1
    assert outputs.agreement(LOGITS, LOGITS) == 1


def test_kl_equals_brute_force():
    p, q = rows(LOGITS).softmax(1).numpy(), rows(OTHER).softmax(1).numpy()
    expected = np.mean(
        [
            sum(a * math.log(a / b) for a, b in zip(r, s, strict=True))
            for r, s in zip(p, q, strict=True)
        ]
    )
    assert outputs.kl_divergence(OTHER, LOGITS) == pytest.approx(expected, rel=1e-12)
    assert outputs.kl_divergence(LOGITS, LOGITS) == 0
    assert outputs.kl_divergence(LOGITS, OTHER) != outputs.kl_divergence(OTHER, LOGITS)


def test_kl_ignores_a_common_offset_but_logit_error_does_not():
    moved = LOGITS + 1
    assert outputs.kl_divergence(moved, LOGITS) == pytest.approx(0, abs=1e-14)
    assert outputs.logit_error(moved, LOGITS) > 0.5


def test_logit_error_is_one_for_the_mean_answer():
    mean = LOGITS.mean(0, keepdim=True).expand_as(LOGITS)
    assert outputs.logit_error(mean, LOGITS) == pytest.approx(1)
    assert outputs.logit_error(LOGITS, LOGITS) == 0


def test_perplexity_equals_sklearn_and_its_ends():
    expected = math.exp(log_loss(LABELS.flatten(), rows(LOGITS).softmax(1), labels=range(5)))
    assert language.perplexity(LOGITS, LABELS) == pytest.approx(expected, rel=1e-9)
    assert language.perplexity(torch.zeros(2, 7, 4), torch.zeros(2, 4).long()) == pytest.approx(7)
    sure = 100.0 * torch.nn.functional.one_hot(LABELS, 5).movedim(-1, 1)
    assert language.perplexity(sure, LABELS) == pytest.approx(1)


def test_mean_iou_equals_sklearn():
    predicted, labels = LOGITS[:, :4].argmax(1), LABELS % 4
    counts = segmentation.confusion(predicted, labels, 6)
    expected = confusion_matrix(labels.flatten(), predicted.flatten(), labels=range(6))
    assert np.array_equal(counts.numpy(), expected)
    average = jaccard_score(labels.flatten(), predicted.flatten(), average="macro")
    assert segmentation.mean_iou(counts) == pytest.approx(average)  # absent classes do not count
    perfect = segmentation.confusion(labels, labels, 6)
    assert segmentation.mean_iou(perfect) == 1
    wrong = labels.clone()
    wrong[0] = (wrong[0] + 1) % 4
    assert segmentation.mean_iou(segmentation.confusion(wrong, labels, 6)) < 1


def test_iou_equals_counting_pixels():
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 8, (12, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 6, (12, 2))], 1).astype(float)

    def pixels(box):
        left, top, right, bottom = box.astype(int)
        return set(itertools.product(range(left, right), range(top, bottom)))

    table = detection.iou(boxes, boxes)
    for i, j in itertools.product(range(12), repeat=2):
        a, b = pixels(boxes[i]), pixels(boxes[j])
        assert table[i, j] == (len(a & b) / len(a | b) if a | b else 0)


def box(label, left, top, score=None, side=10):
    middle = [] if score is None else [score]
    return [label, *middle, left, top, left + side, top + side]


def test_mean_average_precision_by_hand():
    truth = [np.array([box(0, 0, 0), box(0, 30, 30), box(1, 60, 0)]), np.array([box(0, 5, 5)])]
    found = [
        np.array([box(0, 0, 0, 0.9), box(0, 50, 50, 0.8), box(0, 30, 31, 0.7), box(1, 60, 0, 0.5)]),
        np.zeros((0, 6)),
    ]
    # class 0: hit, miss, hit of 3 truths -> (1 + 2/3) / 3; class 1: 1
    expected = ((1 + 2 / 3) / 3 + 1) / 2
    assert detection.mean_average_precision(found, truth) == pytest.approx(expected)
    strict = detection.mean_average_precision(found, truth, (0.95,))
    assert strict == pytest.approx((1 / 3 + 1) / 2)


def test_mean_average_precision_counts_a_truth_once():
    truth = [np.array([box(0, 0, 0)])]
    twice = [np.array([box(0, 1, 0, 0.9), box(0, 0, 0, 0.8)])]
    assert detection.mean_average_precision(twice, truth) == 1
    truth = [np.array([box(0, 0, 0), box(0, 40, 40)])]
    assert detection.mean_average_precision(twice, truth) == pytest.approx(0.5)


def test_average_precision_bounds_sklearn_from_above():
    """With one box per item, scikit-learn's area (no envelope) is the same up to the envelope."""
    rng = np.random.default_rng(1)
    hit, score = rng.random(60) < 0.6, rng.random(60)
    truth = [np.array([box(0, 0, 0)]) if h else np.zeros((0, 5)) for h in hit]
    found = [np.array([box(0, 0, 0, s)]) for s in score]
    got = detection.mean_average_precision(found, truth)
    plain = average_precision_score(hit, score)
    assert plain <= got <= plain + 0.05
    order = np.argsort(-score)
    precision = hit[order].cumsum() / np.arange(1, 61)
    envelope = [precision[i:].max() for i in range(60)]
    assert got == pytest.approx(np.mean(np.array(envelope)[hit[order]]))


def maps_of(boxes, classes=10):
    """Write boxes into raw maps as a perfect detector would."""
    maps = torch.full((len(boxes), 5 + classes, 12, 12), -20.0)
    for n, objects in enumerate(boxes):
        for label, left, top, right, bottom in objects:
            column, row = int((left + right) / 8), int((top + bottom) / 8)
            x, y = column * 4 + 2, row * 4 + 2
            edges = torch.tensor([x - left, y - top, right - x, bottom - y]) / 8
            maps[n, 0, row, column] = 20
            maps[n, 1:5, row, column] = edges
            maps[n, 5 + int(label), row, column] = 20
    return maps


TRUTH = torch.tensor(
    [
        [[3.0, 2, 4, 14, 20], [7, 26, 25, 40, 44], [-1] * 5],
        [[0.0, 20, 4, 33, 18], [-1] * 5, [-1] * 5],
    ]
)


def test_decode_undoes_what_the_loss_asks_for():
    objects = [boxes[boxes[:, 0] >= 0].tolist() for boxes in TRUTH]
    maps = maps_of(objects)
    assert float(detection.detection_loss(maps, TRUTH)) < 1e-3
    found = detection.decode(maps)
    truth = [np.array(boxes) for boxes in objects]
    assert detection.mean_average_precision(found, truth, (0.5, 0.95)) == 1
    best = [f[f[:, 1] > 0.5] for f in found]
    assert [len(b) for b in best] == [2, 1]
    assert np.allclose(best[1][0, 2:], truth[1][0, 1:])
    spoiled = maps.clone()
    spoiled[:, 1:5] += 2  # negative control: edges 16 pixels too far out
    assert float(detection.detection_loss(spoiled, TRUTH)) > 1
    assert detection.mean_average_precision(detection.decode(spoiled), truth) < 0.5


def test_suppression_drops_the_weaker_of_one_class_only():
    boxes = np.array([box(0, 0, 0, 0.9), box(0, 1, 1, 0.8), box(1, 1, 1, 0.7), box(0, 30, 0, 0.6)])
    kept = detection._suppressed(boxes, 0.5)
    assert kept[:, 1].tolist() == [0.9, 0.7, 0.6]


def test_frechet_equals_scipy_and_the_closed_form():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(400, 6)), rng.normal(0.3, 1.5, (300, 6)) @ rng.normal(size=(6, 6))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.trace(sqrtm(cov_a @ cov_b).real)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b) - 2 * root
    assert diffusion.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert diffusion.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert diffusion.frechet_distance(a, a + 2) == pytest.approx(24, rel=1e-9)  # 6 x 2^2
    one = a[:, :1]
    assert diffusion.frechet_distance(one, 3 * one) == pytest.approx(
        4 * (one.mean() ** 2 + one.var(ddof=1)), rel=1e-9
    )


def test_noise_keeps_the_schedule():
    x, noise = torch.ones(3, 1, 4, 4), torch.full((3, 1, 4, 4), -1.0)
    made = diffusion.add_noise(x, noise, torch.tensor([0.0, 0.5, 1.0]))
    angles = [0, 0.98 * math.pi / 4, 0.98 * math.pi / 2]
    for item, angle, level in zip(made, angles, (0, 0.5, 1), strict=True):
        assert torch.allclose(item[0], torch.tensor(math.cos(angle) - math.sin(angle)).float())
        assert (item[1] == level).all()


def test_sampling_with_the_true_noise_returns_the_image():
    """A model that knows the image predicts the noise exactly; every path then ends there."""
    image = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8

    def oracle(x):
        angle = x[:, 1:] * 0.98 * math.pi / 2
        return (x[:, :1] - torch.cos(angle) * image) / torch.sin(angle)

    noise = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    for steps in (1, 7, 20):
        made = diffusion.ddim_sample(oracle, noise, steps)
        assert torch.allclose(made, image, atol=1e-4)
    wrong = diffusion.ddim_sample(lambda x: oracle(x) + 0.3, noise, 20)  # negative control
    assert diffusion.sample_distance(wrong, image) > 1e-4


def test_diffusion_figures_are_zero_only_for_the_same_model():
    def model(x):
        return 0.9 * x[:, :1]

    def other(x):
        return 0.5 * x[:, :1]

    def features(x):
        return x[:, 0, :2, :2].flatten(1)

    same = diffusion_figures(model, model, features, count=64, steps=4)
    assert same["sample_mse"] == 0
    assert same["frechet"] < 1e-9
    differs = diffusion_figures(other, model, features, count=64, steps=4)
    assert differs["sample_mse"] > 1e-4
    assert differs["frechet"] > 1e-3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: outputs.accuracy(LOGITS, LABELS[:5]), "accuracy: logits"),
        (lambda: outputs.agreement(LOGITS, LOGITS[:, :2]), "one shape"),
        (lambda: outputs.kl_divergence(LOGITS[:0], LOGITS[:0]), "one shape"),
        (lambda: language.perplexity(LOGITS, LABELS[:, :1]), "perplexity: logits"),
        (lambda: segmentation.confusion(LABELS, LABELS[:1], 5), "masks of shape"),
        (lambda: segmentation.confusion(LABELS + 1, LABELS, 5), "outside 0..4"),
        (lambda: segmentation.confusion(LABELS - 9, LABELS, 5), "outside 0..4"),
        (lambda: detection.mean_average_precision([], []), "equally many"),
        (
            lambda: detection.mean_average_precision([EMPTY], [EMPTY]),
            "no obj",
        ),
        (lambda: diffusion.frechet_distance(np.zeros((1, 3)), np.zeros((4, 3))), "n >= 2"),
        (lambda: diffusion.sample_distance(torch.zeros(2, 1), torch.zeros(1, 1)), "one shape"),
        (lambda: diffusion.ddim_sample(lambda x: x, torch.zeros(1, 1, 2, 2), 0), "at least 1"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
