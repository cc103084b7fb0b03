"""The machinery of the chain: what a stage is, how a run goes, what it would do, what is swept away.

Importing this costs nothing, so the command line lists the stages from here; each is declared in
`zen_pipeline.stages.NAME`, and `zen_pipeline.pipeline.chain` puts them to work.
"""

# Every stage with a line for people, in order.
STAGES = {
    "collect": "Read the sources into records.",
    "validate": "Clean, judge and split the records.",
    "resolve": "Turn the budget into sizes, steps and precision.",
    "tokenize": "Train the tokenizer and write the token shards.",
    "embed": "Train word vectors.",
    "pretrain": "Train models from random or given weights.",
    "finetune": "Teach models what they are for.",
    "evaluate": "Measure every model on what it has not learnt from.",
    "optimize": "Make the models smaller, if they stay as good.",
    "release": "Register the models, and promote what is better.",
}
