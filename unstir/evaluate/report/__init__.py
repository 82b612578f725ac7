"""The report: metrics as tables with intervals, floors and ceilings, as JSON, as one HTML page and as text."""
