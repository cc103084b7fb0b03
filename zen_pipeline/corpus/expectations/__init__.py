"""Great Expectations judges numbers: the measures of records, of token shards and of vectors, never the texts.

`suites` reads the JSON files, `own` adds expectations that the library lacks, `judging` asks for the findings,
`beside` does so in a process of its own.
"""
