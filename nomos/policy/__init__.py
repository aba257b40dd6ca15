"""Cedar, and nothing else of ours: a bundle of policies is loaded once and then decides.

`schema.generate` writes the Cedar schema of a catalog, `bundle.load` checks policies against
it, `decide.decide` answers one question. All three are pure: no files, clocks or network.
"""
