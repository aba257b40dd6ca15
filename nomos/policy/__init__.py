"""Cedar policies: a bundle is loaded once, and then decides questions.

`schema.generate` writes the Cedar schema of a catalog, `bundle.load` validates policies against it,
`decide.decide` decides one question. All three are pure: no files, clocks or network.
"""
