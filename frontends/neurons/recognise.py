"""Find the dialect of a module and let it read the module's parameters."""

from __future__ import annotations

from typing import Any

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, refuse
from nsim.frontends.neurons.measured import MEASURED
from nsim.frontends.neurons.norse import NORSE
from nsim.frontends.neurons.signed import SIGNED
from nsim.frontends.neurons.sinabs import SINABS
from nsim.frontends.neurons.snntorch import SNNTORCH
from nsim.frontends.neurons.spikingjelly import SPIKINGJELLY

DIALECTS = (SPIKINGJELLY, SNNTORCH, NORSE, SINABS, SIGNED, MEASURED)


def is_neuron(module: Any) -> bool:
    """True for a module that one of the dialects has an answer for, be it a refusal."""
    return _find(module) is not None


def neuron_call(module: Any, path: str) -> NeuronCall:
    """Where the module at ``path`` has time, and what it returns."""
    dialect, _ = _found(module, path)
    return dialect.call(module, path)


def read_neuron(module: Any, path: str) -> NeuronModel:
    """The NeuronModel of a module; raises UnsupportedOpError, naming it and ``path``, for other dynamics."""
    dialect, name = _found(module, path)
    if name in dialect.refused:
        raise refuse(path, module, dialect.refused[name])
    if name not in dialect.readers:
        raise refuse(
            path,
            module,
            f"a neuron of {dialect.library} that nsim cannot play; of that library it reads "
            f"{', '.join(sorted(dialect.readers))}",
        )
    for cls in type(module).__mro__:
        if cls.__name__ == name:
            break
        changed = dialect.updates.intersection(vars(cls))
        if changed:
            raise refuse(
                path,
                module,
                f"changes {min(changed)} of {name}, so its dynamics are not known; use {name} as it is",
            )
    return dialect.readers[name](module, path)


def _found(module: Any, path: str) -> tuple[Dialect, str]:
    found = _find(module)
    if found is None:
        known = sorted({name for d in DIALECTS if d is not MEASURED for name in d.readers})
        raise UnsupportedOpError(
            f"{path}: {type(module).__name__} is not a neuron nsim can read; known are {', '.join(known)}"
        )
    return found


def _find(module: Any) -> tuple[Dialect, str] | None:
    """The dialect of a module, and the nearest of its classes that the dialect knows."""
    for dialect in DIALECTS:
        if dialect.is_ours(module):
            for cls in type(module).__mro__:
                if dialect.known(cls.__name__):
                    return dialect, cls.__name__
    return None
