"""One renderer a format over `Report` and `Plan`: concise, json_, terminal, plan_table.

A renderer turns a value into text and decides nothing. They do not know each other; import the
one you need (`terminal` and `plan_table` load rich).
"""
