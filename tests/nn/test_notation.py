"""Equations as text: each is computed as it is written, and its derivative is that of central differences."""

import numpy as np
import pytest

from charlm.nn.cells import CELLS
from charlm.nn.notation import Equation, signed_sum

EVERY_CELL = [(cell, variant) for cell, variants in CELLS.items() for variant in variants]
RNG = np.random.default_rng(5)
VALUES = {
    **{name: RNG.normal(size=3) for name in ("a<t-1>", "c<t>", "c~<t>", "b", "P", "Gamma_u<t>")},
    **{name: RNG.normal(size=(3, 3)) for name in ("W", "V", "E")},
}
EQUATIONS = [
    "y<t> = W a<t-1> + V c<t> + b",
    "y<t> = sigma(c<t>)",
    "y<t> = ReLU(c<t>)",
    "y<t> = Gamma_u<t> * c~<t> + (1 - Gamma_u<t>) * a<t-1>",
    "y<t> = Gamma_u<t> * tanh(c<t>) - P * c<t>",
    "y<t> = Gamma_u<t> * (W a<t-1> + V c<t>) + b",
    "y<t> = W (Gamma_u<t> * a<t-1>) * sigma(V c<t>)",
    "y<t> = E^T a<t-1>",
    "y<t> = tanh(W tanh(c<t>) * c<t>) * 2",
]


@pytest.mark.parametrize("source", EQUATIONS)
def test_derivatives_are_those_of_central_differences(source):
    equation, d = Equation(source), np.array([0.5, -1.5, 2.0])
    found = {}
    for share in equation.back(d, VALUES.__getitem__):
        found[share.symbol] = found.get(share.symbol, 0.0) + share.value
    assert set(found) == equation.symbols == {name for name in VALUES if name in source.replace("tanh", "")}
    for name, gradient in found.items():
        values = {key: array.copy() for key, array in VALUES.items()}
        expected = np.empty_like(values[name])
        for place in np.ndindex(expected.shape):
            moved = []
            for step in (1e-6, -1e-6):
                values[name][place] = VALUES[name][place] + step
                moved.append(d @ equation.value(values.__getitem__))
            values[name][place] = VALUES[name][place]
            expected[place] = (moved[0] - moved[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_the_terms_of_a_derivative_as_text():
    terms = {}
    for source in EQUATIONS[3:7]:
        for share in Equation(source).back(np.ones(3), VALUES.__getitem__):
            terms.setdefault((source[7:], share.symbol), []).append((share.sign, share.text))
    shown = {place: signed_sum(texts) for place, texts in terms.items()}
    of = {symbol: text for (source, symbol), text in shown.items() if source == EQUATIONS[3][7:]}
    assert of["Gamma_u<t>"] == "dy<t> * c~<t> - dy<t> * a<t-1>"
    assert of["a<t-1>"] == "dy<t> * (1 - Gamma_u<t>)"
    assert shown[EQUATIONS[4][7:], "c<t>"] == "dy<t> * Gamma_u<t> * (1 - tanh(c<t>)^2) - dy<t> * P"
    assert shown[EQUATIONS[5][7:], "W"] == "(dy<t> * Gamma_u<t>) a<t-1>^T"
    assert shown[EQUATIONS[6][7:], "Gamma_u<t>"] == "(W^T (dy<t> * sigma(V c<t>))) * a<t-1>"
    assert signed_sum([(-1, "x"), (1, "y")]) == "-x + y"


@pytest.mark.parametrize("source", ["y<t> = W (a<t-1>", "y<t> = W + ", "y<t> = ) b", "y<t> = b )"])
def test_a_malformed_equation_is_refused(source):
    with pytest.raises(ValueError, match="y<t>: "):
        Equation(source)


@pytest.mark.parametrize(("cell", "variant"), EVERY_CELL)
def test_every_cell_has_equations_which_end_with_its_output(cell, variant):
    equations = list(map(Equation, CELLS[cell][variant].equations))
    results = [equation.result for equation in equations]
    assert results[-1] == "a<t>" and len(set(results)) == len(results)
    known = {"x<t>"}
    for equation in equations:
        same_step = {symbol for symbol in equation.symbols if symbol.endswith("<t>")}
        assert same_step <= known
        known.add(equation.result)
