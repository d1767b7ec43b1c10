"""A plugin of pytest with which trainers that would use the CPU use another device, which only pretends to be one.

Its tensors do not mix with those of the CPU, as on a GPU (`pretended_device.cpp`). It is for a process of its own:

    python -m pytest -p pretended_device tests/training/test_population.py
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.utils.cpp_extension import load

NAME = "pretended"


def register() -> None:
    """Build the device, which takes a minute the first time, and tell torch of it."""
    source = Path(__file__).with_suffix(".cpp")
    load("deap_hpo_pretended_device", [str(source)], extra_cflags=["-O1"], is_python_module=False, verbose=False)
    torch.utils.rename_privateuse1_backend(NAME)
    module: Any = ModuleType(f"torch.{NAME}")
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: None
    module.get_rng_state = lambda device=0: torch.get_rng_state()
    module.set_rng_state = lambda state, device=0: None
    torch._register_device_module(NAME, module)
    torch.utils.generate_methods_for_privateuse1_backend()
    torch.__future__.set_swap_module_params_on_conversion(True)  # or `Module.to` would untie weights, unlike for a GPU


def use_it() -> None:
    """Let trainers use it instead of the CPU. Losses are looked at only now and then, as on a GPU."""
    from deap_hpo.training import hardware

    hardware.resolve_device = lambda device="auto": torch.device(NAME)  # type: ignore[assignment]
    hardware.steps_between_looks = lambda device: 5  # type: ignore[assignment]
    os.environ["DEAP_HPO_TEST_DEVICE"] = NAME
    torch.set_num_threads(1)


def pytest_load_initial_conftests() -> None:
    """Do so in the process of the tests, before they import anything."""
    register()
    use_it()
