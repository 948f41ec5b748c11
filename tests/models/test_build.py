"""From a schema and options to a model: what is chosen, what is refused, and the data's statistics."""

import math

import numpy as np
import pytest
import torch

from backstory.data.schema import Schema
from backstory.distributions.self_masked import SIGNS
from backstory.errors import InputError
from backstory.models import build, registry
from backstory.models.defaults import default_schedule, resolve
from backstory.models.networks.mlp import ACTIVATIONS
from backstory.models.statistics import data_statistics
from backstory.options import MixturePrior, ModelOptions, Student, TrainOptions, catalogue
from backstory.options.choices import CHOICES
from backstory.training import schedule


def images(*shape, levels=None, maximum=None, dtype="uint8"):
    return Schema(kind="images", shape=shape, dtype=dtype, levels=levels, maximum=maximum)


def table(columns, **kwargs):
    names = tuple(f"c{i}" for i in range(columns))
    return Schema(kind="table", shape=(columns,), dtype="float64", columns=names, **kwargs)


def array(*shape, dtype="float32", **kwargs):
    return Schema(kind="array", shape=shape, dtype=dtype, **kwargs)


GREY = images(28, 28, levels=256, maximum=255)
FLOATS = images(28, 20, maximum=1.0, dtype="float32")
DIGITS = images(8, 8, levels=17, maximum=16)
BINARY = images(28, 28, levels=2, maximum=255)

# schema, likelihood, network, latent, presentation
AUTO = {
    "digits": (DIGITS, "logistic", "mlp", 16, "exact"),
    "binary images": (BINARY, "bernoulli", "mlp", 40, "exact"),
    "grey images": (GREY, "logistic", "mlp", 40, "exact"),
    "colour images": (
        images(64, 64, 3, levels=256, maximum=255),
        "logistic-mixture",
        "resnet",
        64,
        "exact",
    ),
    "float images": (FLOATS, "gaussian", "mlp", 40, "exact"),
    "large float images": (images(40, 40, maximum=1.0, dtype="float32"), "gaussian", "resnet", 64, "exact"),
    "a narrow strip": (images(4, 300, levels=256, maximum=255), "logistic", "mlp", 64, "exact"),
    "a table": (table(11), "gaussian-per-entry", "mlp", 5, "exact"),
    "one column": (table(1), "gaussian-per-entry", "mlp", 1, "exact"),
    "a wide table": (table(500), "gaussian-per-entry", "mlp", 16, "exact"),
    "a binary table": (table(20, levels=2, maximum=1), "bernoulli", "mlp", 10, "exact"),
    "an array": (array(3, 4, 5, 6), "gaussian-per-entry", "mlp", 16, "exact"),
    "counts": (array(12, dtype="int64", levels=9, maximum=8), "logistic", "mlp", 6, "exact"),
}


@pytest.mark.parametrize(
    ("schema", "likelihood", "network", "latent", "presentation"), AUTO.values(), ids=AUTO
)
def test_what_auto_chooses(schema, likelihood, network, latent, presentation):
    presented, options = resolve(schema, ModelOptions())
    assert (options.likelihood.name, options.network.name, options.latent) == (likelihood, network, latent)
    assert presented.presentation == presentation
    assert presented.model_copy(update={"presentation": "exact"}) == schema
    assert all(v is not None for k, v in options.flat().items() if k != "sigma_floor")
    # The choice stands when it is given back
    assert resolve(schema, options) == (presented, options)
    vae = build.build(presented, options)
    x = presented.prepare(np.zeros((2, *schema.shape), schema.dtype))
    assert torch.isfinite(vae.terms(x).log_weight).all()
    lines = build.describe(presented, options)
    assert all(word in "\n".join(lines) for word in (likelihood, network, str(latent)))


PRESENTED = [
    (GREY, "bernoulli", "binarised", "binarised at random"),
    (DIGITS, "bernoulli", "binarised", "binarised at random"),
    (FLOATS, "bernoulli", "binarised", "binarised at random"),
    (BINARY, "bernoulli", "exact", "bernoulli"),
    (GREY, "gaussian", "dequantised", "dequantised"),
    (BINARY, "gaussian-predicted", "dequantised", "dequantised"),
    (FLOATS, "gaussian", "exact", "gaussian"),
    (GREY, "logistic", "exact", "256 levels"),
    (DIGITS, "categorical", "exact", "17 levels"),
]


