"""Functions as arguments of compiled programs: what a function holds is data, what it does is the program."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx


class Plain(eqx.Module):
    """A plain function, a part of the program; two of them are one program if the function objects are equal."""

    function: Callable[..., Any] = eqx.field(static=True)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.function(*arguments)


def as_pytree(function: Any) -> Any:
    """Return a function whose arrays, if it is an equinox module, are the leaves of a pytree; others have none."""
    return function if isinstance(function, eqx.Module) or not callable(function) else Plain(function)


def unwrapped(function: Any) -> Any:
    """Return the function itself."""
    return function.function if isinstance(function, Plain) else function


def parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function by name, none where they cannot be known."""
    try:
        return inspect.signature(unwrapped(function)).parameters
    except (TypeError, ValueError):  # some functions written in C
        return {}


def takes_problem(function: Any) -> bool:
    """Return whether a function wants ``(problem, params)``: whether it has two arguments without a default."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [one for one in parameters(function).values() if one.kind in positional and one.default is one.empty]
    return len(given) == 2
