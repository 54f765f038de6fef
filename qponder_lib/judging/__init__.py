"""Judges of reasoning: a rubric that needs no model, and models behind servers.

`rubric` rates what `text.assertions` reads in a text; `server` asks a model with Table 6's prompt;
`sanitize` takes out of a text what was meant for its judge; `stage` lets every judge of a profile
judge a run and writes the tables.
"""