@pytest.mark.parametrize(("schema", "likelihood", "presentation", "words"), PRESENTED)
def test_how_data_is_presented_and_that_it_is_said(schema, likelihood, presentation, words):
    presented, options = resolve(schema, ModelOptions(likelihood=likelihood))
    assert presented.presentation == presentation
    assert words in "\n".join(build.describe(presented, options))


REFUSED = [
    (DIGITS, {"likelihood": "gausian"}, r"likelihood is one of .*, got 'gausian'; did you mean 'gaussian'"),
    (DIGITS, {"likelihood": "bernouli"}, r"did you mean 'bernoulli'"),
    (DIGITS, {"network": "mpl"}, r"network is one of .*, got 'mpl'; did you mean 'mlp'"),
    (DIGITS, {"network": "convolutional"}, r"did you mean 'conv'"),
    (DIGITS, {"posterior": "deltas"}, r"posterior is one of .*did you mean 'delta'"),
    (DIGITS, {"prior": "mixtures"}, r"prior is one of .*did you mean 'mixture'"),
    (DIGITS, {"network": "plain", "activation": "rellu"}, r"activation is one of .*did you mean 'relu'"),
    (DIGITS, {"latent": 0}, r"latent has to be at least 1, got 0"),
    (DIGITS, {"prior": "mixture", "components": -1}, r"components has to be at least 1, got -1"),
    (DIGITS, {"hidden": (30, 0)}, r"hidden widths have to be at least 1, got \(30, 0\)"),
    (table(3), {"network": "conv"}, r"conv needs images; use mlp"),
    (table(3), {"network": "resnet"}, r"resnet needs images; use mlp"),
    (
        images(3, 40, levels=256, maximum=255),
        {"network": "conv"},
        r"conv needs images of at least 4 × 4, got",
    ),
    (
        table(3),
        {"likelihood": "bernoulli"},
        r"bernoulli needs binary data .* got table data .*; use a gaussian",
    ),
    (array(3), {"likelihood": "bernoulli"}, r"bernoulli needs binary data .* got array data"),
    (
        table(3),
        {"likelihood": "categorical"},
        r"categorical needs integer levels, got continuous .*; use a gauss",
    ),
    (
        FLOATS,
        {"likelihood": "logistic"},
        r"logistic needs integer levels, got continuous data of type float32",
    ),
    (
        table(3),
        {"sigma": 0.1},
        r"likelihood gaussian-per-entry has no sigma; gaussian-fixed has it",
    ),
    (table(3), {"likelihood": "gaussian-fixed"}, r"gaussian-fixed needs sigma"),
    (
        table(3),
        {"likelihood": "student", "sigma_floor": 0.1},
        r"student has no sigma_floor; gaussian, gaussian-per-entry and",
    ),
    (
        DIGITS,
        {"network": "linear", "hidden": (10,)},
        r"linear has no hidden; mlp, residual and plain have it",
    ),
    (DIGITS, {"network": "conv", "hidden": (10,)}, r"conv has no hidden; mlp, residual and plain have it"),
    (
        DIGITS,
        {"network": "conv", "activation": "relu"},
        r"conv has no activation; residual and plain have it",
    ),
    (DIGITS, {"hidden": (10,), "activation": "relu"}, r"mlp has no activation; residual and plain have it"),
    (DIGITS, {"network": "mlp", "width": 8}, r"network mlp has no width; conv, resnet and ladder have it"),
    (DIGITS, {"components": 3}, r"prior normal has no components; mixture has it"),
    (DIGITS, {"prior": MixturePrior(components=4), "components": 3}, r"components was given twice"),
    (DIGITS, {"prior": Student()}, r"expected a prior, got likelihood student"),
    (GREY, {"missingness": "self"}, r"likelihood logistic has no missingness; gaussian, .* have it"),
    (
        table(3),
        {"missingness": "self"},
        r"missingness self is learned from missing entries, got data without",
    ),
    (table(3), {"sigma_floor": 0.0}, r"sigma_floor has to be positive, got 0"),
    (table(3), {"likelihood": "gaussian-fixed", "sigma": 0.0}, r"sigma has to be positive, got 0"),
    (table(3), {"likelihood": "gaussian-fixed", "sigma": -1.0}, r"sigma has to be positive, got -1"),
    (table(3), {"likelihood": "gaussian-fixed", "sigma": math.nan}, r"sigma has to be positive, got nan"),
    (table(3), {"likelihood": "gaussian-fixed", "sigma": math.inf}, r"sigma has to be positive, got inf"),
    (table(3), {"bounded": True}, r"bounded means belong to .* got likelihood gaussian-per-entry .*table"),
    (GREY, {"bounded": True}, r"likelihood logistic has no bounded; gaussian, .* have it"),
]


