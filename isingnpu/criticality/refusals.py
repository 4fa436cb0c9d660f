"""Why a critical point is withheld: each refusal carries its data and says what to do."""

from __future__ import annotations

import math

from isingnpu.statistics import Refusal


class NoTransition(Refusal):
    """The model has no transition at T > 0 in which the magnetisation orders.

    family: name of the model; reason: what excludes it."""

    def __init__(self, family: str, reason: str, advice: str) -> None:
        super().__init__(family, reason, advice)
        self.family, self.reason, self.advice = family, reason, advice

    def __str__(self) -> str:
        return f"no ferromagnetic transition in {self.family}: {self.reason}; {self.advice}"


class Unsupported(Refusal):
    """The finite-size scaling used here is not known to hold for the model."""

    def __init__(self, family: str, reason: str, advice: str) -> None:
        super().__init__(family, reason, advice)
        self.family, self.reason, self.advice = family, reason, advice

    def __str__(self) -> str:
        return f"{self.family} is not supported: {self.reason}; {self.advice}"


class NoCrossing(Refusal):
    """The ratios of the two smallest sizes do not cross between the betas that were searched.

    sizes: the two sizes; low, high: the searched range of beta."""

    def __init__(self, sizes: tuple[int, int], low: float, high: float) -> None:
        super().__init__(sizes, low, high)
        self.sizes, self.low, self.high = sizes, low, high

    def __str__(self) -> str:
        a, b = self.sizes
        return (
            f"the ratios of sizes {a} and {b} do not cross for beta in {self.low:.6g} .. "
            f"{self.high:.6g}: either there is no transition there or the sizes are too small or "
            "too close; take larger ones that differ by a factor of two"
        )


class NoPeak(Refusal):
    """The susceptibility of a finite graph is largest at an end of the betas that were searched.

    low, high: the searched range of beta; at: the end where it is largest."""

    def __init__(self, low: float, high: float, at: float) -> None:
        super().__init__(low, high, at)
        self.low, self.high, self.at = low, high, at

    def __str__(self) -> str:
        if self.at == self.low:
            why = "the graph is too small to order; take a larger one"
        else:
            why = "parts of it order much later than others; take one of the parts"
        return (
            f"no maximum of the susceptibility for beta in {self.low:.6g} .. {self.high:.6g}, it "
            f"is largest at {self.at:.6g}: {why}"
        )


class OutOfRange(Refusal):
    """Samples taken at one beta do not reach another one.

    size, beta (sampled), target, n_eff = (sum w)^2 / sum w^2 and n, the number of samples; n_eff
    is nan if the distance was judged by the scaling variable instead."""

    def __init__(self, size: int, beta: float, target: float, n_eff: float, n: float) -> None:
        super().__init__(size, beta, target, n_eff, n)
        self.size, self.beta, self.target = size, beta, target
        self.n_eff, self.n = n_eff, n

    def __str__(self) -> str:
        why = "beyond the range in which its ratios are linear"
        if math.isfinite(self.n_eff):
            why = f"effective samples {self.n_eff:.3g} of {self.n:.3g}, at least a tenth is needed"
        return (
            f"size {self.size} was sampled at beta = {self.beta:.8g}, too far from "
            f"{self.target:.8g}: {why}; sample nearer to the target"
        )


class StartRemembered(Refusal):
    """Chains that started ordered and chains that started at random still differ.

    sigmas: difference of their means, in standard errors; sweeps done."""

    def __init__(self, sigmas: float, sweeps: int) -> None:
        super().__init__(sigmas, sweeps)
        self.sigmas, self.sweeps = sigmas, sweeps

    def __str__(self) -> str:
        return (
            f"ordered and random starts differ by {self.sigmas:.1f} standard errors after "
            f"{self.sweeps} sweeps: not in equilibrium; take more sweeps or a smaller beta"
        )


class BadFit(Refusal):
    """The finite-size scaling form does not describe the measured ratios.

    chi2, dof, p; beta_c, error: what the fit gave, not to be quoted."""

    def __init__(self, chi2: float, dof: int, p: float, beta_c: float, error: float) -> None:
        super().__init__(chi2, dof, p, beta_c, error)
        self.chi2, self.dof, self.p = chi2, dof, p
        self.beta_c, self.error = beta_c, error

    def __str__(self) -> str:
        return (
            f"finite-size scaling fit refused: chi2 = {self.chi2:.3g} for {self.dof} degrees of "
            f"freedom, p = {self.p:.2g} < 0.001; drop the smallest size or add larger ones"
        )


class SmallBudget(Refusal):
    """The time does not allow equilibration and a pilot at these sizes.

    seconds: the budget; needed: a budget that should do."""

    def __init__(self, seconds: float, needed: float) -> None:
        super().__init__(seconds, needed)
        self.seconds, self.needed = seconds, needed

    def __str__(self) -> str:
        return (
            f"a budget of {self.seconds:.3g} s is too small: give at least "
            f"{self.needed:.3g} s or make the largest system smaller"
        )
