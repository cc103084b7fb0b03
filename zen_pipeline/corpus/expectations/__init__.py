"""Great Expectations judges numbers: the measures of records, of token shards and of vectors, never the texts.

`suites` reads the JSON files, `allowed` says what may stand in them, `judge` asks for the `findings`: by the library's
own expectations, about measures row by row, or about one of the `summaries` of all rows. `judging_process` loads the
library while a stage works.
"""
