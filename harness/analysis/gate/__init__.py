"""May it merge: budgets, evidence, verdict."""
