"""The experiments of docs/theory.md in their quick setting, each with its claim; and the links of the pages.

The quick setting trains next to nothing, so that a claim is asserted where it holds exactly or by far; the
numbers in docs/theory.md come from the full one.
"""

import importlib
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from backstory.data.load import load
from backstory.models.vae import VAE

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("theory_*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.fixture
def experiment(monkeypatch, tmp_path, capsys):
    """Runs an experiment as its command does, in this process: its record and what it printed."""

    def run(name: str) -> tuple[Any, str]:
        monkeypatch.syspath_prepend(str(ROOT / "examples"))
        module, common = importlib.import_module(name), importlib.import_module("common")
        result = module.measure(quick=True)
        module.report(result)
        figure = module.draw(result)
        assert isinstance(figure, Figure)
        common.write(figure, tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 200, "the figure is blank"
        assert (tmp_path / "figure.png").stat().st_size < 150_000
        return result, capsys.readouterr().out

    return run


def test_prior_draws_of_an_autoencoder_are_poor_and_repaired_by_a_fitted_density(experiment):
    r, out = experiment("theory_1_generation")
    blind, fitted = r.frechet["autoencoder, z ~ N(0, I)"], r.frechet["autoencoder, fitted p(z)"]
    assert blind > 1.5 * fitted
    assert r.frechet["digits, other rows"] < fitted
    assert "this model is a plain autoencoder" in out


def test_em_draws_level_with_the_truth_and_a_vae_cannot_pass_it(experiment):
    r, _ = experiment("theory_2_em")
    for data, model in (("linear-Gaussian", "EM"), ("linear-Gaussian", "VAE"), ("mixture", "EM")):
        assert abs(r.value(data, model) - r.value(data, "the truth")) < 0.5
    for line in r.lines:
        if line.data == "mixture":
            assert line.log_evidence < r.value("mixture", "the truth") + 3 * line.error
        if line.elbo is not None:
            assert line.elbo < line.log_evidence + 1e-3


def test_evidence_is_elbo_plus_kl_and_the_joint_form_differs_by_the_entropy(experiment):
    r, _ = experiment("theory_3_identity")
    for m in r.moments:
        assert m.error < 1e-9
        assert m.minus_expected_elbo - m.joint_kl == pytest.approx(r.entropy, abs=1e-9)
    assert r.moments[-1].elbo > r.moments[0].elbo
    assert r.moments[-1].kl < r.moments[0].kl


def test_score_function_varies_more_than_reparameterisation_and_has_the_same_mean(experiment):
    r, _ = experiment("theory_4_gradients")
    best = np.array(r.variance["reparameterisation"])
    with_baseline, plain = (np.array(r.variance[f"score function{x}"]) for x in (", baseline", ""))
    assert (with_baseline > 5 * best).all()
    assert (plain > 10 * with_baseline).all()
    assert all(abs(z) < 4 for z in r.agreement.values())


def test_kl_is_the_sum_of_its_terms_and_of_four_other_computations(experiment):
    r, _ = experiment("theory_5_kl")
    for row in r.rows:
        kl = row["kl_per_unit"]
        for other in (row["½μ²"] + row["½(σ²−1)"] + row["−log σ"], row["torch"], row["quadrature"]):
            assert other == pytest.approx(kl, abs=1e-6)
        assert row["sampled"] == pytest.approx(kl, abs=5 * row["±"] + 1e-9)
    assert all(share > 0 and kl == math.inf for _, share, kl in r.outside)
    assert "is infinite; use prior" in r.refusal


def test_noise_of_the_code_falls_while_reconstruction_pulls(experiment):
    results, _ = experiment("theory_6_tug_of_war")
    for r in results.values():
        assert r.reconstruction[-1] > r.reconstruction[0]
        assert r.width.min() < r.width[0]
        assert r.error[-1] < r.error[0]


def test_familiar_losses_are_log_likelihoods_up_to_the_stated_constants(experiment):
    r, _ = experiment("theory_7_decoders")
    for _, _, log_likelihood, error in r.identities:
        assert error < 1e-3 < abs(log_likelihood)
    kl = [f.kl for f in r.fixed]
    assert kl == sorted(kl, reverse=True)
    assert r.learned.elbo > r.fixed[0].elbo


def test_only_an_affine_decoder_makes_p_of_x_gaussian(experiment):
    r, _ = experiment("theory_8_not_gaussian")
    rejected = {name: (p < 0.05).mean() for name, p in r.p_values.items()}
    assert rejected["p(x), affine decoder"] < 0.25
    assert rejected["p(x|z), non-linear decoder"] < 0.25
    assert rejected["p(x), non-linear decoder"] > 0.5


def test_draws_add_to_the_variance_that_the_rows_have_anyway(experiment):
    r, _ = experiment("theory_9_one_draw")
    variance = list(r.variance.values())
    assert variance == sorted(variance, reverse=True)
    assert 0 < r.from_rows < variance[-1]
    assert [run.draws for run in r.epochs] == [run.draws for run in r.time] == [1, 5, 25]


def test_the_command_prints_its_table_and_writes_its_figure(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    module, common = importlib.import_module("theory_5_kl"), importlib.import_module("common")
    monkeypatch.setattr(sys, "argv", ["examples/theory_5_kl.py", "--quick", "--out", str(tmp_path / "new")])
    common.main(module.measure, module.report, module.draw)
    assert "kl_per_unit" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["theory_5_kl.png"]


def test_trainer_starts_as_fit_does(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    common = importlib.import_module("common")
    digits, options = load("digits"), {"latent": 2, "hidden": (4,), "likelihood": "bernoulli"}
    training = {"epochs": 1, "warmup": 0}
    run = common.trainer(digits, options, training)
    run.run()
    model = common.fit(digits, **options, **training)
    assert isinstance(run.vae, VAE)
    for own, other in zip(run.vae.parameters(), model.vae.parameters(), strict=True):
        assert (own == other).all()


# -- pages ------------------------------------------------------------------------------------------------


def links(page: Path) -> list[tuple[str, str]]:
    """Text and target of each link and picture of a page that is not an address."""
    found = re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", page.read_text())
    return [(text, target) for text, target in found if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_functions_that_exist(page):
    for text, target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name}: {target}"
        if file.suffix == ".py" and text.startswith("`"):
            name = text.strip("`").split("(")[0].split(".")[-1]
            assert defined(name, file) or name == "py", f"{page.name}: {text} is not in {path}"


def anchors(page: Path) -> list[str]:
    """The headings of a page as they are linked to."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def defined(name: str, file: Path) -> bool:
    """Whether a file defines a function, class or constant of this name."""
    return bool(re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", file.read_text(), re.MULTILINE))


def test_every_experiment_is_in_the_textbook():
    text = (ROOT / "docs" / "theory.md").read_text()
    assert len(NAMES) == 9
    for name in NAMES:
        assert f"](images/{name}.png)" in text
        assert f"python examples/{name}.py" in text
        assert (ROOT / "docs" / "images" / f"{name}.png").stat().st_size < 150_000
