"""Priors of bilby as laws of a population: files that `PriorDict` reads, and expressions.

A prior file has a line `name = Prior(...)` for each parameter. bilby evaluates such lines as code;
here they are parsed, and only bilby's prior classes, literals and arithmetic are allowed.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError, nearest
from runtime.optional_packages import require

MASSES = (
    *("mass_1", "mass_2", "chirp_mass", "total_mass", "mass_ratio", "symmetric_mass_ratio"),
    *("mass_1_source", "mass_2_source", "chirp_mass_source", "total_mass_source"),
)
SPINS = (
    *("a_1", "a_2", "tilt_1", "tilt_2", "cos_tilt_1", "cos_tilt_2", "phi_12", "phi_jl"),
    *("chi_1", "chi_2"),
)
ORIENTATION = ("theta_jn", "cos_theta_jn")
DISTANCES = ("luminosity_distance", "redshift", "comoving_distance")
PLACE = ("ra", "dec", "psi", "phase")
NAMES = (*MASSES, *SPINS, *ORIENTATION, *DISTANCES, *PLACE)

# Isotropic directions, which are drawn anew each time a binary is used rather than kept with it.
ISOTROPIC = {
    "ra": ("Uniform", 0.0, math.tau),
    "dec": ("Cosine", -math.pi / 2, math.pi / 2),
    "psi": ("Uniform", 0.0, math.pi),
    "phase": ("Uniform", 0.0, math.tau),
}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
CONSTANTS = {"pi": math.pi, "inf": math.inf, "None": None, "True": True, "False": False}


def read_prior_file(path: str) -> dict[str, str]:
    """Return the expressions of a prior file by parameter, in its order.

    Raises:
        UserError: the file cannot be read, or a line is not `name = prior`.
    """
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the prior file {path} cannot be read ({error}): expected lines such as "
            f"'mass_1 = Uniform(minimum=5, maximum=50)'"
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, expression = (part.strip() for part in text.partition("="))
        if not equals or not expression or name in found:
            raise UserError(
                f"{path}, line {number}: {text!r}: expected one line for each parameter, such as "
                f"'mass_1 = Uniform(minimum=5, maximum=50)'"
            )
        found[name] = expression
    if not found:
        raise UserError(f"the prior file {path} holds no prior: write a line for each parameter")
    return found


def check_names(expressions: Mapping[str, str]) -> None:
    """Check that every prior is of a parameter that a population has.

    Raises:
        UserError: one is not.
    """
    for name, expression in expressions.items():
        # A constraint may be on any quantity that bilby computes.
        if name not in NAMES and not expression.startswith("Constraint("):
            advice = (
                "; the arrival time is that of `population.merger`, in s after the window begins"
                if name == "geocent_time"
                else ""
            )
            raise UserError(
                f"population.prior: there is no parameter {name!r}{nearest(name, NAMES)}: expected "
                f"some of {', '.join(NAMES)}{advice}"
            )


def build_prior(name: str, expression: str) -> Any:
    """Return the prior of bilby that an expression describes.

    Raises:
        UserError: it is none, or bilby is not installed.
    """
    try:
        value = evaluate(ast.parse(expression, mode="eval").body, name)
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"population.prior: {name} = {expression} is no prior of bilby ({error}): expected "
            f"one such as Uniform(minimum=5, maximum=50)"
        ) from error
    if isinstance(value, int | float):
        return require("bilby.core.prior", "sim").DeltaFunction(peak=float(value), name=name)
    return value


def evaluate(node: ast.expr, name: str) -> Any:
    """Return the value of a part of an expression.

    Raises:
        ValueError: something stands there that a prior file need not hold.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.Attribute) and node.attr in CONSTANTS:  # np.pi
        return CONSTANTS[node.attr]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -evaluate(node.operand, name)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](evaluate(node.left, name), evaluate(node.right, name))
    if isinstance(node, ast.List | ast.Tuple):
        return [evaluate(item, name) for item in node.elts]
    if isinstance(node, ast.Call):
        prior = find_prior_class(node.func)
        given = [evaluate(item, name) for item in node.args]
        named = {word.arg: evaluate(word.value, name) for word in node.keywords if word.arg}
        if len(named) < len(node.keywords):
            raise ValueError("** is not allowed")
        return prior(*given, **({"name": name} | named if accepts_name(prior) else named))
    raise ValueError(f"{ast.unparse(node)} is neither a number, a text nor a prior")