@pytest.mark.parametrize(("schema", "options", "message"), REFUSED)
def test_what_is_refused_in_one_sentence(schema, options, message):
    with pytest.raises(InputError, match=message) as caught:
        resolve(schema, ModelOptions(**options))
    text = str(caught.value)
    assert "\n" not in text
    assert ". " not in text
    assert not text.endswith(".")


@pytest.mark.parametrize(
    ("kind", "values", "name"),
    [
        (ModelOptions, {"latent": "many"}, "latent"),
        (ModelOptions, {"latent": 2.5}, "latent"),
        (ModelOptions, {"hidden": ("a",)}, "hidden"),
        (ModelOptions, {"network": "plain", "hidden": ("a",)}, "hidden"),
        (ModelOptions, {"sigma": "small"}, "sigma"),
        (ModelOptions, {"likelihood": "gaussian-fixed", "sigma": "small"}, "sigma"),
        (ModelOptions, {"storeys": 3}, "storeys"),
        (TrainOptions, {"epochs": 1.5}, "epochs"),
        (TrainOptions, {"lr": "fast"}, "lr"),
        (TrainOptions, {"seed": None}, "seed"),
    ],
)
def test_options_of_the_wrong_type(kind, values, name):
    with pytest.raises(InputError, match=rf"^{name}.*, got ") as caught:
        kind(**values)
    assert "\n" not in str(caught.value)


# -- weights ----------------------------------------------------------------------------------------------

NETWORKS = ["mlp", "residual", "plain", "conv", "resnet", "linear"]


def weights(seed, network="mlp", prior="mixture"):
    schema, options = resolve(DIGITS, ModelOptions(network=network, prior=prior, latent=2))
    return build.build(schema, options, seed).state_dict()


@pytest.mark.parametrize("network", NETWORKS)
def test_initial_weights_depend_on_the_seed_alone(network):
    state = torch.get_rng_state()
    try:
        torch.manual_seed(1)
        first = weights(7, network)
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = weights(7, network)
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_rng_state(state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights(8, network)
    assert not torch.equal(
        first["decoder.layers.0.weight" if network == "linear" else "prior_module.means"],
        other["decoder.layers.0.weight" if network == "linear" else "prior_module.means"],
    )


def test_hidden_widths_are_mirrored():
    schema, options = resolve(DIGITS, ModelOptions(network="plain", hidden=(32, 8), latent=2))
    vae = build.build(schema, options)
    assert [m.out_features for m in vae.encoder.modules() if isinstance(m, torch.nn.Linear)] == [32, 8, 4]
    assert [m.in_features for m in vae.decoder.modules() if isinstance(m, torch.nn.Linear)] == [2, 8, 32]


@pytest.mark.parametrize(
    ("schema", "sigma"),
    [(GREY, 0.1 * 255), (FLOATS, 0.1), (DIGITS, 0.1 * 16), (table(3), [0.1, 0.2, 0.3])],
)
def test_fixed_sigma_is_a_fraction_of_the_range_or_of_a_columns_deviation(schema, sigma):
    schema, options = resolve(schema, ModelOptions(likelihood="gaussian-fixed", sigma=0.1, network="linear"))
    scale = torch.tensor(7.0) if schema.kind == "images" else torch.tensor([1.0, 2.0, 3.0])
    vae = build.build(schema, options, statistics=(torch.zeros(()), scale))
    std = vae.decode(torch.zeros(1, options.latent)).std[0]
    torch.testing.assert_close(std, torch.as_tensor(sigma).expand(schema.shape))


@pytest.mark.parametrize(("schema", "full"), [(GREY, 255.0), (DIGITS, 16.0), (FLOATS, 1.0)])
@pytest.mark.parametrize(("network", "bounded"), [("mlp", True), ("linear", False)])
def test_means_of_images_lie_within_their_range_where_the_network_is_not_affine(
    schema, full, network, bounded
):
    schema, options = resolve(schema, ModelOptions(likelihood="gaussian", network=network, latent=2))
    assert options.likelihood.bounded is bounded
    vae = build.build(schema, options, statistics=(torch.tensor(full / 3), torch.tensor(full / 4)))
    mean = vae.decode(1e4 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))).mean.detach()
    inside = (mean >= 0) & (mean <= full)
    assert bool(inside.all()) is bounded
    assert float(mean.max()) > 0.99 * full


