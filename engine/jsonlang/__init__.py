"""What expressions mean: operators, tests and filters on JSON values, and nothing that knows how they are written.

    values → operators → closures
    values → operators → predicates, textfilters, shapefilters → filters → arguments

`engine/grammar.py` parses, `engine/sandbox.py` joins the two; `engine/expressions.py` is the way in for everyone else.
"""
