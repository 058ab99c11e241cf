"""Equations as text, in the letters of the notes, which are computed and differentiated as they are written.

    z_u<t> = W_ua a<t-1> + W_ux x<t> + b_u
    c<t> = Gamma_u<t> * c~<t> + (1 - Gamma_u<t>) * c<t-1>

A symbol with <t> or <t-1> is a vector of that step; one without is a weight, the same at every step. A weight beside
something is a product of a matrix with a vector, and `E^T` is the transposed matrix. `*` is the product of elements.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Values = Callable[[str], np.ndarray]  # the value of a symbol

_TOKEN = re.compile(r"\s*([A-Za-z]\w*~?(?:<t(?:-1)?>)?|\^T|\d+|[-+*()])")
_NAME = re.compile(r"[A-Za-z]")

# A function, its slope computed from its result, and the factors of the slope as text.
_FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray], Sequence[str]]] = {
    "tanh": (np.tanh, lambda y: 1.0 - y * y, ("(1 - {0}^2)",)),
    "sigma": (lambda z: (1.0 + np.tanh(z / 2.0)) / 2.0, lambda y: y * (1.0 - y), ("{0}", "(1 - {0})")),
    "ReLU": (lambda z: np.maximum(z, 0.0), np.sign, ("[{0} > 0]",)),
}


@dataclass(frozen=True)
class Share:
    """A term of a gradient: dL/dsymbol is the sum of the shares of all places where the symbol is used.

    value: the term, with its sign; text: the term without it
    """

    symbol: str
    value: np.ndarray
    text: str
    sign: int = 1


@dataclass(frozen=True)
class _Flow:
    """dL/d(a part of an equation): its value, with its sign, and its factors as text."""

    value: np.ndarray
    factors: tuple[str, ...]
    sign: int = 1

    @property
    def text(self) -> str:
        return " * ".join(map(_atom, self.factors)) if len(self.factors) > 1 else self.factors[0]


class _Part(ABC):
    """A part of the right side of an equation."""

    text: str

    @abstractmethod
    def value(self, of: Values) -> np.ndarray:
        """Return the value, given those of the symbols."""

    @abstractmethod
    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        """Yield the share of each symbol in it."""


@dataclass(frozen=True)
class _Symbol(_Part):
    text: str

    def value(self, of: Values) -> np.ndarray:
        return of(self.text)

    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        yield Share(self.text, d.value, d.text, d.sign)


@dataclass(frozen=True)
class _Number(_Part):
    text: str

    def value(self, of: Values) -> np.ndarray:
        return np.array(float(self.text))

    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        return iter(())


@dataclass(frozen=True)
class _Sum(_Part):
    """signs: 1 or -1 for each term"""

    signs: tuple[int, ...]
    terms: tuple[_Part, ...]

    @property
    def text(self) -> str:  # type: ignore[override]
        return signed_sum(zip(self.signs, (term.text for term in self.terms), strict=True))

    def value(self, of: Values) -> np.ndarray:
        first, *others = (sign * term.value(of) for sign, term in zip(self.signs, self.terms, strict=True))
        return sum(others, first)

    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        for sign, term in zip(self.signs, self.terms, strict=True):
            yield from term.back(_Flow(sign * d.value, d.factors, sign * d.sign), of)


@dataclass(frozen=True)
class _Product(_Part):
    """The product of elements."""

    factors: tuple[_Part, ...]

    @property
    def text(self) -> str:  # type: ignore[override]
        return " * ".join(_atom(factor.text) for factor in self.factors)

    def value(self, of: Values) -> np.ndarray:
        first, *others = (factor.value(of) for factor in self.factors)
        for other in others:
            first = first * other
        return first

    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        for number, factor in enumerate(self.factors):
            others = self.factors[:number] + self.factors[number + 1 :]
            value = d.value
            for other in others:
                value = value * other.value(of)
            yield from factor.back(_Flow(value, (*d.factors, *(one.text for one in others)), d.sign), of)


@dataclass(frozen=True)
class _Applied(_Part):
    """A matrix, transposed or not, times a vector."""

    weight: str
    of_vector: _Part
    transposed: bool

    @property
    def text(self) -> str:  # type: ignore[override]
        return f"{self.weight}{'^T' if self.transposed else ''} {_atom(self.of_vector.text)}"

    def value(self, of: Values) -> np.ndarray:
        product: np.ndarray = self._matrix(of) @ self.of_vector.value(of)
        return product

    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        left, right = _atom(d.text), _atom(self.of_vector.text)
        value, text = np.outer(d.value, self.of_vector.value(of)), f"{left} {right}^T"
        if self.transposed:
            value, text = value.T, f"{right} {left}^T"
        yield Share(self.weight, value, text, d.sign)
        matrix = self.weight if self.transposed else f"{self.weight}^T"
        yield from self.of_vector.back(_Flow(self._matrix(of).T @ d.value, (f"{matrix} {left}",), d.sign), of)

    def _matrix(self, of: Values) -> np.ndarray:
        return of(self.weight).T if self.transposed else of(self.weight)


@dataclass(frozen=True)
class _Call(_Part):
    """A function of each element."""

    function: str
    argument: _Part
    result: str = ""  # the symbol that the equation computes, if the call is its whole right side

    @property
    def text(self) -> str:  # type: ignore[override]
        return f"{self.function}({self.argument.text})"

    def value(self, of: Values) -> np.ndarray:
        return _FUNCTIONS[self.function][0](self.argument.value(of))

    def back(self, d: _Flow, of: Values) -> Iterator[Share]:
        _, slope, factors = _FUNCTIONS[self.function]
        named = tuple(factor.format(self.result or self.text) for factor in factors)
        yield from self.argument.back(_Flow(d.value * slope(self.value(of)), (*d.factors, *named), d.sign), of)


class Equation:
    """One equation, for every step t.

    result: the symbol on the left
    text: the right side; symbols: those in it
    """

    def __init__(self, source: str) -> None:
        left, _, right = source.partition(" = ")
        self.result, self.text = left, right
        tokens = _TOKEN.findall(right)
        self._right = _Reader(tokens, self.result).read()
        self.symbols = frozenset(token for token in tokens if _NAME.match(token) and token not in _FUNCTIONS)

    def value(self, of: Values) -> np.ndarray:
        """Return the right side, given the values of its symbols: vectors [n], matrices [n, m]."""
        return self._right.value(of)

    def back(self, d: np.ndarray, of: Values) -> Iterator[Share]:
        """Yield the share of each symbol on the right side, given d = dL/d(result)."""
        return self._right.back(_Flow(d, (f"d{self.result}",)), of)


class _Reader:
    """Reads the right side of an equation: sums of products of factors."""

    def __init__(self, tokens: Sequence[str], result: str) -> None:
        self.tokens, self.result, self.at = [*tokens, ""], result, 0

    def read(self) -> _Part:
        part = self._sum()
        if self._next:
            raise ValueError(f"{self.result}: unexpected {self._next!r}")
        return _Call(part.function, part.argument, self.result) if isinstance(part, _Call) else part

    @property
    def _next(self) -> str:
        return self.tokens[self.at]

    def _take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def _sum(self) -> _Part:
        signs, terms = [1], [self._product()]
        while self._next in ("+", "-"):
            signs.append(1 if self._take() == "+" else -1)
            terms.append(self._product())
        return terms[0] if len(terms) == 1 else _Sum(tuple(signs), tuple(terms))

    def _product(self) -> _Part:
        factors = [self._factor()]
        while self._next == "*":
            self._take()
            factors.append(self._factor())
        return factors[0] if len(factors) == 1 else _Product(tuple(factors))

    def _factor(self) -> _Part:
        token = self._take()
        if token == "(":
            part = self._sum()
            if self._take() != ")":
                raise ValueError(f"{self.result}: a bracket is not closed")
            return part
        if token.isdigit():
            return _Number(token)
        if not _NAME.match(token):
            raise ValueError(f"{self.result}: unexpected {token!r}")
        if token in _FUNCTIONS:
            return _Call(token, self._factor())
        is_transposed = self._next == "^T"
        if is_transposed:
            self._take()
        if is_transposed or self._next == "(" or _NAME.match(self._next):
            return _Applied(token, self._factor(), is_transposed)
        return _Symbol(token)


def signed_sum(terms: Iterable[tuple[int, str]]) -> str:
    """Return terms, each with its sign, as a sum."""
    text = "".join(f" {'+' if sign > 0 else '-'} {term}" for sign, term in terms)
    return text[3:] if text.startswith(" + ") else f"-{text[3:]}"


def _atom(text: str) -> str:
    """Return a text that can be a factor: in brackets if it is a sum or a product."""
    depth = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == " " and depth == 0:
            return f"({text})"
    return text
