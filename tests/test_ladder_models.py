"""All that a model does, where z is a ladder of groups in feature maps of 8 × 8 images."""

import json

import numpy as np
import pytest
import torch
from interrupting import interrupted_at
from sklearn.datasets import load_digits

import backstory
from backstory import InputError
from backstory.cli.main import main
from backstory.inference.effort import METHODS
from backstory.inference.moments import posterior_moments
from backstory.opening import unpack

GROUPS = "1x4x4,1x4x4,3"
UNITS = 35
SMALL = {"latent": GROUPS, "width": 4, "epochs": 2, "progress": False, "device": "cpu", "compile": False}
QUICK = {"proposals": 50, "steps": 12, "gradient_draws": 2, "chains": 3, "temperatures": 3, "transitions": 6}


def digits():
    return load_digits().images[:120].astype(np.uint8)


def with_holes():
    values = digits().astype(np.float32) / 16
    return np.where(np.random.default_rng(1).random(values.shape) < 0.3, np.float32("nan"), values)


CASES = {
    "levels": (digits, {}),
    "with holes": (with_holes, {"objective": "iwae", "samples": 3}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A model, and a few observations as it takes them."""
    make, options = CASES[request.param]
    model = backstory.fit(make(), **SMALL, **options)
    return model, backstory.load(make(), schema=model.schema).values[:6]


def same(a, b):
    torch.testing.assert_close(a, b, equal_nan=True)


def test_codes_are_packed_and_unpacked(case):
    model, x = case
    q = model.encode(x)
    z = q.sample(2000, torch.Generator().manual_seed(0))
    assert z.shape == (2000, 6, UNITS)
    assert not z.requires_grad
    shapes = {name: tuple(part.shape) for name, part in model.vae.latents.unpack(z[0]).items()}
    assert shapes == {"z3": (6, 3), "z2": (6, 1, 4, 4), "z1": (6, 1, 4, 4)}
    torch.testing.assert_close(posterior_moments(q).std, z.std(0), rtol=0.25, atol=0)
    one = model.encode(x[3:4])
    same(one.centre, q.centre[3:4])
    torch.testing.assert_close(one.log_prob(z[:3, 3:4]), q.log_prob(z[:3])[:, 3:4], rtol=1e-5, atol=1e-4)
    together = q.select(slice(0, 2)).joined([q.select(torch.tensor([2, 3])), q.select(slice(4, 6))])
    torch.testing.assert_close(together.log_prob(z[:3]), q.log_prob(z[:3]), rtol=1e-5, atol=1e-4)


def test_samples_have_a_temperature_for_each_level(case):
    model, _ = case
    assert model.sample(3, seed=1).shape == (3, 8, 8)
    cold = model.sample(3, mean=True, temperature=0.0, seed=1)
    np.testing.assert_array_equal(cold[0], cold[1])
    means = model.sample(3, mean=True, temperature=(0.7, 0.7, 0.7), seed=1)
    np.testing.assert_allclose(means, model.sample(3, mean=True, temperature=0.7, seed=1), rtol=1e-5)
    below = model.vae.prior().tempered(
        model.vae.latents.spread((0.0, 1.0, 1.0), model.vae.shift), 4, torch.Generator().manual_seed(0)
    )
    *_, nearest = model.vae.prior().conditionals(below)
    torch.testing.assert_close(nearest.mean, below[:, -16:])
    with pytest.raises(InputError, match="one for each level of z, 3 of this model, got 2"):
        model.sample(2, temperature=(0.5, 1.0))
    with pytest.raises(InputError, match="temperature has to be 0 or more, got -1"):
        model.sample(2, temperature=(0.5, -1.0, 1.0))


def test_evidence_does_not_depend_on_chunks_or_company(case, short_burn_in):
    model, x = case
    whole, parts = (model.log_evidence(x, 70, chunk=chunk) for chunk in (None, 5))
    torch.testing.assert_close(whole.log_evidence, parts.log_evidence, rtol=1e-5, atol=1e-4)
    annealing = {"method": "ais", "samples": 2, "steps": 3}
    whole, alone = (model.log_evidence(rows, **annealing) for rows in (x[:2], x[:1]))
    torch.testing.assert_close(whole.log_evidence[:1], alone.log_evidence, rtol=1e-4, atol=1e-3)
    found = model.evaluate(x, 20)
    assert found.reconstruction - found.kl == pytest.approx(found.elbo)
    assert list(found.kl_per_level) == ["z1", "z2", "z3"]
    assert min(found.kl_per_level.values()) >= 0
    np.testing.assert_allclose(
        model.score(x, reference=x).log_evidence[2:3],
        model.score(x[2:3], reference=x).log_evidence,
        rtol=1e-5,
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_restores_a_row_whatever_its_company(case, method):
    model, x = case
    operator = None if model.incomplete else backstory.Mask(np.arange(64).reshape(8, 8) >= 32)
    y = np.array(x, dtype=float) if model.incomplete else x
    if model.incomplete:
        y[:, :4] = np.nan
    found, alone = (
        model.restore(y[rows], operator, 3, method, seed=2, **QUICK) for rows in (slice(0, 3), [0])
    )
    assert found.codes.shape == (3, 3, UNITS)
    assert np.isfinite(found.mean).all()
    np.testing.assert_allclose(found.mean[:1], alone.mean, rtol=1e-3, atol=1e-2)


def test_it_is_saved_and_opened(case, tmp_path):
    model, x = case
    opened = backstory.open(model.save(tmp_path / "run"), "cpu")
    for other in (opened, unpack(model.pack(), "cpu")):
        assert other.options == model.options
        same(other.encode(x).centre, model.encode(x).centre)
        same(other.log_evidence(x, 20).log_evidence, model.log_evidence(x, 20).log_evidence)
        np.testing.assert_array_equal(other.sample(2, seed=3), model.sample(2, seed=3))


@pytest.mark.parametrize(
    "network", [{}, {"network": "conv", "latent": 3}, {"network": "resnet", "latent": 3}]
)
def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(network, tmp_path, monkeypatch):
    """Also of the other convolutional networks, with weights in another order in memory than in a file."""
    options = {**SMALL, **network, "epochs": 3, "batch_size": 32}
    whole = backstory.fit(digits(), **options)
    with interrupted_at(6, monkeypatch):
        model = backstory.fit(digits(), tmp_path / "run", checkpoint_every=1e6, **options)
    assert model.summary["stopped"] == "interrupted"
    backstory.fit(digits(), tmp_path / "run", resume=True, progress=False)
    again = backstory.open(tmp_path / "run", "cpu")
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[name], value), name


@pytest.mark.slow
def test_the_compiled_step_is_the_step():
    options = {**SMALL, "epochs": 1}
    plain, compiled = (backstory.fit(digits(), **{**options, "compile": c}) for c in (False, True))
    for name, value in plain.vae.state_dict().items():
        torch.testing.assert_close(compiled.vae.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_conditions_go_into_the_encoder_and_the_decoder():
    labels = load_digits().target[:120]
    model = backstory.fit(digits(), given=labels, **{**SMALL, "epochs": 1})
    assert model.sample(4, given={"class": 3}, seed=0).shape == (4, 8, 8)
    with torch.no_grad():
        for layer in (model.vae.decoder.given, *model.vae.encoder.given):
            layer.weight.fill_(1.0)
    means = [model.sample(2, mean=True, given={"class": level}, seed=0) for level in (1, 2)]
    assert means[0].shape == means[1].shape
    assert np.isfinite(model.log_evidence(digits()[:3], 5, given={"class": labels[:3]}).log_evidence).all()


def test_another_prior_may_take_the_place_of_its_own():
    model = backstory.fit(digits(), **SMALL)
    before = model.log_evidence(digits()[:4], 20).log_evidence
    model.fit_prior(digits(), components=2)
    after = model.log_evidence(digits()[:4], 20).log_evidence
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


def test_the_metrics_have_the_divergence_of_each_level(tmp_path):
    for validation in (0.2, 0):
        run = tmp_path / str(validation)
        backstory.fit(digits(), run, validation=validation, **SMALL)
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
            assert len(line["kl_per_level"]) == 3
            assert len(line["kl_per_unit"]) == UNITS
            assert sum(line["kl_per_level"]) == pytest.approx(sum(line["kl_per_unit"]), rel=1e-4)
            if validation:
                assert sum(line["kl_per_level"]) == pytest.approx(line["validation_kl"], rel=1e-4)


@pytest.mark.slow
def test_ten_seeds_stay_finite():
    for seed in range(10):
        model = backstory.fit(digits(), **{**SMALL, "epochs": 1, "lr": 1e-2}, seed=seed, validation=0)
        assert np.isfinite(model.summary["elbo"])


def test_the_command_line(tmp_path, capsys):
    file, home, out = tmp_path / "x.npy", tmp_path / "run", tmp_path / "out.npy"
    np.save(file, digits())
    fast = ["--epochs", "2", "--no-compile", "--width", "4"]
    assert main(["fit", str(file), "-o", str(home), "--latent", GROUPS, *fast]) == 0
    config = json.loads((home / "config.json").read_text())
    assert config["model"]["hierarchy"] == [[1, 4, 4], [1, 4, 4], 3]
    assert backstory.open(home, "cpu").options.network.name == "ladder"
    data = str(file)
    for command in (
        ["sample", str(home), "-n", "3", "-o", str(out), "--temperature", "0.7,0.8,1"],
        ["evaluate", str(home), data, "--samples", "20", "--json"],
        ["encode", str(home), data, "-o", str(tmp_path / "z.npy")],
        ["info", str(home)],
    ):
        assert main(command) == 0, capsys.readouterr().err
    assert main(["sample", str(home), "-o", str(out), "--force", "--temperature", "0.7,1"]) == 2
    assert "temperature is one number, or one for each level of z" in capsys.readouterr().err
    assert main(["fit", data, "-o", str(tmp_path / "b"), "--latent", "2x5x5,3"]) == 2
    assert "images of 8 x 8 have feature maps of 4x4 for groups of z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"network": "conv"}, "a ladder has network ladder and posterior ladder, got network conv"),
        ({"posterior": "full"}, "a ladder has network ladder and posterior ladder"),
        ({"hierarchy": (3, 2)}, "latent with groups is another way to give hierarchy"),
        ({"hidden": (16,)}, "network ladder has no hidden"),
        ({"latent": "a,b"}, "latent has to be whole numbers, such as 64,32, or shapes of images"),
        ({"objective": "tcvae"}, "tcvae needs the density of each unit of z"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(options, says):
    with pytest.raises(InputError, match=says):
        backstory.fit(digits(), **{**SMALL, **options})


def test_a_ladder_trains_with_free_bits():
    options = {**SMALL, "epochs": 1, "objective": "free-bits", "objective_args": {"threshold": 2.0}}
    model = backstory.fit(digits(), **options)
    assert set(model.evaluate(digits(), 5).kl_per_level) == {"z1", "z2", "z3"}


@pytest.mark.slow
def test_free_bits_keep_each_level_in_use():
    options = {**SMALL, "epochs": 15, "lr": 5e-3, "batch_size": 50, "warmup": 0}
    plain = backstory.fit("digits", **options)
    free = backstory.fit("digits", objective="free-bits", objective_args={"threshold": 3.0}, **options)
    rows = load_digits().images[:200].astype(np.uint8)
    lowest, kept = (min(m.evaluate(rows, 5).kl_per_level.values()) for m in (plain, free))
    assert lowest < 0.2
    assert kept > 1.5


def test_a_ladder_is_for_images():
    with pytest.raises(InputError, match="network ladder needs images; use mlp for tables and arrays"):
        backstory.fit(np.random.default_rng(0).normal(size=(50, 4)), latent="1x4x4,2")
