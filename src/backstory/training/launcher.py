"""What started this process, told by its environment, without PyTorch."""

from collections.abc import Mapping


def launcher_of(environment: Mapping[str, str]) -> str | None:
    """The launcher that started the processes; None without one."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return "torchrun"
    if "SLURM_STEP_ID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return "srun"
    return None
