"""How good generated pictures are. `evaluation.evaluate_model` goes from a model and real pictures to a report.

    statistics/   intervals and resampling
    metrics/      one metric a file: pure functions of features, vectors or pixels
    run/          the inputs of an evaluation: prompts, generated pictures, features, and their cache
    report/       sections, tables and figures; JSON, HTML and text

Imports point down this list: statistics <- metrics <- run <- report <- evaluation. `evaluation` needs `run` and
`report` both, so it stands above them.
"""