def find_prior_class(node: ast.expr) -> type:
    """Return the class of bilby that the called name means, with or without its modules.

    Raises:
        ValueError: there is none.
    """
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    base = require("bilby.core.prior", "sim")
    found = getattr(base, name, None) or getattr(require("bilby.gw.prior", "sim"), name, None)
    joint = getattr(base, "JointPrior", ())
    if not (isinstance(found, type) and issubclass(found, base.Prior)) or issubclass(found, joint):
        raise ValueError(f"bilby has no prior of one parameter named {name!r}")
    return found


def accepts_name(prior: type) -> bool:
    """Return whether a class takes the argument `name`."""
    import inspect

    return "name" in inspect.signature(prior.__init__).parameters


def is_isotropic(name: str, expression: str) -> bool:
    """Return whether a direction's prior is the isotropic one, over the whole circle or sphere."""
    if name not in ISOTROPIC:
        return False
    law, low, high = ISOTROPIC[name]
    prior = build_prior(name, expression)
    same_bounds = np.allclose([prior.minimum, prior.maximum], [low, high], atol=1e-3)
    return type(prior).__name__ == law and bool(same_bounds)


@functools.lru_cache(maxsize=4)
def prior_dict(expressions: tuple[tuple[str, str], ...]) -> Any:
    """Return bilby's dictionary of the priors."""
    priors = require("bilby.gw.prior", "sim")
    return priors.BBHPriorDict({name: build_prior(name, text) for name, text in expressions})


def draw_from_priors(
    expressions: tuple[tuple[str, str], ...], count: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return `count` samples of every parameter that has a prior, and what bilby derives of them.

    Draws that a constraint forbids are drawn again. bilby's own generator is left alone: the
    numbers are those of `rng`, through the inverse distribution of every prior.

    Returns:
        Arrays (count,) by name, with mass_1 >= mass_2, spins and inclinations as angles, and the
        luminosity distance, as far as they follow from the priors.

    Raises:
        UserError: hardly any draw obeys the constraints.
    """
    priors = prior_dict(expressions)
    constraint = require("bilby.core.prior", "sim").Constraint
    names = [name for name in priors if not isinstance(priors[name], constraint)]
    parts: list[dict[str, np.ndarray]] = []
    found = tried = 0
    while found < count:
        number = max(2 * (count - found), 64)
        # Prior by prior: `PriorDict.rescale` of bilby 2.8 mixes the parameters of arrays up.
        samples = {}
        for name in names:
            values = np.asarray(priors[name].rescale(rng.uniform(size=number)), float)
            # A single value stands for all where a prior is one point.
            samples[name] = np.broadcast_to(values, number).copy()
        kept = np.ones(number, bool)
        if len(names) < len(priors):
            kept = np.broadcast_to(priors.evaluate_constraints(dict(samples)), number) > 0
        parts.append({name: values[kept] for name, values in samples.items()})
        found, tried = found + int(kept.sum()), tried + number
        if tried > 10_000 and found < tried / 1000:
            raise UserError(
                f"population.prior: only {found} of {tried} draws obey the constraints: narrow the "
                f"priors, or widen the constraints"
            )
    samples = {name: np.concatenate([part[name] for part in parts])[:count] for name in names}
    return in_angles_and_masses(samples)


def in_angles_and_masses(samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return samples with what LALSimulation takes, as far as it follows from them."""
    conversion = require("bilby.gw.conversion", "sim")
    converted, _ = conversion.convert_to_lal_binary_black_hole_parameters(dict(samples))
    found = {name: np.asarray(values, float) for name, values in converted.items()}
    if {"mass_1", "mass_2"} <= found.keys():
        swapped = found["mass_1"] < found["mass_2"]
        first, second = found["mass_1"].copy(), found["mass_2"].copy()
        found["mass_1"] = np.where(swapped, second, first)
        found["mass_2"] = np.where(swapped, first, second)
        # The spins belong to the bodies.
        for one, other in (("a_1", "a_2"), ("tilt_1", "tilt_2")):
            if {one, other} <= found.keys():
                pair = found[one].copy(), found[other].copy()
                found[one] = np.where(swapped, pair[1], pair[0])
                found[other] = np.where(swapped, pair[0], pair[1])
    return found
