"""Settings of estimators that several tests train."""

LINEAR = {
    "latent": 1,
    "epochs": 80,
    "random_state": 0,
    "options": {
        "network": "linear",
        "validation": 0.0,
        "warmup": 0,
        "batch_size": 50,
        "lr": 0.05,
        "compile": False,
    },
}
SMALL = {"latent": 1, "epochs": 1, "random_state": 0, "options": {"hidden": (8,), "compile": False}}
