"""Each file imports only from the layers below its own."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import backstory

SOURCE = Path(backstory.__file__).parent

# From the bottom to the top: folders, and files at the top of the package.
LAYERS = [
    "errors",
    "console",
    "files",
    "tensor_files",
    "dispatch",
    "distributions",
    "data",
    "comparing",
    "options",
    "models",
    "objectives",
    "register",
    "training",
    "inference",
    "runs",
    "restoring",
    "sampling",
    "classifying",
    "trained",
    "model",
    "ensemble",
    "opening",
    "fitting",
    "sklearn",
    "report",
    "jobs",
    "cli",
    "__main__",
]
ALONE = {"distributions": {"errors"}, "data": {"errors", "console", "files", "distributions"}}


def modules() -> dict[str, Path]:
    names = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:  # the package's own __init__ is the front door
            names[name] = path
    return names


MODULES = modules()


def imports(name: str) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {full.removeprefix("backstory.") for full in found if full.startswith("backstory.")}
    return {module for module in inside if module in MODULES}


def layer(name: str) -> str:
    return name.split(".")[0]


def test_the_walk_sees_the_imports():
    assert {"models.vae", "runs.run", "data.schema"} <= imports("model")
    assert "distributions.mixture" in imports("models.priors.mixture")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_arrow_goes_up(name):
    assert layer(name) in LAYERS, f"{name} has no place in the order of layers"
    for module in imports(name):
        assert LAYERS.index(layer(module)) <= LAYERS.index(layer(name)), f"{name} imports {module}, above it"
        if layer(name) in ALONE and layer(module) != layer(name):
            assert layer(module) in ALONE[layer(name)], f"{name} should not know {module}"


def test_there_is_no_circle():
    list(TopologicalSorter({name: imports(name) - {name} for name in MODULES}).static_order())


def test_importing_the_package_costs_next_to_nothing():
    code = (
        "import sys, backstory; print([m for m in ('torch', 'numpy', 'pandas', 'rich') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "missing.csv", "-o", "run"],
        ["fit", "digits", "-o", "run", "--likelihood", "nonsense"],
        ["fit", "digits", "-o", "run", "--preset", "nonsense"],
        ["sample", "missing", "-o", "x.npy"],
        ["score", "missing", "digits", "-o", "x.csv"],
        ["compare", "missing.csv", "digits"],
        ["compare", ".", "missing.csv"],
    ],
    ids=" ".join,
)
def test_wrong_words_of_a_command_are_refused_without_pytorch(command, tmp_path):
    code = (
        "import sys; from backstory.cli.main import main; "
        "print(main(sys.argv[1:]), [m for m in ('torch', 'pandas') if m in sys.modules])"
    )
    line = [sys.executable, "-c", code, *command]
    run = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.strip() == "2 []", run.stderr


def test_pandas_is_imported_for_tables_alone():
    code = (
        "import sys, numpy, backstory; "
        "model = backstory.fit(numpy.eye(20), latent=1, hidden=(2,), epochs=1, progress=False); "
        "model.sample(2); print('pandas' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_the_compiler_is_imported_for_compiled_steps_alone(tmp_path):
    """It takes longer than all else that these do, importing PyTorch included."""
    code = (
        "import sys, numpy, backstory; x = numpy.arange(960).astype('uint8').reshape(60, 4, 4); "
        "backstory.fit(x, sys.argv[1], latent=1, hidden=(2,), epochs=2, progress=False); "
        "model, few = backstory.open(sys.argv[1]), x[:2]; "
        "model.sample(2); model.encode(few); model.reconstruct(few); model.score(few, x); "
        "model.evaluate(few); model.restore(few, backstory.Noise(9.0)); "
        "model.log_evidence(few, 2, method='variational'); "
        "model.log_evidence(few, 2, method='ais', steps=2); print('torch._dynamo' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_every_public_name_is_there():
    for name in backstory.__all__:
        assert getattr(backstory, name).__name__ == name
        assert name in dir(backstory)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = backstory.nothing


def test_nothing_reads_or_writes_a_pickle():
    banned = ("import pickle", "import joblib", "import dill", "cloudpickle", "torch.load(", "torch.save(")
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        for word in (*banned, "allow_pickle=True", "read_pickle", "to_pickle"):
            assert word not in text, f"{name} uses {word}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "np.save", "numpy.load"):
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert keywords.get("allow_pickle") == "False", f"{name}: {ast.unparse(node)}"