# -- statistics -------------------------------------------------------------------------------------------


def statistics(values, schema, **options):
    schema, _ = resolve(schema, ModelOptions(**options))
    return tuple(s.numpy() for s in data_statistics(values, schema))


@pytest.mark.parametrize("rows", [2, 100, 10_000])
def test_statistics_of_columns(rows):
    values = np.random.default_rng(0).normal([5, -300, 0], [0.1, 50, 1e-3], (rows, 3))
    location, scale = statistics(values, table(3))
    np.testing.assert_allclose(location, values.mean(0), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(scale, values.std(0), rtol=1e-5)


def test_statistics_of_images_are_one_pair():
    values = np.random.default_rng(0).integers(0, 256, (5000, 28, 28), dtype=np.uint8)
    location, scale = statistics(values, GREY, likelihood="logistic")
    assert location.shape == scale.shape == ()
    np.testing.assert_allclose([location, scale], [values.mean(), values.std()], rtol=1e-6)


def test_statistics_of_levels_are_in_levels():
    """Stored 0 and 255 are the levels 0 and 1."""
    values = np.where(np.random.default_rng(0).random((200, 28, 28)) < 0.3, 255, 0).astype(np.uint8)
    location, scale = statistics(values, BINARY)
    np.testing.assert_allclose([location, scale], [(values / 255).mean(), (values / 255).std()], rtol=1e-5)


@pytest.mark.parametrize(("schema", "top"), [(GREY, 255), (DIGITS, 16)])
def test_statistics_of_binarised_images_are_those_of_the_draws(schema, top):
    rng = np.random.default_rng(0)
    values = rng.integers(0, top + 1, (300, *schema.shape), dtype=np.uint8)
    location, scale = statistics(values, schema, likelihood="bernoulli")
    presented, _ = resolve(schema, ModelOptions(likelihood="bernoulli"))
    draws = presented.prepare(values, torch.Generator().manual_seed(0))
    assert float(location) == pytest.approx(float(draws.mean()), abs=0.02)
    assert float(scale) == pytest.approx(float(draws.std()), abs=0.02)
    p = values.mean() / top
    np.testing.assert_allclose([location, scale], [p, math.sqrt(p * (1 - p))], rtol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 1.0, -3.7, 1e6, 1e-6])
def test_a_constant_column_has_scale_one(constant):
    values = np.stack([np.full(50, constant), np.arange(50.0)], 1)
    location, scale = statistics(values, table(2))
    np.testing.assert_allclose(location[0], constant, rtol=1e-6)
    assert scale[0] == 1
    np.testing.assert_allclose(scale[1], values[:, 1].std(), rtol=1e-6)


def test_small_columns_far_from_zero_keep_their_scale():
    rng = np.random.default_rng(0)
    values = np.stack([2020 + rng.random(1000), 1e-9 * rng.random(1000)], 1)
    _, scale = statistics(values, table(2))
    np.testing.assert_allclose(scale, values.std(0), rtol=1e-4)


def test_a_prior_of_bounded_support_is_refused_with_the_reason():
    with pytest.raises(InputError, match=r"KL.* is infinite; use prior normal or mixture"):
        resolve(GREY, ModelOptions(prior="uniform"))


def test_a_record_without_a_builder_is_not_taken_for_another(monkeypatch):
    """Where something new is only half added."""
    monkeypatch.delitem(registry.BUILDERS, Student)
    monkeypatch.delitem(registry.BUILDERS, MixturePrior)
    for name in ({"likelihood": "student"}, {"prior": "mixture"}):
        schema, options = resolve(table(3), ModelOptions(**name))
        with pytest.raises(NotImplementedError, match=next(iter(name.values()))):
            build.build(schema, options)


def test_every_choice_has_a_builder():
    for group in ("likelihood", "network", "prior", "posterior"):
        assert all(record in registry.BUILDERS for record in CHOICES[group].values())


def test_hidden_layers_of_a_large_image_are_those_of_a_fully_connected_network():
    large = images(64, 64, levels=256, maximum=255)
    assert resolve(large, ModelOptions())[1].network.name == "resnet"
    assert resolve(large, ModelOptions(hidden=(30,)))[1].network.name == "mlp"


