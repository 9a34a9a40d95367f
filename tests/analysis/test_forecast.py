"""The forecast of attribution against exact ablation, on numbers worked by hand and by another library."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import pearsonr

from analysis.tables.forecast import forecast_table

MODEL = {"run": "a", "backbone": "tiny", "seed": 0, "objective": "mixed", "data": "sample"}


def sweep_of(forecast, exact, **about):
    rows = [{"selector": "intact", "top": 0.0, "forecast": 0.0, "margin_change": 0.0}]
    rows += [
        {"selector": "mean_abs", "top": 1.0, "forecast": x, "margin_change": y}
        for x, y in zip(forecast, exact, strict=True)
    ]
    return pd.DataFrame(rows).assign(**{**MODEL, **about})


def test_correlation_and_slope_are_those_of_other_libraries():
    random = np.random.default_rng(0)
    x = random.normal(size=60)
    y = 0.5 * x + random.normal(size=60) * 0.4
    r, slope = forecast_table(sweep_of(x, y)).to_dict("records")
    expected = pearsonr(x, y)
    assert (r["outcome"], r["n"]) == ("forecast r", 60)
    assert r["estimate"] == pytest.approx(expected.statistic)
    assert (r["low"], r["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    assert (slope["outcome"], slope["estimate"]) == ("forecast slope", pytest.approx(fit.params[1]))
    assert [slope["low"], slope["high"]] == pytest.approx(fit.conf_int()[1])


def test_each_model_has_its_own_rows_and_too_few_sets_have_none():
    first, second = sweep_of([1, 2, 3, 5], [1, 2, 3, 5]), sweep_of([1, 2, 3, 5], [-1, -2, -3, -4], seed=1)
    few = sweep_of([1, 2], [1, 2], seed=2)
    found = forecast_table(pd.concat([first, second, few]))
    assert found["seed"].tolist() == ["0", "0", "1", "1"]
    assert found["estimate"].tolist()[:2] == pytest.approx([1, 1])
    assert found["estimate"].tolist()[2] < -0.98
    assert forecast_table(sweep_of([1, 1, 1, 1], [1, 2, 3, 4])).empty
    assert forecast_table(pd.DataFrame({"selector": ["intact"]})).empty
