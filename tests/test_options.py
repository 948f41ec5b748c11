"""The options: each declared once, and everywhere that options are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from backstory.cli.fit import record_parameters
from backstory.errors import InputError
from backstory.objectives import registry as objectives
from backstory.options import (
    ConvNetwork,
    GaussianFixed,
    MixturePrior,
    ModelOptions,
    PlainNetwork,
    PriorOptions,
    Renyi,
    TrainOptions,
    given_options,
    sort_options,
)
from backstory.options.catalogue import options, page
from backstory.options.choices import CHOICES, NotRegistered, bounds, find, name_of
from backstory.options.given import model_names, train_names

DOCS = Path(__file__).parents[1] / "docs"
EVERY = options()


def test_the_records_need_nothing_slow():
    code = (
        "import sys, backstory.options.catalogue as c; c.page(); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- one declaration, many places -------------------------------------------------------------------------


def test_the_page_of_options_is_up_to_date():
    assert (DOCS / "options.md").read_text(encoding="utf-8") == page(), "python docs/render_options.py"


@pytest.mark.parametrize("option", EVERY, ids=lambda option: option.name)
def test_each_option_is_in_the_help_and_on_the_page(option):
    parameters = {parameter.name: parameter for parameter in record_parameters()}
    assert parameters[option.name].help == option.help
    assert parameters[option.name].rich_help_panel == option.panel
    assert option.field.description
    assert f"| `{option.name}` |" in page()
    assert all(f"`{word}`" in page() or word in page() for word in option.words)


def test_each_option_of_a_record_is_one_of_fit():
    names = {option.name for option in EVERY}
    assert names == {*model_names(), *train_names(), "preset"}
    for group, records in CHOICES.items():
        for name, record in records.items():
            assert record.help(), name
            assert name_of(record) == name
            for option, field in record.options().items():
                assert field.description, option
                assert option in names or group == "objective"


def test_each_option_is_in_the_config():
    for group, records in CHOICES.items():
        for name, record in records.items():
            needed = {option: 0.5 for option, field in record.options().items() if field.is_required()}
            if group == "objective":
                training = TrainOptions(objective=name, objective_args=needed)
                assert set(training.model_dump()["objective"]) == {"name", *record.options()}
            else:
                model = ModelOptions(**{group: name}, **needed)
                assert set(model.model_dump()[group]) == {"name", *record.options()}
    assert set(TrainOptions().model_dump()) == set(TrainOptions.model_fields)


def test_the_objectives_are_those_with_a_record_and_have_its_arguments():
    assert list(objectives.OBJECTIVES) == [
        name for name in objectives.OBJECTIVES if name in CHOICES["objective"]
    ]
    assert set(objectives.OBJECTIVES) == set(CHOICES["objective"])
    for name, record in CHOICES["objective"].items():
        own = [a for a in objectives.arguments(name) if a not in objectives.SUPPLIED]
        assert own == list(record.options())


# -- flat, records, JSON ----------------------------------------------------------------------------------

SAME = [
    ({"prior": "mixture", "components": 5}, {"prior": MixturePrior(components=5)}),
    ({"prior": "mixture"}, {"prior": MixturePrior()}),
    ({"prior": "mixture", "components": 5}, {"prior": {"name": "mixture", "components": 5}}),
    ({"likelihood": "gaussian-fixed", "sigma": 0.1}, {"likelihood": GaussianFixed(sigma=0.1)}),
    (
        {"network": "plain", "hidden": [8, 9], "activation": "silu"},
        {"network": PlainNetwork(hidden=(8, 9), activation="silu")},
    ),
    ({"network": "conv", "width": 8}, {"network": ConvNetwork(width=8), "hidden": None}),
    ({}, {"network": "auto", "likelihood": None, "prior": "normal"}),
]


@pytest.mark.parametrize(("flat", "records"), SAME, ids=str)
def test_flat_options_and_records_are_the_same(flat, records):
    model = ModelOptions(**flat)
    assert model == ModelOptions(**records)
    assert model == ModelOptions(**json.loads(model.model_dump_json()))
    assert model == ModelOptions(**model.flat())


def test_objectives_are_given_by_name_or_as_records():
    training = TrainOptions(objective="renyi", objective_args={"alpha": 0.25})
    assert training == TrainOptions(objective=Renyi(alpha=0.25))
    assert training == TrainOptions(**json.loads(training.model_dump_json()))
    assert training == TrainOptions(**training.flat())
    assert training.flat()["objective_args"] == {"alpha": 0.25}


def test_what_was_given_is_kept_flat_and_as_json_has_it():
    given = {"hidden": (8,), "prior": MixturePrior(components=5), "objective": Renyi(alpha=0.5), "lr": 0.1}
    asked = given_options(given)
    expected = {"hidden": [8], "prior": "mixture", "components": 5, "lr": 0.1}
    assert asked == {**expected, "objective": "renyi", "objective_args": {"alpha": 0.5}}
    assert sort_options(json.loads(json.dumps(asked))) == sort_options(given)


def test_options_that_do_not_exist():
    with pytest.raises(InputError, match=r"fit has no option 'hiden'; did you mean 'hidden'\?"):
        given_options({"hiden": (3,)})
    with pytest.raises(InputError, match=r"prior: expected a name or a record of its options, got 3"):
        ModelOptions(prior=3)
    with pytest.raises(NotRegistered, match=r"prior 'wide' is somewhere.Wide, which is not registered here"):
        ModelOptions(prior={"name": "wide", "path": "somewhere.Wide", "width": 3})
    with pytest.raises(InputError, match=rf"prior is one of {', '.join(CHOICES['prior'])}, got 'wide'"):
        find("prior", "wide")


def test_records_of_an_own_choice_have_bounds_in_words():
    class Own(PriorOptions):
        share: float = Field(0.5, ge=0, le=1, examples=[0.1])
        far: float = Field(0.5, lt=9)

    assert [bounds(field) for field in Own.options().values()] == ["between 0 and 1, such as 0.1", "below 9"]
    with pytest.raises(InputError, match=r"share has to be between 0 and 1, such as 0.1, got 2"):
        Own(name="own", share=2)


def test_values_of_another_type():
    assert ModelOptions(hidden=16) == ModelOptions(hidden=(16,))
    with pytest.raises(
        InputError, match=r"hierarchy has to be whole numbers, such as 64,32, or shapes .*, got 'x'"
    ):
        ModelOptions(hierarchy=["6", "x"])
    with pytest.raises(InputError, match=r"hierarchy has two levels or more, .*, got 6"):
        ModelOptions(hierarchy=6)
    with pytest.raises(InputError, match=r"latent has to be a whole number, got 'many'"):
        ModelOptions(latent="many")
    with pytest.raises(InputError, match=r"hidden has to be whole numbers, such as 64,32, got 1.5"):
        ModelOptions(hidden=1.5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"objective": "free-bits", "prior": "flow"}, "closed form, which prior flow does not have"),
        ({"objective": "free-bits", "posterior": "full"}, "which posterior full does not have"),
        ({"objective": "tcvae", "hierarchy": (3, 2)}, "use posterior gaussian without `hierarchy`"),
        ({"objective": "iwae", "posterior": "delta"}, "a density q\(z\|x\), which posterior delta"),
    ],
)
def test_an_objective_is_refused_without_data(options, sentence):
    with pytest.raises(InputError, match=sentence):
        given_options(options)