@pytest.mark.parametrize(
    ("shape", "likelihood", "batch"),
    [
        ((64, 64, 3), "logistic-mixture", 32),
        ((64, 64, 4), "logistic-mixture", 32),
        ((64, 64, 5), "logistic", 32),
        ((64, 64), "logistic", 32),
        ((128, 128, 3), "logistic-mixture", 8),
        ((256, 256), "logistic", 8),
        ((28, 28), "logistic", None),
    ],
)
def test_defaults_of_images_follow_their_size_and_channels(shape, likelihood, batch):
    schema, options = resolve(images(*shape, levels=256, maximum=255), ModelOptions())
    assert options.likelihood.name == likelihood
    assert options.network.name == ("mlp" if batch is None else "resnet")
    assert options.network.values.get("depth", 0) == 0
    assert default_schedule(schema, options).batch_size == batch


def test_the_width_of_convolutions_is_that_of_the_option():
    schema, options = resolve(GREY, ModelOptions(network="conv", width=8, latent=2))
    vae = build.build(schema, options)
    first = next(m for m in vae.encoder.modules() if isinstance(m, torch.nn.Conv2d))
    last = [m for m in vae.decoder.modules() if isinstance(m, torch.nn.ConvTranspose2d)][-1]
    assert (first.out_channels, last.in_channels) == (8, 8)


@pytest.mark.parametrize(
    ("schema", "options", "gaps", "objective"),
    [
        (table(11), {}, False, "elbo"),
        (table(11), {}, True, "iwae"),
        (table(11), {"incomplete": True}, False, "elbo"),
        (table(11), {"posterior": "delta"}, True, "elbo"),
        (array(11), {"likelihood": "student"}, True, "iwae"),
        (table(11), {"network": "linear"}, True, "iwae"),
        (FLOATS, {}, True, "elbo"),
    ],
)
def test_tables_with_gaps_are_trained_by_the_bound_with_many_draws(schema, options, gaps, objective):
    defaults = default_schedule(*resolve(schema, ModelOptions(**options), gaps), gaps)
    training = schedule.resolve(TrainOptions(), 100, defaults)
    short = objective == "iwae" and options.get("network") != "linear"
    if short:
        assert training.epochs == training.patience == 150  # to its end, though the best weights are kept
    else:
        assert training.patience == training.epochs // 5
    expected = (objective, 20, 0.995) if objective == "iwae" else (objective, 1, None)
    assert (training.objective.name, training.samples, training.ema) == expected
    asked = schedule.resolve(TrainOptions(objective="elbo", ema=0.9), 100, defaults)
    assert (asked.objective.name, asked.samples, asked.ema) == ("elbo", 1, 0.9)
    assert schedule.resolve(TrainOptions(samples=5), 100, defaults).samples == 5


@pytest.mark.parametrize(
    ("schema", "options", "gaps", "likelihood", "floor", "keep"),
    [
        (table(11), {}, True, "gaussian-predicted", 0.2, "last"),
        (table(11), {"sigma_floor": 0.5}, True, "gaussian-predicted", 0.5, "last"),
        (table(11), {"missingness": "self"}, True, "gaussian-predicted", 0.2, "last"),
        (table(11), {"likelihood": "gaussian-predicted"}, True, "gaussian-predicted", None, "best"),
        (table(11), {"network": "linear"}, True, "gaussian-per-entry", None, "best"),
        (table(11), {}, False, "gaussian-per-entry", None, "best"),
    ],
)
def test_numbers_with_gaps_have_a_width_with_a_floor(schema, options, gaps, likelihood, floor, keep):
    resolved = resolve(schema, ModelOptions(**options), gaps)
    decided = resolved[1].likelihood
    assert (decided.name, decided.sigma_floor) == (likelihood, floor)
    defaults = default_schedule(*resolved, gaps)
    assert schedule.resolve(TrainOptions(), 100, defaults).keep == keep
    assert schedule.resolve(TrainOptions(patience=3), 100, defaults).keep == "best"
    with pytest.raises(InputError, match=r"patience waits for a better epoch, got 3 with keep last"):
        schedule.resolve(TrainOptions(patience=3, keep="last"), 100, defaults)


def test_words_of_the_options_are_those_of_the_modules():
    words = {option.name: list(option.words) for option in catalogue.options()}
    assert words["activation"] == list(ACTIVATIONS)
    assert words["missingness"] == ["random", *SIGNS]
