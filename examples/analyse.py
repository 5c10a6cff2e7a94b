# ruff: noqa: INP001  # a file of its own, started anywhere
"""Which utterances make the tail? ``python analyse.py [RUN [FIGURE]]`` says it and draws it."""

import sys

from matplotlib.figure import Figure

import harness

run = harness.load(sys.argv[1] if len(sys.argv) > 1 else "latest")
trials = run.trials().query("counted")
response = trials["response_ms"].fillna(float("inf"))  # a failure is slower than any answer
slow = response.groupby(trials["candidate"]).rank(pct=True) > 0.9
tail = slow.groupby(trials["utterance"]).mean().sort_values(ascending=False).head(10)
parts = run.parts().join(trials[["utterance"]], on="trial", how="inner")
spent = parts.groupby(["utterance", "stage"])["length_ms"].sum().unstack(fill_value=0)
spent = spent.div(trials["response_ms"].groupby(trials["utterance"]).count(), axis=0)
print(spent.assign(in_the_tail=tail).loc[tail.index].round(2).to_string())  # noqa: T201
axes = Figure(figsize=(8, 4), layout="constrained").add_subplot()
spent.loc[tail.index[::-1]].plot.barh(stacked=True, ax=axes, xlabel="mean response, ms")
axes.set_title(f"{run.name}: {', '.join(trials['candidate'].unique())}")
axes.figure.savefig(sys.argv[2] if len(sys.argv) > 2 else "tail.png")
